"""The default space: six families, from logistic regression to a fine-tuned DenseNet.

    make search                                     # this space
    python -m search.run --families cnn,densenet    # two of its families
    python -m search.run --fix cnn/image_size=96    # one value held

On 2 cores in 15 minutes, 5,000 images: some forty trials at 28–64 px, all six families. On a GPU in an hour: hundreds,
up to 224 px. What is too dear for the time asked is narrowed away beforehand (`spaces.narrowing.narrow`) and said so.

`declare_hyperparameters` only declares (no network is built); `build` makes the network of `xraytune.models`; `fit` is
KerasTuner's hook, so that KerasTuner's own tuners run this class unchanged. Our own trials
(`xraytune.training.trainer`) call `build` and train by themselves, epoch by epoch, with kept prefixes.
"""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext
from typing import Any

import keras_tuner
import numpy as np

from spaces import recipes
from spaces import shortcut_countermeasures as countermeasures
from spaces.context import SpaceContext
from spaces.narrowing import cache_size, narrow
from spaces.space import Choices, Feature, Narrowed, Point, SearchContext, Space, TimeLeft
from xraytune import models
from xraytune.framework import keras
from xraytune.models import backbones, densenet, heads, linear, vgg
from xraytune.models.weight_files import DENSENET_BLOCKS, VGG_CONVOLUTIONS
from xraytune.records import Value
from xraytune.training.inputs import augmentation
from xraytune.training.optimization.compiling import compile_network, computing_in
from xraytune.training.optimization.fitting import fit_plainly
from xraytune.training.optimization.logistic_regression import SOLVER
from xraytune.training.optimization.settings import IMBALANCE, TrainingSettings

OWN_NORMALIZATIONS = ("unit", "centered", "standardized")
BACKBONE_NORMALIZATIONS = ("imagenet", "unit", "standardized")
COPIES = (0, 1, 2, 4)
"""Augmented copies of a kept prefix, cycled over epochs; 0 trains on the images as they are."""


