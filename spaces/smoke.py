"""A tiny space for tests and a first try: `dense` and `cnn` at 28 and 32 px, three epochs, seconds in all.

    make search SPACE=smoke TRIALS=4

Its networks are those of `chest_xray` with everything that costs time held small; what may still vary is enough to
exercise conditions, both kinds of parameters and the sampler.
"""

from __future__ import annotations

from typing import Any

import keras_tuner

from spaces.chest_xray import ChestXRay
from spaces.space import Feature, Narrowed, Point, SearchContext, Space
from xraytune.training.inputs.augmentation import COUNTERMEASURES

HELD: dict[str, Any] = {
    "dense/layers": 1,
    "dense/batch_norm": False,
    "cnn/convolutions": 1,
    "cnn/growth": 1.0,
    "cnn/pooling": "max",
    "cnn/batch_norm": False,
    "cnn/dropout": 0.0,
    "head/pool": "avg",
    "head/layers": 0,
    "head/units": 32,
    "head/batch_norm": False,
    "optimizer": "adam",
    "schedule": "constant",
    "batch_size": 16,
    "epochs": 3,
    "patience": 3,
    "imbalance": "none",
    "label_smoothing": 0.0,
    "flip": False,
    **dict.fromkeys(COUNTERMEASURES, "none"),
}


class Smoke(ChestXRay):
    """Two families, a handful of parameters."""

    name = "smoke"

    @property
    def families(self) -> tuple[str, ...]:
        """`dense` and `cnn`, if asked for."""
        asked = self.context.families or ("dense", "cnn")
        return tuple(f for f in ("dense", "cnn") if f in asked)

    def declare_hyperparameters(self, hp: keras_tuner.HyperParameters) -> None:
        """A few choices; the rest held."""
        choice = self.context.choice
        choice(hp, "family", self.families)
        if "dense" in self.families:
            with hp.conditional_scope("family", ["dense"]):
                choice(hp, "dense/image_size", (28,))
                choice(hp, "dense/units", (32, 64))
                choice(hp, "dense/dropout", (0.0, 0.2))
                choice(hp, "dense/normalization", ("unit", "standardized"))
                self._hold(hp, "dense/")
        if "cnn" in self.families:
            with hp.conditional_scope("family", ["cnn"]):
                choice(hp, "cnn/image_size", (28, 32))
                choice(hp, "cnn/blocks", (1, 2))
                choice(hp, "cnn/width", (8,))
                choice(hp, "cnn/normalization", ("unit", "standardized"))
                choice(hp, "head/dropout", (0.0, 0.2))
                self._hold(hp, "cnn/")
                self._hold(hp, "head/")
        hp.Float("learning_rate", 1e-3, 1e-1, sampling="log", default=1e-2)
        choice(hp, "augmentation", ("none", "light"))
        self._precision(hp)
        self._hold(hp, "")

    def _hold(self, hp: keras_tuner.HyperParameters, prefix: str) -> None:
        for name, value in HELD.items():
            if name.startswith(prefix) and (prefix or "/" not in name):
                self.context.choice(hp, name, (value,))

    def backbones(self) -> tuple[str, ...]:
        """None: its networks have no pretrained part."""
        return ()

    def narrow(self, search: SearchContext) -> Narrowed:
        """All of it: whatever is drawn takes seconds."""
        return Space.narrow(self, search)

    def initial_trials(self, search: SearchContext) -> list[Point]:
        """None."""
        return []

    def recipes(self, search: SearchContext) -> tuple[list[Point], list[str]]:
        """None.

        Raises:
            InputError: the user asked for one.
        """
        return Space.recipes(self, search)

    def recipe_names(self) -> tuple[str, ...]:
        """None."""
        return ()

    def cached_features(self) -> dict[str, Feature]:
        """None."""
        return {}
