"""A model on a sealed set: every figure with its interval, whole, by class and by subgroup, and the gap in words.

Called once the test set was opened; everything is plain JSON, so that the report and `metrics.json` are the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xraytune import calibration, intervals, metrics
from xraytune.intervals import Interval
from xraytune.metrics import Floats

FEWEST = 10
"""Images below which a subgroup's figures say nothing: an interval would span most of 0 to 1."""

THIRDS_FROM = 6
"""Different numbers in a column above which they are a measurement (an age) and are grouped in thirds."""

MOST_VALUES = 30
"""Different texts in a column above which they are no groups."""

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


def _behind(truth: NDArray[Any], decided: NDArray[Any], patients: NDArray[Any], which: int | None) -> dict[str, int]:
    """How many patients are behind each share: of one class, or (None) all and every class together."""

    def count(chosen: NDArray[np.bool_]) -> int:
        return len(np.unique(patients[chosen]))

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
        draws: bootstrap resamples.
        seed: of the draws.

    A share that is 1 (or 0) in every draw gets the exact binomial interval over its patients.

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
        each = metrics.class_figures(metrics.confusion(truth, decided, k, weights))
        each["auc"] = np.stack([metrics.roc_auc(truth == c, p[:, c], weights) for c in range(k)], axis=1)
        return {**overall, **metrics.averaged(each), **{f"class/{name}": values for name, values in each.items()}}

    who = np.asarray(patients)
    found = intervals.bootstrap(statistic, who, draws=draws, seed=seed)
    single = {name: v for name, v in found.items() if isinstance(v, Interval)}
    by_class = {name.removeprefix("class/"): v for name, v in found.items() if isinstance(v, tuple)}
    for name, n in (_behind(truth, decided, who, None) | _behind(truth, decided, who, positive)).items():
        if name in single and (positive is not None or name == "accuracy"):
            single[name] = intervals.exact_at_an_end(single[name], n)
    behind = [_behind(truth, decided, who, c) for c in range(k)]
    by_class = {
        name: tuple(intervals.exact_at_an_end(v, behind[c].get(name, 0)) for c, v in enumerate(values))
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


def grouped(values: Sequence[str]) -> list[str]:
    """A column's values as subgroups: thirds of many different numbers, the values themselves where they are few.

    Args:
        values: one an image, empty where there is none.

    Returns:
        the subgroup of each image; all empty where there are more than `MOST_VALUES` texts (a report, a date).
    """
    present = {v for v in values if v}
    numbers: dict[str, float] = {}
    with suppress(ValueError):
        numbers = {v: float(v) for v in present}
    if len(present) > THIRDS_FROM and numbers and np.isfinite(list(numbers.values())).all():
        low, high = np.quantile([numbers[v] for v in values if v], [1 / 3, 2 / 3])
        names = {v: f"up to {low:g}" if x <= low else f"over {high:g}" if x > high else f"over {low:g} to {high:g}"
                 for v, x in numbers.items()}  # fmt: skip
        return [names.get(v, "") for v in values]
    return list(values) if len(present) <= MOST_VALUES else [""] * len(values)


def subgroups(
    columns: Mapping[str, Sequence[str]],
    labels: ArrayLike,
    probabilities: ArrayLike,
    patients: ArrayLike,
    *,
    positive: int | None,
    threshold: float,
    beta: float = 2.0,
    draws: int = 500,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Accuracy, sensitivity, specificity and AUC of every subgroup, worst accuracy first.

    Args:
        columns: name of a column → one value an image, e.g. `{"kind": ["bacterial", …]}`; an empty value is none.
        labels: class indices `(n,)`.
        probabilities: `(n, k)`.
        patients: `(n,)`.
        positive: the positive class or None.
        threshold: operating threshold.
        beta: of F-beta.
        draws: bootstrap resamples a subgroup.
        seed: of the draws.

    Returns:
        rows of column, value, images, patients and [value, low, high] a figure; subgroups of fewer than `FEWEST`
        images and columns with one value only are left out.
    """
    truth, p, who = np.asarray(labels), np.asarray(probabilities), np.asarray(patients)
    rows = []
    for column, values in columns.items():
        array = np.asarray(values, dtype=str)
        kinds = [v for v in np.unique(array) if v]
        if len(kinds) < 2:
            continue
        for kind in kinds:
            chosen = array == kind
            if chosen.sum() < FEWEST:
                continue

            def statistic(weights: Floats, chosen: NDArray[np.bool_] = chosen) -> dict[str, Floats]:
                return metrics.figures(truth[chosen], p[chosen], positive, threshold, beta, weights)

            found = intervals.bootstrap(statistic, who[chosen], draws=draws, seed=seed)
            decided = metrics.decide(p[chosen], positive, threshold)
            behind = _behind(truth[chosen], decided, who[chosen], None)
            if positive is not None:
                behind |= _behind(truth[chosen], decided, who[chosen], positive)
            wanted = ("accuracy", "sensitivity", "specificity", "auc")
            row = {
                name: triple(intervals.exact_at_an_end(v, behind.get(name, 0)))
                for name in wanted
                if isinstance(v := found[name], Interval)
            }
            rows.append(
                {
                    "column": column,
                    "value": str(kind),
                    "images": int(chosen.sum()),
                    "patients": len(np.unique(who[chosen])),
                    **row,
                }
            )
    return sorted(rows, key=lambda row: row["accuracy"][0])


def worst_subgroup(rows: Sequence[Mapping[str, Any]], overall: Triple) -> str:
    """One sentence that names the subgroup with the lowest accuracy."""
    if not rows:
        return "No subgroup is large enough to be judged by itself."
    row = rows[0]
    value, low, high = row["accuracy"]
    clear = high is not None and overall[0] is not None and high < overall[0]
    doubt = "clearly below" if clear else "within chance of"
    return (
        f"The worst subgroup is {row['column']} = {row['value']} ({row['images']} images): accuracy {value:.2f} "
        f"[{low:.2f}, {high:.2f}], {doubt} the {overall[0]:.2f} of all images."
    )


def gap_in_words(
    validation: Mapping[str, float], test: Mapping[str, Triple], normal: str | None = None, *, positive: bool = True
) -> list[str]:
    """What changed from out-of-fold validation to the test set, one sentence a figure, then what it means.

    Args:
        validation: out-of-fold figures by name.
        test: [value, low, high] by name.
        normal: what the images without the finding are called.
        positive: whether a positive class is decided by a threshold; else the figures are averages over classes.

    A change counts where the test set's interval leaves out the validation figure.
    """
    lines, changed = [], {}
    for name in ("auc", "sensitivity", "specificity"):
        before, (after, low, high) = validation.get(name), test[name]
        if before is None or after is None or low is None or high is None or not np.isfinite(before):
            continue
        lines.append(f"{NAMES[name]} {before:.2f} on validation, {after:.2f} on test [{low:.2f}, {high:.2f}]")
        if not low <= before <= high:
            changed[name] = after - before
    out = ["; ".join(lines) + "."] if lines else []
    films = f"the {normal} films" if normal else "the films without the finding"
    if positive and changed.get("specificity", 0) < 0:
        out.append(
            f"Specificity fell by {-changed['specificity']:.2f}, more than chance: {films} of the test set look "
            "different from those that the model learned from."
        )
    if changed.get("sensitivity", 0) < 0:
        which = "films with the finding look different" if positive else "the films of some class look different"
        out.append(f"Sensitivity fell by {-changed['sensitivity']:.2f}, more than chance: {which} in the test set.")
    if changed.get("auc", 0) < 0:
        out.append("The ranking itself became worse (ROC AUC), so no other threshold would close the gap.")
    elif positive and changed and "auc" not in changed:
        out.append("The ranking (ROC AUC) held: the gap is one of the operating threshold.")
    if not changed:
        out.append("No figure changed by more than chance between validation and test.")
    elif all(v > 0 for v in changed.values()):
        out.append("The test set was easier than validation.")
    return out


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


def is_official_test(names: Sequence[str], labels: ArrayLike, classes: Sequence[str]) -> bool:
    """Whether these are the 624 official test images: 234 normal, 242 bacterial, 148 viral films by their names.

    Args:
        names: file names.
        labels: class indices.
        classes: class names.
    """
    bacterial = sum("_bacteria_" in name for name in names)
    viral = sum("_virus_" in name for name in names)
    counts = dict(zip(classes, np.bincount(np.asarray(labels), minlength=len(classes)).tolist(), strict=True))
    return sorted(counts.values()) == [234, 390] and (bacterial, viral) == (242, 148)
