"""A model on a held-out set: every figure with its interval, whole and by class; two models; published figures.

Called once the test set was opened; everything is plain JSON, so that the report and `metrics.json` are the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xraytune.evaluation import calibration, intervals, metrics, prevalences
from xraytune.evaluation.intervals import Interval
from xraytune.evaluation.metrics import Floats
from xraytune.evaluation.predictions import Predictions

NAMES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "precision": "precision",
    "f1": "F1",
    "f2": "F2",
    "auc": "ROC AUC",
    "pr_auc": "PR AUC",
    "brier": "Brier score",
    "calibration_error": "calibration error",
}
"""The overall figures in the order of every table."""

BY_CLASS = {{"sensitivity": "recall"}.get(name, name): words for name, words in NAMES.items()}
"""The figures of one class against the rest, where `sensitivity` is kept under its other name, recall."""


def named(beta: float) -> dict[str, str]:
    """`NAMES`, and before them the F-beta that the study is judged by where it is neither F1 nor F2."""
    return NAMES if beta in {1, 2} else {"f_beta": f"F{beta:g}", **NAMES}


Triple = list[float | None]
"""value, low, high; None where undefined (JSON has no NaN)."""


def patients_behind(truth: NDArray[Any], decided: NDArray[Any], who: NDArray[Any], which: int | None) -> dict[str, int]:
    """How many patients are behind each share: the accuracy, and those of one class unless it is None."""

    def count(chosen: NDArray[np.bool_]) -> int:
        return len(np.unique(who[chosen]))

    shares = {"accuracy": count(np.ones(len(truth), dtype=bool))}
    if which is None:
        return shares
    shares |= {"sensitivity": count(truth == which), "specificity": count(truth != which)}
    return shares | {"recall": shares["sensitivity"], "precision": count(decided == which)}


def patients_of_perfect(
    truth: NDArray[Any], decided: NDArray[Any], who: NDArray[Any], averaged: Sequence[int]
) -> dict[str, int]:
    """How many patients a perfect figure that is no share counts in `intervals.of_perfect`.

    Args:
        truth: class indices `(n,)`.
        decided: the same as answered.
        who: patients `(n,)`.
        averaged: the classes whose figures are averaged: the positive one alone, or all; those without images are not.
    """
    each = [patients_behind(truth, decided, who, c) for c in averaged if (truth == c).any()]
    least = {name: min((n[name] for n in each), default=0) for name in ("sensitivity", "specificity", "precision")}
    # a patient with images of both sides can stand on either, so only the number of all limits the pairs besides
    pairs = min(least["sensitivity"], least["specificity"], len(np.unique(who)) // 2)
    f_beta = min(least["sensitivity"], least["precision"])
    return {
        **least,
        "recall": least["sensitivity"],
        "accuracy": len(np.unique(who)),
        "balanced_accuracy": min(least["sensitivity"], least["specificity"]),
        **dict.fromkeys(("f1", "f2", "f_beta"), f_beta),
        "auc": pairs,
    }


def sure(found: Mapping[str, Interval], shares: Mapping[str, int], perfect: Mapping[str, int]) -> dict[str, Interval]:
    """Bootstrap intervals made to claim no more than the patients behind them allow.

    Args:
        found: by name.
        shares: the shares among them and how many patients are behind each, for `intervals.of_share`.
        perfect: the same of other figures, for `intervals.of_perfect` where the bootstrap's interval has no width.
    """
    out = {}
    for name, interval in found.items():
        if shares.get(name, 0) > 0:
            out[name] = intervals.of_share(interval, shares[name])
        elif interval.flat:
            out[name] = intervals.of_perfect(interval, perfect.get(name, 0))
        else:
            out[name] = intervals.reflected(interval) if name.endswith("calibration_error") else interval
    return out


def unsure(overall: Mapping[str, Triple], beta: float = 2.0) -> str:
    """A sentence that names the figures of `named` that have no interval; empty where all have one."""
    names = [words for name, words in named(beta).items() if overall[name][0] is not None and overall[name][1] is None]
    if not names:
        return ""
    return (
        f"No interval for {', '.join(names)}: all bootstrap draws are equal (no errors, or always the same answer), "
        "which says nothing about other patients."
    )


def triple(interval: Interval) -> Triple:
    """An interval as plain JSON."""
    return [float(v) if np.isfinite(v) else None for v in (interval.value, interval.low, interval.high)]


@dataclass(frozen=True)
class Crossed:
    """Out-of-fold answers in which no fold is judged by what was fitted on it."""

    probabilities: Floats
    """`(n, k)`, each fold's calibrated on the others."""
    decided: NDArray[np.int64]
    """Class indices `(n,)`, of these at a threshold fitted on the other folds."""


