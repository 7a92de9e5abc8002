"""Expected seconds of a finalist's trainings: from its trial in the search, and from what a fold does in addition."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean

from search.retraining.records import FoldResult
from search.study.view import TrialRecord
from xraytune.training.inputs.batches import epoch_size

START = 12.0
"""Seconds until a worker has imported its framework and traced a first network, on two cores."""

AFTER = 15.0
"""Seconds for what follows the trainings: the test set's images, audit, figures, Grad-CAM and report, on two cores."""

VIEWS = 17
"""About how many shifted views there are, the clean one included."""

SPARED = ("prefix", "validate", "views", "tta")
"""Phases that a final training has not: its backbone features are cached, and it has no held-out images."""


@dataclass(frozen=True)
class CostEstimate:
    """What a finalist takes, in seconds of one worker."""

    training: float
    """One training as in the search, without computing its frozen prefix."""

    refit: float
    """The final model's training."""

    views: float = 0.0
    """A fold's views through its frozen prefix, in its first epoch: they are planned on the fold's own images."""

    finish: float = 0.0
    """Of each fold after its last epoch, beyond what the search's trial did then: views under the clean objective,
    test-time augmentation (`--tta`)."""

    held_out: float = 0.0
    """The same of the held-out images of all folds together."""

    features: Mapping[str, float] = field(default_factory=dict)
    """Once, before or in the first folds: a frozen prefix's outputs of images for which the search did not need them,
    by what they are of; finalists share them."""

    def answers(self, folds: int) -> float:
        """What follows the last epoch of one of so many folds."""
        return self.finish + self.held_out / folds

    def fold(self, folds: int) -> float:
        """One of so many folds."""
        return self.training + self.views + self.answers(folds)


def features_seconds(prices: Iterable[CostEstimate]) -> float:
    """What all prefixes' outputs that are missing take together."""
    together: dict[str, float] = {}
    for price in prices:
        for name, seconds in price.features.items():
            together[name] = max(seconds, together.get(name, 0.0))
    return sum(together.values())


def of_search(trial: TrialRecord) -> CostEstimate:
    """By what the trial took in the search alone; a pruned one's to its last epoch, unpruned."""
    return CostEstimate(_seconds(trial, ("prefix",)), _seconds(trial, SPARED))


def of_folds(
    trial: TrialRecord, *, images: int, validation: int, classes: int, robust: bool, tta: str = ""
) -> CostEstimate:
    """A finalist's price on folds; the same as `of_search` where it is none of the families.

    Views are drawn for each fold anew, so that those of a kept prefix go through it. Where a prefix's outputs are of
    augmented copies, the search has the plain ones of its validation images alone and the copies of its training images
    alone; folds hold out every image once and train on every image. Variants of each image, and of each view of it
    (`--tta`), go through the whole network.

    Args:
        trial: a finalist.
        images: of train and validation together.
        validation: of them, how many were the search's validation images.
        classes: how many.
        robust: whether the first epoch looks at the views already, or the last one alone.
        tta: the test-time augmentation of the answers (`--tta`); empty: none.
    """
    from xraytune.inference import test_time_augmentation
    from xraytune.models import cost as costs
    from xraytune.training.epoch_evaluation import PER_CLASS, PER_CLASS_PREFIX
    from xraytune.training.optimization.settings import TrainingSettings

    plain = of_search(trial)
    if trial.config is None:
        return plain
    try:
        cost = costs.cost(trial.config.values)
    except (KeyError, ValueError):  # of a space of the user's own, whose family may have the name of one of ours
        return plain
    plan, machine = TrainingSettings.of(trial.config.values), costs.this_machine()
    viewed = VIEWS * classes * (PER_CLASS_PREFIX if cost.prefix else PER_CLASS)
    views, finish, held_out, features = cost.prefix_seconds(machine, viewed), 0.0, 0.0, {}
    if cost.prefix and plan.copies and plan.augmentation:
        name = f"{cost.backbone} at {plan.image_size}, {cost.prefix:.0f} operations"
        features[name] = cost.prefix_seconds(machine, images - validation)
        features[f"{name}, {plan.augmentation}"] = cost.prefix_seconds(machine, plan.copies * validation)
    if not robust:
        views, finish = 0.0, views
    if tta:
        variants = test_time_augmentation.variants(tta)
        finish += variants * cost.answer_seconds(machine, viewed)
        held_out = variants * cost.answer_seconds(machine, images)
    return CostEstimate(plain.training, plain.refit, views, finish, held_out, features)


def refit_seconds(price: CostEstimate, trial: TrialRecord, folds: Sequence[FoldResult], images: int) -> float:
    """What a finalist's final training takes: by what its folds took, by the search where none is done.

    Args:
        price: from the search.
        trial: the finalist.
        folds: those of it that are done.
        images: that it is trained on, all of them; a fold has all but those that it holds out, which makes its epochs
            shorter only where an epoch takes all there are (`batches.epoch_size`).
    """
    from xraytune.training.optimization.settings import TrainingSettings

    if not folds or trial.config is None:
        return price.refit
    share = TrainingSettings.of(trial.config.values).epoch_images
    whole = epoch_size(images, share)
    return mean(without(fold, SPARED) * whole / epoch_size(images - len(fold.indices), share) for fold in folds)


def without(fold: FoldResult, phases: Sequence[str]) -> float:
    """What a fold took but for some phases."""
    return sum(seconds for phase, seconds in fold.result.seconds.items() if phase not in phases)


def _seconds(trial: TrialRecord, spared: Sequence[str]) -> float:
    from xraytune.training.optimization.settings import TrainingSettings

    seconds = trial.seconds or 60.0
    if trial.result:
        seconds -= sum(trial.result.seconds.get(phase, 0.0) for phase in spared)
    if trial.state == "PRUNED" and trial.config and trial.result:
        seconds *= max(1.0, TrainingSettings.of(trial.config.values).epochs / trial.result.epochs)
    return max(1.0, seconds)
