"""A model on a sealed set: every figure with its interval, whole and by class; two models; published figures.

Called once the test set was opened; everything is plain JSON, so that the report and `metrics.json` are the same.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xraytune import calibration, intervals, metrics
from xraytune.intervals import Interval
from xraytune.metrics import Floats

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

Triple = list[float | None]
"""value, low, high; None where undefined (JSON has no NaN)."""


def patients_behind(truth: NDArray[Any], decided: NDArray[Any], who: NDArray[Any], which: int | None) -> dict[str, int]:
    """How many patients are behind each share: of one class, or (None) all and every class together."""

    def count(chosen: NDArray[np.bool_]) -> int:
        return len(np.unique(who[chosen]))

    if which is None:
        return {"accuracy": count(np.ones(len(truth), dtype=bool))}
    shares = {"sensitivity": count(truth == which), "specificity": count(truth != which)}
    return shares | {"recall": shares["sensitivity"], "precision": count(decided == which)}


def triple(interval: Interval) -> Triple:
    """An interval as plain JSON."""
    return [float(v) if np.isfinite(v) else None for v in (interval.value, interval.low, interval.high)]


def evaluate(
    labels: ArrayLike,
    probabilities: ArrayLike,
    patients: ArrayLike,
    *,
    classes: Sequence[str],
    positive: int | None,
    threshold: float = 0.5,
    beta: float = 2.0,
    crossed: ArrayLike | None = None,
    draws: int = intervals.DRAWS,
    seed: int = 0,
) -> dict[str, Any]:
    """Every figure of a set of predictions, each with a 95 % interval from a patient-level bootstrap.

    Args:
        labels: class indices `(n,)`.
        probabilities: `(n, k)`.
        patients: who each image shows, `(n,)`.
        classes: their names.
        positive: the positive class or None.
        threshold: operating threshold of the positive class.
        beta: of F-beta.
        crossed: `(n, k)`, calibrated on the other folds: Brier's score and the calibration error are then of these, for
            of probabilities that the calibration was fitted on they flatter it.
        draws: bootstrap resamples.
        seed: of the draws.

    Shares have the interval of `intervals.of_share`, the calibration error that of `intervals.reflected`.

    Returns:
        `overall` name → [value, low, high]; `classes` class → figure → [value, low, high]; `averages`; `confusion`
        (rows truth); `reliability`; `trivial`, the figures of always answering the positive (or largest) class.
    """
    truth = np.asarray(labels, dtype=np.int64)
    p = np.asarray(probabilities, dtype=np.float64)
    k = len(classes)
    decided = metrics.decide(p, positive, threshold)

    def statistic(weights: Floats) -> dict[str, Floats]:
        overall = metrics.figures(truth, p, positive, threshold, beta, weights)
        if crossed is not None:
            overall |= _of_calibrated(truth, np.asarray(crossed, dtype=np.float64), positive, weights)
        each = metrics.class_figures(metrics.confusion(truth, decided, k, weights))
        each["auc"] = np.stack([metrics.roc_auc(truth == c, p[:, c], weights) for c in range(k)], axis=1)
        return {**overall, **metrics.averaged(each), **{f"class/{name}": values for name, values in each.items()}}

    who = np.asarray(patients)
    found = intervals.bootstrap(statistic, who, draws=draws, seed=seed)
    single = {name: v for name, v in found.items() if isinstance(v, Interval)}
    by_class = {name.removeprefix("class/"): v for name, v in found.items() if isinstance(v, tuple)}
    behind = patients_behind(truth, decided, who, None)
    if positive is not None:
        behind |= patients_behind(truth, decided, who, positive)
    single |= {name: intervals.of_share(single[name], n) for name, n in behind.items() if name in single}
    single["calibration_error"] = intervals.reflected(single["calibration_error"])
    each_behind = [patients_behind(truth, decided, who, c) for c in range(k)]
    by_class = {
        name: tuple(intervals.of_share(v, each_behind[c].get(name, 0)) for c, v in enumerate(values))
        for name, values in by_class.items()
    }
    dull = trivial_answers(truth, k, positive)
    always = int(np.asarray(dull.probabilities)[0].argmax())
    trivial = metrics.summary(truth, dull.probabilities, positive, 0.5, beta)
    event = truth == positive if positive is not None else truth == decided
    score = p[:, positive] if positive is not None else p.max(axis=1)
    return {
        "images": len(truth),
        "patients": len(np.unique(np.asarray(patients))),
        "classes": list(classes),
        "positive": positive,
        "threshold": threshold if positive is not None else None,
        "beta": beta,
        "draws": draws,
        "overall": {name: triple(v) for name, v in single.items() if "/" not in name},
        "averages": {name: triple(v) for name, v in single.items() if "/" in name},
        "by_class": {
            cls: {name: (int(v[i].value) if name == "support" else triple(v[i])) for name, v in by_class.items()}
            for i, cls in enumerate(classes)
        },
        "confusion": metrics.confusion(truth, decided, k)[0].astype(int).tolist(),
        "reliability": calibration.reliability(event, score),
        "trivial": {"answer": classes[always], **{n: v if np.isfinite(v) else None for n, v in trivial.items()}},
    }


def _of_calibrated(truth: NDArray[Any], p: Floats, positive: int | None, w: Floats) -> dict[str, Floats]:
    """Brier's score and the calibration error as `metrics.figures` defines them, `(draws,)` each."""
    event, score = (truth == positive, p[:, positive]) if positive is not None else (truth == p.argmax(1), p.max(1))
    squares = (score - event) ** 2 if positive is not None else ((p - np.eye(p.shape[1])[truth]) ** 2).sum(axis=1)
    return {
        "brier": w @ squares / w.sum(axis=1),
        "calibration_error": metrics.calibration_error(event, score, w),
    }


