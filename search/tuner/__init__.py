"""Ray Tune: the one place that knows Ray.

`engine` runs a search, `searcher` and `scheduler` let Tune ask and report to the `conductor`, which decides;
`trainable` lives in the workers and keeps a `checkpoint` of its trial; `cluster` starts Ray and ends it whatever
happens; `resources` says how many trials fit.
"""

PRUNERS = ("asha", "hyperband", "median", "none")
"""Who stops a trial early; the first is the default."""
