"""How a network is trained, read from a trial's values: everything of a configuration that is not architecture.

`Plan.of` gives each name a default, so that a foreign HyperModel, which may declare none of these, trains too. The
names are those that `spaces/chest_xray.py` declares.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from xraytune.records import Value
from xraytune.training.inputs.augmentation import COUNTERMEASURES, Augmentation

MOMENTUM = 0.9
"""SGD's momentum, as in the papers of VGG (Simonyan & Zisserman 2014) and DenseNet (Huang et al. 2017)."""

IMBALANCE = ("class_weights", "balanced_batches", "logit_adjusted", "focal", "none")
"""What a training does about classes that are not equally frequent. The first is the default of the space and of its
starting points: the one place to change it.

class_weights: the loss of an image counts inversely to its class's frequency; balanced_batches: every batch shows the
classes equally often, images of rarer ones more often; logit_adjusted: the loss is taken of probabilities that were
moved to the training images' prevalence, so that the network itself answers at equal prevalence (Menon et al. 2021,
"Long-tail learning via logit adjustment"); focal: easy images count less (Lin et al. 2017), frequencies as they are."""

FOCAL_GAMMA = 2.0
"""The focal loss's exponent, the best in Lin et al. 2017."""

PLATEAU_FACTOR, PLATEAU_EPOCHS = 0.3, 2
"""Schedule `plateau`: after so many epochs without a better value the rate is multiplied by the factor."""

WARM_UP_EPOCHS = 1
"""Schedule `cosine`: epochs of linear warm-up (Goyal et al. 2017 take 5 of 90)."""

SOLVED_BATCH, SOLVED_IMAGES = 16, 256
"""Batches and images that the loss of a network is measured on whose last layer is solved for: the smallest batch of
the space, so that no data are too few for it."""


@dataclass(frozen=True)
class TrainingSettings:
    """One trial's training."""

    image_size: int
    """Edge of the square images, pixels; 0 where the values don't say (a foreign HyperModel)."""

    batch_size: int = 32
    epochs: int = 10
    """The most epochs the trial runs."""

    patience: int = 5
    """Epochs without a better smoothed value before it stops early."""

    epoch_images: int = 0
    """Training images an epoch; 0 is all. A dear family cycles through a seeded order, a share at a time."""

    optimizer: str = "adam"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    schedule: str = "constant"
    imbalance: str = "none"
    """One of `IMBALANCE`."""
    label_smoothing: float = 0.0
    augmentation: Augmentation = field(default_factory=Augmentation)
    copies: int = 0
    """Augmented copies of a kept prefix's output, cycled over the epochs; 0 keeps the plain images only."""

    head_epochs: int = 0
    """Epochs in which only the head is trained, before the backbone's last blocks join it."""

    precision: str = "float32"
    """What layers compute in: float32, or bfloat16 with float32 weights (Micikevicius et al. 2018)."""

    rate_factor: float = 1.0
    """What the rate is multiplied by once the backbone's blocks are trained too."""

    solver: str = ""
    """`logistic_regression`: the last layer is solved for before the one epoch, which then changes nothing; empty:
    layers are trained by gradient steps."""

    @classmethod
    def of(cls, values: Mapping[str, Value]) -> TrainingSettings:
        """The plan in a trial's active values; a family's own names are looked up under its prefix first."""
        family = str(values.get("family", ""))

        def get(name: str, default: Any) -> Any:
            return values.get(f"{family}/{name}", values.get(name, default))

        if solver := values.get(f"{family}/solver"):
            return cls.solved(int(get("image_size", 0)), str(solver))
        return cls(
            image_size=int(get("image_size", 0)),
            batch_size=int(get("batch_size", 32)),
            epochs=int(get("epochs", 10)),
            patience=int(get("patience", 5)),
            epoch_images=_share(values),
            optimizer=str(get("optimizer", "adam")),
            learning_rate=float(get("learning_rate", 1e-3)),
            weight_decay=float(get("weight_decay", 0.0)),
            schedule=str(get("schedule", "constant")),
            imbalance=str(get("imbalance", "none")),
            label_smoothing=float(get("label_smoothing", 0.0)),
            augmentation=Augmentation(
                strength=str(get("augmentation", "none")),
                flip=bool(get("flip", False)),
                **{name: str(get(name, "none")) for name in COUNTERMEASURES},
            ),
            copies=int(get("augmentation_copies", 0)),
            precision=str(get("precision", "float32")),
            head_epochs=int(get("head_epochs", 0)),
            rate_factor=float(get("rate_factor", 1.0)),
        )

    @classmethod
    def solved(cls, image_size: int, solver: str) -> TrainingSettings:
        """The plan of a network whose last layer is solved for: one epoch at rate 0, which measures the loss."""
        return cls(image_size, SOLVED_BATCH, 1, epoch_images=SOLVED_IMAGES, learning_rate=0.0, solver=solver)

    def rate(self, progress: float, drops: int = 0) -> float:
        """The learning rate at a point of the training.

        Args:
            progress: epochs gone by, a fraction within an epoch.
            drops: how often a plateau was met.
        """
        rate = self.learning_rate * (self.rate_factor if self.head_epochs and progress >= self.head_epochs else 1.0)
        if self.schedule == "plateau":
            return rate * PLATEAU_FACTOR**drops
        if self.schedule == "cosine":
            if progress < WARM_UP_EPOCHS:
                return rate * max(progress / WARM_UP_EPOCHS, 0.05)
            span = max(self.epochs - WARM_UP_EPOCHS, 1)
            return rate * max(0.5 * (1 + math.cos(math.pi * min((progress - WARM_UP_EPOCHS) / span, 1.0))), 0.01)
        return rate


def _share(values: Mapping[str, Value]) -> int:
    """Training images an epoch: as many as `epoch_gflop` pays for, 0 (all) where that is 0 or not a value."""
    budget = float(values.get("epoch_gflop", 0))
    if not budget:
        return 0
    from xraytune.models.cost import cost

    return cost(values).epoch_images(budget * 1e9)
