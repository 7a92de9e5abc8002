"""Ray Tune: the one place that knows Ray.

`engine` runs a search, `searcher` and `scheduler` let Tune ask and report to the `conductor`, which decides;
`trainable` lives in the workers and keeps a `checkpoint` of its trial; `cluster` starts Ray and ends it whatever
happens; `resources` says how many trials fit.
"""

import logging

PRUNERS = ("asha", "hyperband", "median", "none")
"""Who stops a trial early; the first is the default."""

SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",  # the study is the only record
    "TUNE_FORCE_TRIAL_CLEANUP_S": "2",
    "TUNE_WARN_THRESHOLD_S": "1000000",
    "TUNE_MAX_PENDING_TRIALS_PG": "1",  # one suggestion is made ahead, while trials run
    "TUNE_RESULT_BUFFER_LENGTH": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}
"""Environment variables of Ray and Tune."""

# Ray is imported in this package alone. In a notebook without ipywidgets it says so in a log line as it is imported.
logging.getLogger("ray.widgets").setLevel(logging.ERROR)
