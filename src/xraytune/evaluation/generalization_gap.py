"""What changed from out-of-fold validation to the test set, and between folds, in plain words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from xraytune.evaluation import intervals
from xraytune.evaluation.evaluate import NAMES, Triple, triple
from xraytune.evaluation.intervals import Interval

FIGURES = ("auc", "sensitivity", "specificity")
"""The figures whose change is told."""


def changes(validation: Mapping[str, Triple], test: Mapping[str, Triple]) -> dict[str, Triple]:
    """Test minus validation of `FIGURES`, with intervals in which both are in doubt.

    Args:
        validation: [value, low, high] by name, out-of-fold.
        test: the same on the test set, other patients.

    A figure that is undefined on one of them is left out.
    """
    out = {}
    for name in FIGURES:
        before, after = validation[name], test[name]
        if None not in before and None not in after:
            first, second = (Interval(*(float(v) for v in t if v is not None)) for t in (after, before))
            out[name] = triple(intervals.apart(first, second))
    return out


def in_words(
    validation: Mapping[str, Triple],
    test: Mapping[str, Triple],
    normal: str | None = None,
    *,
    positive: bool = True,
    shift: str = "",
) -> list[str]:
    """What changed from out-of-fold validation to the test set, one sentence a figure, then what it means.

    Args:
        validation: [value, low, high] by name, out-of-fold.
        test: the same on the test set.
        normal: what the images without the finding are called.
        positive: whether a positive class is decided by a threshold; else the figures are averages over classes.
        shift: what the audit says of how the test images differ, put beside a fall.

    A change counts where the interval of the difference leaves out 0.
    """
    found = changes(validation, test)
    lines, changed = [], {}
    for name, (value, low, high) in found.items():
        assert value is not None
        assert low is not None
        assert high is not None
        before, (after, least, most) = validation[name][0], test[name]
        lines.append(f"{NAMES[name]} {before:.2f} on validation, {after:.2f} on test [{least:.2f}, {most:.2f}]")
        if not low <= 0 <= high:
            changed[name] = value, f"{abs(value):.2f} [{min(abs(low), abs(high)):.2f}, {max(abs(low), abs(high)):.2f}]"
    out = ["; ".join(lines) + "."] if lines else []
    fell = {name: words for name, (value, words) in changed.items() if value < 0}
    images = f"the {normal} images" if normal else "the images without the finding"
    if positive and "specificity" in fell:
        out.append(
            f"Specificity fell by {fell['specificity']}, statistically significant: for the model {images} of the test "
            "set look different from the training images."
        )
    if "sensitivity" in fell:
        which = "images with the finding look different" if positive else "the images of some class look different"
        out.append(f"Sensitivity fell by {fell['sensitivity']}, statistically significant: {which} in the test set.")
    if fell and shift:
        out.append(shift)
    if "auc" in fell:
        out.append("The ranking (ROC AUC) is also worse: another threshold can close the gap only partly.")
    elif positive and changed and "auc" not in changed:
        out.append("The ranking (ROC AUC) did not change significantly: the gap comes from the operating threshold.")
    if not changed:
        out.append("No metric changed significantly between validation and test.")
    elif not fell:
        out.append("The test set was easier than validation.")
    return out


def alignment(pooled: float, by_fold: Sequence[float]) -> str:
    """A warning where the folds' scores don't mean the same; else empty.

    Within a fold one network ranks the images; pooled, images of different networks are ranked against each other. So a
    pooled AUC below the mean of the folds' by more than two standard errors (and a hundredth) says that a score of one
    fold's network is not what the same score is of another's.

    Args:
        pooled: ROC AUC of all out-of-fold answers together.
        by_fold: of each fold's own.
    """
    known = np.array([v for v in by_fold if np.isfinite(v)])
    if len(known) < 2 or not np.isfinite(pooled):
        return ""
    mean, error = float(known.mean()), float(known.std(ddof=1) / np.sqrt(len(known)))
    if pooled >= mean - max(0.01, 2 * error):
        return ""
    return (
        f"The folds' scores are not comparable: the ROC AUC is {pooled:.3f} pooled over the folds, but {mean:.3f} on "
        "average within folds. A threshold and a calibration fitted on all folds together are then less suitable for "
        "each network."
    )