COMPARED = ("f_beta", "balanced_accuracy", "sensitivity", "specificity", "auc")
"""The figures in which two models are compared."""


@dataclass(frozen=True)
class Answers:
    """One model's answers on a set of images."""

    probabilities: NDArray[np.floating]
    """`(n, k)`."""
    threshold: float = 0.5
    """Operating threshold of the positive class."""


def compare(
    labels: ArrayLike,
    first: Answers,
    second: Answers,
    patients: ArrayLike,
    *,
    positive: int | None,
    beta: float = 2.0,
    draws: int = intervals.DRAWS,
    seed: int = 0,
) -> dict[str, Any]:
    """Whether two models differ on the same images: a paired bootstrap over patients, and DeLong's test of their AUCs.

    Args:
        labels: class indices `(n,)`.
        first: one model's answers.
        second: the other's.
        patients: `(n,)`.
        positive: the positive class or None.
        beta: of F-beta.
        draws: bootstrap resamples.
        seed: of the draws.

    Returns:
        `difference`: figure → [first - second, low, high], an interval without 0 being a difference beyond chance;
        `delong_p`: two-sided, None without a positive class, and where both models rank alike or one can't be ranked.
    """
    truth = np.asarray(labels)

    def statistic(answers: Answers) -> intervals.Statistic:
        p = np.asarray(answers.probabilities, dtype=np.float64)

        def figures(weights: Floats) -> dict[str, Floats]:
            found = metrics.figures(truth, p, positive, answers.threshold, beta, weights, brief=True)
            return {name: found[name] for name in COMPARED}

        return figures

    found = intervals.paired(statistic(first), statistic(second), patients, draws=draws, seed=seed)
    p_value = None
    if positive is not None:
        with suppress(ValueError):  # one image of a class
            scores = [np.asarray(a.probabilities)[:, positive] for a in (first, second)]
            test = intervals.delong(truth == positive, *scores)
            p_value = test.p if test.standard_error > 0 else None
    return {"difference": {name: triple(v) for name, v in found.items()}, "delong_p": p_value}


def trivial_answers(labels: ArrayLike, classes: int, positive: int | None) -> Answers:
    """The answer that looks at no image: always the positive class; without one, always the largest class."""
    truth = np.asarray(labels)
    always = positive if positive is not None else int(np.bincount(truth, minlength=classes).argmax())
    return Answers(np.eye(classes)[np.full(len(truth), always)])


_KERMANY = {"accuracy": 0.928, "sensitivity": 0.932, "specificity": 0.901, "auc": 0.968}
PUBLISHED: tuple[dict[str, Any], ...] = (
    {"source": "Kermany et al. 2018, Inception V3 (transfer)", **_KERMANY},
    {"source": "MedMNIST v2 (Yang et al. 2023), ResNet-18, 224 px", "accuracy": 0.864, "auc": 0.956},
    {"source": "MedMNIST v2, AutoKeras", "accuracy": 0.878, "auc": 0.947},
    {"source": "MedMNIST v2, auto-sklearn", "accuracy": 0.855, "auc": 0.942},
    {"source": "MedMNIST v2, Google AutoML Vision", "accuracy": 0.946, "auc": 0.991},
    {"source": "Doerrich et al. 2024, VGG16 end to end, 64 px", "accuracy": 0.893, "auc": 0.987},
    {"source": "Doerrich et al. 2024, DenseNet121, 128 px", "accuracy": 0.898, "auc": 0.988},
    {"source": "Doerrich et al. 2024, DINO ViT-B linear probe", "accuracy": 0.916, "auc": 0.989},
)
"""Figures on the official 624 test images of Kermany et al. 2018, as their authors give them."""


PNEUMONIAMNIST = "pneumoniamnist"


def is_official_test(names: Sequence[str], labels: ArrayLike, classes: Sequence[str], source: str = "") -> bool:
    """Whether these are the 624 official test images: 234 normal, 242 bacterial, 148 viral films.

    PneumoniaMNIST holds them without their names: there its own name and the counts of its classes tell.

    Args:
        names: file names.
        labels: class indices.
        classes: class names.
        source: what the data set is called: a path, or `pneumoniamnist:64`.
    """
    bacterial = sum("_bacteria_" in name for name in names)
    viral = sum("_virus_" in name for name in names)
    counts = dict(zip(classes, np.bincount(np.asarray(labels), minlength=len(classes)).tolist(), strict=True))
    if PurePath(source).name.lower().startswith(PNEUMONIAMNIST):
        return counts == {"normal": 234, "pneumonia": 390}
    return sorted(counts.values()) == [234, 390] and (bacterial, viral) == (242, 148)


_KERMANYS = re.compile(r"((NORMAL2-)?IM-\d+-\d+(-\d+)?|person\d+_(bacteria|virus)_\d+)\.jpe?g", re.IGNORECASE)


def population(names: Sequence[str], source: str = "") -> str:
    """Whom the films show, in one sentence, where the official files of Kermany et al. 2018 are recognised; else empty.

    Args:
        names: file names of train and validation; all of the official ones' pattern, a thousand at least.
        source: what the data set is called.
    """
    official = len(names) >= 1000 and all(_KERMANYS.fullmatch(name) for name in names)
    if not official and not PurePath(source).name.lower().startswith(PNEUMONIAMNIST):
        return ""
    by = "By their names these are" if official else "These are"
    return (
        f"{by} the films of Kermany et al. 2018: children of one to five years, anterior-posterior chest X-rays of "
        "routine care at Guangzhou Women and Children's Medical Center. Sex and exact ages are not known."
    )