def evaluate(given: Predictions, crossed: Crossed | None = None) -> dict[str, Any]:
    """Every figure of a set of predictions, each with a 95 % interval from a patient-level bootstrap.

    Args:
        given: the predictions.
        crossed: every figure but ROC and PR AUC is then of these; of images that calibration and threshold were fitted
            on it would flatter them.

    Shares have the interval of `intervals.of_share`, the calibration error that of `intervals.reflected`, and figures
    on which all draws agree that of `intervals.of_perfect`: none, unless they are perfect.

    Returns:
        `overall` name → [value, low, high]; `by_class` class → figure against the rest → [value, low, high] (its
        sensitivity is called recall); `averages` of these, `macro/f1` …; `confusion`
        (rows truth); `reliability`; `trivial`, the figures of always answering the positive (or largest) class.
    """
    truth, p, who, positive = given.labels, given.probabilities, given.patients, given.positive
    k = len(given.classes)
    decided, q = (given.decided, p) if crossed is None else (crossed.decided, crossed.probabilities)

    def statistic(weights: Floats) -> dict[str, Floats]:
        overall = metrics.figures(truth, p, positive, given.beta, weights, decided=decided, prevalence=given.prevalence)
        if crossed is not None:
            overall |= metrics.calibration_figures(truth, q, positive, weights, decided, given.prevalence)
        each = metrics.class_figures(metrics.confusion(truth, decided, k, weights))
        each |= metrics.class_scores(truth, p, weights, q, given.prevalence)
        return {**overall, **metrics.averaged(each), **{f"class/{name}": values for name, values in each.items()}}

    found = intervals.bootstrap(statistic, who, draws=given.draws)
    single, by_class = _sure(found, given, decided)
    support = np.bincount(truth, minlength=k)
    return {
        "images": len(truth),
        "patients": len(np.unique(who)),
        "classes": list(given.classes),
        "positive": positive,
        "threshold": given.threshold if positive is not None else None,
        "prevalence": None if given.prevalence is None else list(given.prevalence),
        "beta": given.beta,
        "draws": given.draws,
        "crossed": crossed is not None,
        "overall": {name: triple(v) for name, v in single.items() if "/" not in name},
        "averages": {name: triple(v) for name, v in single.items() if "/" in name},
        "by_class": {
            cls: {**{name: triple(v) for name, v in by_class[i].items()}, "support": int(support[i])}
            for i, cls in enumerate(given.classes)
        },
        "confusion": metrics.confusion(truth, decided, k)[0].astype(int).tolist(),
        "reliability": calibration.reliability(
            *metrics.event_and_score(truth, p, positive, decided), prevalences.weights(truth, given.prevalence)
        ),
        "trivial": _trivial(given),
    }


