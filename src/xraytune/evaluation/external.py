"""Whether a model holds on other images than its study's: the gap to the study's own test figures, and a verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xraytune.evaluation.evaluate import NAMES, Triple
from xraytune.evaluation.generalization_gap import changes

CHANCE = 0.5
"""The ROC AUC of an answer that looks at no image."""

NOT_USABLE = "not usable here"
UNCLEAR = "can't be told"
NO_SIGN = "no sign against it"


@dataclass(frozen=True)
class Verdict:
    """What the figures say of using the model on such images."""

    verdict: str
    """`NOT_USABLE`, `UNCLEAR` or `NO_SIGN`."""
    reasons: tuple[str, ...]
    """Each a sentence."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"verdict": self.verdict, "reasons": list(self.reasons)}


def verdict(here: Mapping[str, Triple], study: Mapping[str, Triple] | None) -> Verdict:
    """Judge the model by its figures on other images.

    It is not usable where the 95 % interval of the ROC AUC includes 0.5 or lies below it, or where sensitivity or
    specificity is below the study's test figure and the interval of the difference excludes 0.

    Args:
        here: [value, low, high] by name, on the images that were evaluated.
        study: the same on the study's own test set; None where it is not known.
    """
    area, low, high = here["auc"]
    against, unknown = [], []
    if area is None or low is None or high is None:
        unknown.append("The ROC AUC or its interval is undefined: there are too few images or patients of a class.")
    elif low <= CHANCE:
        what = "includes 0.5: the model does not tell the classes apart on these images."
        if high < CHANCE:
            what = "lies below 0.5: the model ranks the classes of these images in the wrong order."
        against.append(f"The 95 % interval of the ROC AUC, {area:.2f} [{low:.2f}, {high:.2f}], {what}")
    if study is None:
        unknown.append("The study's test results are not known, so sensitivity and specificity can't be compared.")
    else:
        for name, (change, least, most) in changes(study, here).items():
            if name != "auc" and change is not None and most is not None and most < 0:
                against.append(
                    f"{NAMES[name].capitalize()} is {-change:.2f} [{-most:.2f}, {-(least or 0.0):.2f}] below the "
                    f"study's test result: {here[name][0]:.2f} here, {study[name][0]:.2f} there."
                )
    if against:
        return Verdict(NOT_USABLE, tuple(against))
    if unknown:
        return Verdict(UNCLEAR, tuple(unknown))
    reason = (
        "The model tells the classes apart, and neither sensitivity nor specificity is significantly below the study's."
    )
    return Verdict(NO_SIGN, (reason,))


def gap(here: Mapping[str, Triple], study: Mapping[str, Triple] | None) -> list[str]:
    """The difference of ROC AUC, sensitivity and specificity from the study's test set, a sentence each."""
    if study is None:
        return []
    lines = []
    for name, (change, low, high) in changes(study, here).items():
        if change is None or low is None or high is None:
            continue
        sure = "statistically significant" if not low <= 0 <= high else "not statistically significant"
        lines.append(
            f"{NAMES[name]}: {here[name][0]:.2f} here, {study[name][0]:.2f} on the study's test set; difference "
            f"{change:+.2f} [{low:+.2f}, {high:+.2f}], {sure}."
        )
    return lines