class ChestXRay(Space):
    """All families of `xraytune.models` over one data set.

    Args:
        context: classes, channels, available weights, families allowed, narrowed choices.
    """

    name = "chest_xray"
    precisions = ("float32", "bfloat16")

    def __init__(self, context: SpaceContext) -> None:
        super().__init__(name=self.name)
        self.context = context
        self.vggs = [b for b in VGG_CONVOLUTIONS if b in context.weights]
        self.densenets = [b for b in DENSENET_BLOCKS if b in context.weights]

    @property
    def families(self) -> tuple[str, ...]:
        """The families that take part: those asked for, without those whose weights are not available."""
        ours = [f for f in models.FAMILIES if self.vggs or not f.startswith("vgg")]
        asked = self.context.families or (*ours, *self.context.files)
        return tuple(self.context.choices("family", [f for f in (*ours, *self.context.files) if f in asked]))

    @property
    def once(self) -> tuple[str, ...]:
        """The linear model: it has one configuration."""
        return tuple(f for f in self.families if f == "linear")

    @property
    def trained(self) -> tuple[str, ...]:
        """The families that are trained by gradient steps."""
        return tuple(f for f in self.families if f not in self.once)

    def declare_hyperparameters(self, hp: keras_tuner.HyperParameters) -> None:
        """Everything that may vary; conditional parameters under their parent."""
        hp.Choice("family", list(self.families))
        own = {
            "linear": self._linear,
            "dense": self._dense,
            "cnn": self._cnn,
            "vgg_frozen": self._vgg,
            "vgg_finetuned": self._vgg,
            "densenet": self._densenet,
        }
        for family in self.families:
            with hp.conditional_scope("family", [family]):
                own.get(family, self._by_file)(hp, family)
        with_heads = [f for f in self.families if f not in {"linear", "dense"}]
        if with_heads:
            with hp.conditional_scope("family", with_heads):
                self._head(hp)
        if self.trained:
            with hp.conditional_scope("family", list(self.trained)) if self.once else nullcontext():
                self._training(hp)
            self._augmentation(hp)

    def _linear(self, hp: keras_tuner.HyperParameters, _: str) -> None:
        choice = self.context.choice
        choice(hp, "linear/image_size", models.SIZES["linear"])
        choice(hp, "linear/cells", linear.CELLS)
        choice(hp, "linear/solver", (SOLVER,))

    def _dense(self, hp: keras_tuner.HyperParameters, _: str) -> None:
        choice = self.context.choice
        choice(hp, "dense/image_size", models.SIZES["dense"], 48)
        choice(hp, "dense/normalization", OWN_NORMALIZATIONS)
        choice(hp, "dense/layers", (1, 2, 3, 4, 5, 6), 2)
        choice(hp, "dense/units", (32, 64, 128, 256, 512), 128)
        choice(hp, "dense/dropout", (0.0, 0.2, 0.4), 0.2)
        choice(hp, "dense/batch_norm", (False, True), True)

    def _cnn(self, hp: keras_tuner.HyperParameters, _: str) -> None:
        choice = self.context.choice
        choice(hp, "cnn/image_size", models.SIZES["cnn"], 64)
        choice(hp, "cnn/normalization", OWN_NORMALIZATIONS)
        choice(hp, "cnn/blocks", (1, 2, 3, 4, 5), 3)
        choice(hp, "cnn/convolutions", (1, 2), 1)
        choice(hp, "cnn/width", (8, 16, 32, 64), 16)
        choice(hp, "cnn/growth", (1.0, 1.5, 2.0), 2.0)
        choice(hp, "cnn/batch_norm", (False, True), True)
        choice(hp, "cnn/pooling", ("max", "avg"))
        choice(hp, "cnn/dropout", (0.0, 0.1, 0.25))

    def _vgg(self, hp: keras_tuner.HyperParameters, family: str) -> None:
        choice = self.context.choice
        choice(hp, f"{family}/backbone", self.vggs)
        choice(hp, f"{family}/image_size", models.SIZES[family], 64)
        choice(hp, f"{family}/normalization", BACKBONE_NORMALIZATIONS)
        choice(hp, f"{family}/cut", vgg.CUTS, "block4_pool")
        if family == "vgg_finetuned":
            choice(hp, f"{family}/trained_blocks", (1, 2))
            choice(hp, f"{family}/head_epochs", (1, 2, 3), 2)
            choice(hp, f"{family}/rate_factor", (0.3, 0.1, 0.03, 0.01), 0.1)
        choice(hp, f"{family}/augmentation_copies", COPIES)

    def _densenet(self, hp: keras_tuner.HyperParameters, _: str) -> None:
        choice = self.context.choice
        modes = self._densenet_modes
        choice(hp, "densenet/mode", modes)
        choice(hp, "densenet/image_size", models.SIZES["densenet"], 64)
        with hp.conditional_scope("densenet/mode", ["scratch"]):
            choice(hp, "densenet/variant", tuple(densenet.VARIANTS))
            choice(hp, "densenet/own_normalization", OWN_NORMALIZATIONS)
        if modes == ["scratch"]:
            return
        with hp.conditional_scope("densenet/mode", ["frozen", "last_block"]):
            choice(hp, "densenet/backbone", self.densenets)
            choice(hp, "densenet/normalization", BACKBONE_NORMALIZATIONS)
            choice(hp, "densenet/augmentation_copies", COPIES)
        with hp.conditional_scope("densenet/mode", ["frozen"]):
            choice(hp, "densenet/cut", tuple(densenet.CUTS), "pool4")
        with hp.conditional_scope("densenet/mode", ["last_block"]):
            choice(hp, "densenet/head_epochs", (1, 2, 3), 2)
            choice(hp, "densenet/rate_factor", (0.3, 0.1, 0.03, 0.01), 0.1)

    def _by_file(self, hp: keras_tuner.HyperParameters, family: str) -> None:
        """A backbone of the user's: all is as its file says, but the copies."""
        choice, backbone = self.context.choice, self.context.files[family]
        choice(hp, f"{family}/backbone", (family,))
        choice(hp, f"{family}/image_size", (backbone.image_size,))
        choice(hp, f"{family}/normalization", (backbone.normalization,))
        choice(hp, f"{family}/features", ("x".join(map(str, backbone.features)),))
        choice(hp, f"{family}/gflop", (backbone.gflop,))
        choice(hp, f"{family}/augmentation_copies", COPIES)

    def _head(self, hp: keras_tuner.HyperParameters) -> None:
        choice = self.context.choice
        choice(hp, "head/pool", heads.POOLS)
        choice(hp, "head/layers", (0, 1, 2, 3, 4, 5), 1)
        choice(hp, "head/units", (32, 64, 128, 256, 512), 64)
        choice(hp, "head/dropout", (0.0, 0.2, 0.4, 0.5), 0.2)
        choice(hp, "head/batch_norm", (False, True))

    def _training(self, hp: keras_tuner.HyperParameters) -> None:
        choice = self.context.choice
        hp.Float("learning_rate", 1e-4, 1e-2, sampling="log", default=1e-3)
        choice(hp, "optimizer", ("adam", "adamw", "sgd"))
        with hp.conditional_scope("optimizer", ["adamw", "sgd"]):
            hp.Float("weight_decay", 1e-5, 1e-1, sampling="log", default=1e-3)
        choice(hp, "schedule", ("constant", "cosine", "plateau"))
        choice(hp, "batch_size", (16, 32, 64), 32)
        choice(hp, "epochs", (10, 15, 20, 30), 15)
        # what an epoch may cost; 0 is an epoch of all images (spaces.narrowing.narrow sets it where time is short)
        choice(hp, "epoch_gflop", tuple(int(v) for v in self.context.narrowed.get("epoch_gflop", (0,))))
        choice(hp, "patience", (3, 5, 8), 5)
        self._precision(hp)
        choice(hp, "imbalance", IMBALANCE)
        choice(hp, "label_smoothing", (0.0, 0.05, 0.1))

    def _augmentation(self, hp: keras_tuner.HyperParameters) -> None:
        """Shared by trained families, but where narrowing gave the kept copies of one an augmentation of its own."""
        usual = {"augmentation": "light", "shape_jitter": "light"}
        for name, values in augmentation.CHOICES.items():
            own = [f for f in self.families if f"{f}/{name}" in self.context.narrowed]
            for family in own:
                self._of_copies(hp, family, name, values)
            # a DenseNet from scratch keeps no copies
            sharing = [f for f in self.trained if f not in own or f == "densenet"]
            if sharing:
                with hp.conditional_scope("family", sharing) if own or self.once else nullcontext():
                    self.context.choice(hp, name, values, usual.get(name))

    def _of_copies(self, hp: keras_tuner.HyperParameters, family: str, name: str, values: tuple[Any, ...]) -> None:
        """A part of the augmentation that a family's kept copies have, where a trial has copies."""
        copies = [n for n in self.context.choices(f"{family}/augmentation_copies", COPIES) if n]
        pretrained = [mode for mode in self._densenet_modes if mode != "scratch"]
        with (
            hp.conditional_scope("family", [family]),
            hp.conditional_scope("densenet/mode", pretrained) if family == "densenet" else nullcontext(),
            hp.conditional_scope(f"{family}/augmentation_copies", copies),
        ):
            self.context.choice(hp, f"{family}/{name}", values)

    @property
    def _densenet_modes(self) -> list[str]:
        return (
            self.context.choices("densenet/mode", ["frozen", "last_block", "scratch"])
            if self.densenets
            else ["scratch"]
        )

    def _precision(self, hp: keras_tuner.HyperParameters) -> None:
        """Declared only where it was asked for: float32 is what a trial has without."""
        if "precision" in self.context.narrowed:
            self.context.choice(hp, "precision", ("float32", "bfloat16"))

    def active(self, hp: keras_tuner.HyperParameters) -> dict[str, Value]:
        """The active hyperparameters of `hp` by name."""
        self.declare_hyperparameters(hp)
        return {p.name: hp.values[p.name] for p in hp.space if hp.is_active(p)}

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """The whole network, images in, compiled; of a backbone by file the head, which takes its features."""
        values, given = self.active(hp), self.context
        with computing_in(str(values.get("precision", "float32"))):
            model = models.network(values, given.channels, given.classes, given.weights, given.files)
        compile_network(model, TrainingSettings.of(values))
        return model

    def fit(
        self, hp: keras_tuner.HyperParameters, model: keras.Model, *args: Any, **kwargs: Any
    ) -> keras.callbacks.History:
        """KerasTuner's hook: trains with the plan's batch size, epochs, augmentation, class weights, early stopping.

        Images of another size are resized; integer labels become one-hot. What the caller gives (`epochs`,
        `batch_size`, `callbacks`) wins over the plan. For a backbone by file images become its features first, once.
        """
        return fit_plainly(model, TrainingSettings.of(self.active(hp)), self.context.classes, *args, **kwargs)

    # ── what a search asks ───────────────────────────────────────────────────────────────────────────────────────

    def backbones(self) -> tuple[str, ...]:
        """Those that its families may begin with."""
        return backbones.of(f for f in models.FAMILIES if f in (self.context.families or models.FAMILIES))

    def narrow(self, search: SearchContext) -> Narrowed:
        """Without the augmentations that the audit does not ask for, and without what is too slow for the time.

        Published configurations that the user named stay: all their values are offered.

        Raises:
            InputError: one of them is not known, or is not in this space.
        """
        answering, lines = countermeasures.to_audit(search.audit, search.objective, search.fixed)
        answered = type(self)(dataclasses.replace(self.context, narrowed={**answering, **self.context.narrowed}))
        left, more = narrow.narrow(answered, search, recipes.held(search.recipes, answered))
        return Narrowed({**left, **answered.context.narrowed}, [*lines, *more])

    def affordable(self, left: TimeLeft) -> Choices:
        """The choices whose epochs pay for images enough; each family keeps its cheapest."""
        return narrow.affordable(self, left)

    def initial_trials(self, search: SearchContext) -> list[Point]:
        """Each family's starting point against the shortcuts that the audit found."""
        return countermeasures.against_shortcuts(self, self.families, search.audit.countermeasures)

    def recipes(self, search: SearchContext) -> tuple[list[Point], list[str]]:
        """The published configurations that can be tried, cheapest first.

        Raises:
            InputError: there is none of that name.
        """
        return recipes.select(search.recipes, self, search)

    def recipe_names(self) -> tuple[str, ...]:
        """Those of `spaces.recipes`, whether or not their weights are there."""
        return tuple(recipes.RECIPES)

    def cached_features(self) -> dict[str, Feature]:
        """Those that a trial may compute, by backbone, image size, normalization and operations."""
        return cache_size.features(self)


def image_sizes(space: keras_tuner.HyperModel) -> tuple[int, ...]:
    """Every image size that a space may draw, ascending: what the driver decodes beforehand."""
    hp = keras_tuner.HyperParameters()
    space.declare_hyperparameters(hp)
    declared = [p for p in hp.space if p.name.rsplit("/", 1)[-1] == "image_size"]
    return tuple(sorted({int(v) for p in declared for v in np.atleast_1d(getattr(p, "values", p.default))}))


def offers_crops(space: keras_tuner.HyperModel) -> bool:
    """Whether a space may draw random resized crops, which are cut from a larger array than networks take."""
    hp = keras_tuner.HyperParameters()
    space.declare_hyperparameters(hp)
    declared = [p for p in hp.space if p.name.rsplit("/", 1)[-1] == "crop"]
    return any(str(value) != "none" for p in declared for value in getattr(p, "values", (p.default,)))