def _sure(
    found: Mapping[str, Interval | tuple[Interval, ...]], given: Predictions, decided: NDArray[np.int64]
) -> tuple[dict[str, Interval], list[dict[str, Interval]]]:
    """The intervals of the overall figures and averages, and those of each class, through `sure`."""
    truth, who, positive, k = given.labels, given.patients, given.positive, len(given.classes)
    single = {name: v for name, v in found.items() if isinstance(v, Interval)}
    by_class = {name.removeprefix("class/"): v for name, v in found.items() if isinstance(v, tuple)}
    everything = patients_of_perfect(truth, decided, who, range(k))
    perfect = everything if positive is None else patients_of_perfect(truth, decided, who, [positive])
    perfect |= {f"{kind}/{name}": n for name, n in everything.items() for kind in ("macro", "weighted")}
    each = [
        sure(
            {name: values[c] for name, values in by_class.items() if name != "support"},
            patients_behind(truth, decided, who, c), patients_of_perfect(truth, decided, who, [c]),
        )
        for c in range(k)
    ]  # fmt: skip
    return sure(single, patients_behind(truth, decided, who, positive), perfect), each


def _trivial(given: Predictions) -> dict[str, Any]:
    """The figures of the trivial answer, and which class it is."""
    dull = given.trivial()
    found = metrics.summary(dull.labels, dull.probabilities, dull.positive, dull.threshold, dull.beta)
    answer = given.classes[int(dull.probabilities[0].argmax())]
    return {"answer": answer, **{name: v if np.isfinite(v) else None for name, v in found.items()}}


def overall(given: Predictions, *, brief: bool = False) -> dict[str, Triple]:
    """[value, low, high] of each overall figure alone, as `evaluate` gives them.

    Args:
        given: the predictions.
        brief: without PR AUC, Brier's score and the calibration error.
    """
    truth, p, who, positive, decided = given.labels, given.probabilities, given.patients, given.positive, given.decided
    found = intervals.bootstrap(
        lambda weights: metrics.figures(
            truth, p, positive, given.beta, weights, decided=decided, prevalence=given.prevalence, brief=brief
        ),
        who,
        draws=given.draws,
    )
    averaged = range(p.shape[1]) if positive is None else [positive]
    single = {name: v for name, v in found.items() if isinstance(v, Interval)}
    shares, perfect = (
        patients_behind(truth, decided, who, positive), patients_of_perfect(truth, decided, who, averaged)
    )  # fmt: skip
    return {name: triple(v) for name, v in sure(single, shares, perfect).items()}


COMPARED = ("f_beta", "balanced_accuracy", "sensitivity", "specificity", "auc")
"""The figures in which two models are compared."""


def own(given: Predictions) -> dict[str, float | None]:
    """A model's own figures among `COMPARED`; None where undefined."""
    found = metrics.summary(given.labels, given.probabilities, given.positive, given.threshold, given.beta)
    return {name: found[name] if np.isfinite(found[name]) else None for name in COMPARED}


def compare(first: Predictions, second: Predictions) -> dict[str, Any]:
    """Whether two models differ on the same images: a paired bootstrap over patients, and DeLong's test of their AUCs.

    Args:
        first: one model's predictions.
        second: the other's (`first.answered`).

    Returns:
        `difference`: figure → [first - second, low, high], an interval without 0 being a difference significantly, and
        low and high None where all draws agree: then how sure it is can't be told;
        `delong_p`: two-sided, None without a positive class, and where both models rank alike or one can't be ranked.
    """
    positive = first.positive

    def statistic(given: Predictions) -> intervals.Statistic:
        decided = given.decided

        def figures(weights: Floats) -> dict[str, Floats]:
            found = metrics.figures(
                given.labels, given.probabilities, positive, given.beta, weights, decided=decided, brief=True
            )
            return {name: found[name] for name in COMPARED}

        return figures

    found = intervals.paired(statistic(first), statistic(second), first.patients, draws=first.draws)
    found = {name: intervals.of_perfect(v, 0) if v.flat else v for name, v in found.items()}
    p_value = None
    if positive is not None:
        with suppress(ValueError):  # one image of a class
            scores = [given.probabilities[:, positive] for given in (first, second)]
            test = intervals.delong(first.labels == positive, *scores)
            p_value = test.p if test.standard_error > 0 else None
    return {"difference": {name: triple(v) for name, v in found.items()}, "delong_p": p_value}
