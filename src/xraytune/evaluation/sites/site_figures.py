"""A model by site, each predicted by networks that had not seen it, and what that says of a site that is not there.

On the logit scale, where a figure near 1 has room on both sides, the figures of `k` sites are taken as a sample of all
sites that there could be. The figure of one more lies, with 95 % probability, within

    mean ± t(k - 1) · s · sqrt(1 + 1 / k),

`s` being the standard deviation over the sites: the prediction interval of a random-effects model (Higgins, Thompson &
Spiegelhalter 2009) in which sites weigh equally, since it is about sites and not about patients. `s` holds the sampling
error of each site's figure beside the differences between sites. So it is the interval of a figure that will be
measured on about as many patients, and a little wide for the figure behind it; taking the sampling error off by an
estimate of it makes intervals that hold the truth too seldom with few sites (Partlett & Riley 2017; measured for
docs/evidence/sites.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import special, stats

from xraytune.evaluation import evaluate, intervals, metrics
from xraytune.evaluation.evaluate import Crossed, Triple, triple
from xraytune.evaluation.intervals import Interval
from xraytune.evaluation.metrics import Floats
from xraytune.evaluation.predictions import Predictions

FIGURES = ("auc", "sensitivity", "specificity")
"""Of each site."""

FEWEST = 3
"""Sites from which another one's figure is predicted: of two the interval is 12.7 times as wide as their difference."""

FEW = 6
"""Sites below which the interval is wide mainly because there are so few: t(k - 1) is then more than a quarter above
the normal distribution's 1.96."""


def by_site(given: Predictions, crossed: Crossed, sites: Sequence[str]) -> dict[str, Any]:
    """Figures of each site, and of one that is not there.

    Args:
        given: out-of-fold predictions, each site's by networks that had not seen the site.
        crossed: the same with calibration and threshold fitted without the site; sensitivity and specificity are of
            these decisions.
        sites: of each prediction, `(n,)`.

    Returns:
        plain JSON. `sites`: for each its `images`, `patients`, `share` of the positive class (None without one) and
        `FIGURES` as [value, low, high] with 95 % intervals from a bootstrap over patients; under `others` what the
        other sites predict for each figure [middle, low, high], under `away` the difference from that middle. `new`:
        what all sites predict for another one; None with fewer than `FEWEST`. `note`: what to know of it.
    """
    of = np.asarray(sites, object)
    names = sorted(set(sites))
    each = {name: _of_site(given, crossed, of == name) for name in names}
    logits = {name: {f: _logit(each[name][f].value, each[name]["patients"][f]) for f in FIGURES} for name in names}
    rows = []
    for name in names:
        others = [logits[other] for other in names if other != name]
        expected = {f: predicted([one[f] for one in others]) for f in FIGURES}
        found = each[name]
        rows.append(
            {
                "site": name,
                "images": int((of == name).sum()),
                "patients": len(np.unique(given.patients[of == name])),
                "share": None if given.positive is None else float(np.mean(given.labels[of == name] == given.positive)),
                **{f: triple(found[f]) for f in FIGURES},
                "others": expected,
                "away": {f: _away(found[f].value, expected[f][0]) for f in FIGURES},
            }
        )
    new = {f: predicted([logits[name][f] for name in names]) for f in FIGURES} if len(names) >= FEWEST else None
    return {"sites": rows, "new": new, "note": _note(len(names))}


def predicted(logits: Sequence[float], level: float = 0.95) -> Triple:
    """The figure of one more site, [middle, low, high], from those of others.

    Args:
        logits: one a site; NaN where the site has no such figure.
        level: of the interval.

    Returns:
        the middle alone (low and high None) of fewer than `FEWEST` sites; all None of none.
    """
    known = np.array([x for x in logits if np.isfinite(x)])
    k = len(known)
    if not k:
        return [None, None, None]
    middle = float(known.mean())
    if k < FEWEST:
        return [float(special.expit(middle)), None, None]
    half = stats.t.ppf((1 + level) / 2, k - 1) * known.std(ddof=1) * np.sqrt(1 + 1 / k)
    return [float(special.expit(x)) for x in (middle, middle - half, middle + half)]


def _of_site(given: Predictions, crossed: Crossed, chosen: Any) -> dict[str, Any]:
    """`FIGURES` of one site's images as intervals, and under `patients` how many are behind each."""
    truth, p, who, decided = (
        given.labels[chosen], given.probabilities[chosen], given.patients[chosen], crossed.decided[chosen]
    )  # fmt: skip

    def statistic(weights: Floats) -> Mapping[str, Floats]:
        found = metrics.figures(truth, p, given.positive, given.beta, weights, decided=decided, brief=True)
        return {name: found[name] for name in FIGURES}

    found = intervals.bootstrap(statistic, who, draws=given.draws)
    single = {name: v for name, v in found.items() if isinstance(v, Interval)}
    averaged = range(len(given.classes)) if given.positive is None else [given.positive]
    perfect = evaluate.patients_of_perfect(truth, decided, who, averaged)
    shares = evaluate.patients_behind(truth, decided, who, given.positive)
    return {**evaluate.sure(single, shares, perfect), "patients": perfect}


def _logit(value: float, patients: int) -> float:
    """The logit of a figure; of 0 or 1, that of half a patient off it (Haldane 1956, Anscombe 1956)."""
    if not np.isfinite(value):
        return float("nan")
    least = 0.5 / (max(patients, 1) + 1)
    return float(special.logit(np.clip(value, least, 1 - least)))


def _away(value: float, middle: float | None) -> float | None:
    return value - middle if middle is not None and np.isfinite(value) else None


def _note(sites: int) -> str:
    """What to know of the predicted figures."""
    if sites < FEWEST:
        return f"With {sites} sites no value is predicted for a new site: at least {FEWEST} sites are needed."
    if sites < FEW:
        return f"The prediction intervals for a new site are wide because there are only {sites} sites."
    return ""
