"""Published configurations as fixed points of the space: what people did by hand on this data set, tried first.

A recipe says its source, what is known of it and what had to be assumed. Its split is noted and never reproduced: ours
is by patient, theirs were not, and figures of 98 % and more come from re-splitting or from choosing the epoch on the
test set. `select` gives those that a space can draw; where narrowing took a recipe's image size away, the nearest one
left stands in and a line says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import keras_tuner

from spaces.space import Point, SearchContext
from xraytune.errors import InputError
from xraytune.models.cost import Machine, cost
from xraytune.records import Value
from xraytune.training.inputs.augmentation import CHOICES, COUNTERMEASURES
from xraytune.training.inputs.batches import epoch_size
from xraytune.training.optimization.settings import TrainingSettings

GROUPS = ("fitting", "all", "none")
"""What `--recipes` takes beside names."""

STUDENT = "a student's comparison of nine models on the Kermany chest X-rays (Kaggle notebook)"
MLP = "a comparison of a multilayer perceptron alone, after convolutions and on DenseNet201, on the Kermany X-rays"
BASIC = "a tutorial's one-convolution network on the Kermany X-rays, in gray"


@dataclass(frozen=True)
class Recipe:
    """One published configuration."""

    name: str
    source: str
    """Where it comes from."""

    known: str
    """What the source says, its figures included."""

    assumed: str
    """What it does not say and had to be chosen."""

    values: Mapping[str, Value] = field(default_factory=dict)
    """Its point of the space; what is not named is the space's default."""


PLAIN: dict[str, Value] = {
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "schedule": "constant",
    "batch_size": 32,
    "epochs": 10,
    "imbalance": "none",
    "label_smoothing": 0.0,
    "augmentation": "none",
    "flip": False,
    **dict.fromkeys(COUNTERMEASURES, "none"),
}
"""What a plain Keras script does where it says nothing else."""

CNN: dict[str, Value] = PLAIN | {
    "family": "cnn",
    "cnn/image_size": 128,
    "cnn/normalization": "unit",
    "cnn/blocks": 3,
    "cnn/convolutions": 1,
    "cnn/width": 32,
    "cnn/growth": 2.0,
    "cnn/batch_norm": False,
    "cnn/pooling": "max",
    "cnn/dropout": 0.0,
    "head/pool": "flatten",
    "head/layers": 1,
    "head/units": 128,
    "head/dropout": 0.0,
    "head/batch_norm": False,
}
VGG19: dict[str, Value] = PLAIN | {
    "family": "vgg_frozen",
    "vgg_frozen/backbone": "vgg19",
    "vgg_frozen/image_size": 128,
    "vgg_frozen/normalization": "unit",
    "vgg_frozen/cut": "block5_pool",
    "vgg_frozen/augmentation_copies": 0,
    "head/pool": "cnn",
    "head/layers": 1,
    "head/units": 128,
    "head/dropout": 0.2,
    "head/batch_norm": False,
}
MLP_HEAD: dict[str, Value] = {
    "head/pool": "flatten",
    "head/layers": 5,
    "head/units": 128,
    "head/dropout": 0.2,
    "head/batch_norm": False,
}
ONE_CONV: dict[str, Value] = CNN | {"cnn/blocks": 1, "cnn/image_size": 64, "head/layers": 1}

MEDIUM: dict[str, Value] = {"augmentation": "medium", "flip": True}
STRONG: dict[str, Value] = {"augmentation": "strong", "flip": True}
SIZES = "image size, widths, batch and epochs"
MLP_KNOWN = "70/15/15 split by image; early stopping on loss; accuracy 90 % or more, precision and recall 85 % at worst"

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "dense_baseline",
            STUDENT,
            "the comparison's baseline: dense layers on the flattened image",
            SIZES,
            PLAIN
            | {
                "family": "dense",
                "dense/image_size": 64,
                "dense/normalization": "unit",
                "dense/layers": 2,
                "dense/units": 128,
                "dense/dropout": 0.0,
                "dense/batch_norm": False,
            },
        ),
        Recipe("cnn", STUDENT, "three convolutions with pooling, a dense layer", SIZES, CNN),
        Recipe("cnn_augmented", STUDENT, "the same with augmentation", SIZES + ", the strength", CNN | MEDIUM),
        Recipe("cnn_batchnorm", STUDENT, "the same with batch norm", SIZES, CNN | {"cnn/batch_norm": True}),
        Recipe("cnn_dropout", STUDENT, "the same with dropout", SIZES + ", the rate", CNN | {"cnn/dropout": 0.25}),
        Recipe("vgg19_frozen_cnn", STUDENT, "VGG19 frozen under a small CNN", SIZES, VGG19),
        Recipe(
            "vgg19_frozen_new_cnn",
            STUDENT,
            "the same with a new CNN: accuracy 90.54, precision 88.22, recall 97.94, F1 92.83 on the official test set",
            SIZES + ", what the new CNN was (wider, batch norm)",
            VGG19 | {"head/units": 256, "head/batch_norm": True},
        ),
        Recipe(
            "vgg19_frozen_cnn_augmented",
            STUDENT,
            "VGG19 frozen under a small CNN, stronger augmentation",
            SIZES + ", the strength",
            VGG19 | STRONG | {"vgg_frozen/augmentation_copies": 4},
        ),
        Recipe(
            "vgg19_frozen_new_cnn_augmented",
            STUDENT,
            "the new CNN, stronger augmentation",
            SIZES + ", the strength",
            VGG19 | STRONG | {"head/units": 256, "head/batch_norm": True, "vgg_frozen/augmentation_copies": 4},
        ),
        Recipe(
            "mean_subtracted_cnn_224",
            "a Keras script on the Kermany X-rays at 224 px",
            "224 px, rotation 10°, shear, zoom, left-right flip, mean RGB subtracted",
            "the network; the image's own mean stands for the set's; shifts, brightness, contrast and noise vary too",
            CNN | MEDIUM | {"cnn/image_size": 224, "cnn/normalization": "centered"},
        ),
        Recipe(
            "mlp5",
            MLP,
            MLP_KNOWN,
            "widths, rate, batch, image size; the split is ours, by patient",
            PLAIN
            | {
                "family": "dense",
                "dense/image_size": 64,
                "dense/normalization": "unit",
                "dense/layers": 5,
                "dense/units": 128,
                "dense/dropout": 0.2,
                "dense/batch_norm": False,
            },
        ),
        Recipe("cnn_mlp5", MLP, MLP_KNOWN, "widths, rate, batch, image size", CNN | MLP_HEAD),
        Recipe(
            "densenet201_mlp5",
            MLP,
            MLP_KNOWN,
            "frozen, image size, widths, rate, batch",
            PLAIN
            | MLP_HEAD
            | {
                "family": "densenet",
                "densenet/mode": "frozen",
                "densenet/backbone": "densenet201",
                "densenet/image_size": 128,
                "densenet/normalization": "imagenet",
                "densenet/cut": "top",
                "densenet/augmentation_copies": 0,
            },
        ),
        Recipe(
            "vgg16_gap128",
            "a Keras tutorial that tells COVID-19 from negative images",
            "VGG16 frozen, global average pooling, dense 128, two-way softmax, Adam, batch 32, 10 epochs; "
            "rotation 20°, shifts, shear and zoom 0.2, left-right flip, nearest fill",
            "the learning rate; pixels scaled to 0–1; shifts of 0.12; brightness, contrast and noise vary too",
            PLAIN
            | STRONG
            | {
                "family": "vgg_frozen",
                "vgg_frozen/backbone": "vgg16",
                "vgg_frozen/image_size": 224,
                "vgg_frozen/normalization": "unit",
                "vgg_frozen/cut": "block5_pool",
                "vgg_frozen/augmentation_copies": 4,
                "head/pool": "avg",
                "head/layers": 1,
                "head/units": 128,
                "head/dropout": 0.0,
                "head/batch_norm": False,
            },
        ),
        Recipe(
            "one_conv",
            BASIC,
            "one convolution, max pooling, two dense layers, gray; test accuracy 72.4 %, recall 100 %",
            SIZES + "; the second dense layer is the softmax",
            ONE_CONV,
        ),
        Recipe(
            "one_conv_augmented",
            BASIC,
            "the same with augmentation: test accuracy 87.3 %",
            SIZES + ", the strength; the second dense layer is the softmax",
            ONE_CONV | MEDIUM,
        ),
    )
}


def point(recipe: Recipe, space: keras_tuner.HyperModel) -> tuple[dict[str, Value], str]:
    """The recipe's point of a space and what had to be adapted; an empty point and the reason where it has none."""
    family, wanted = recipe.values["family"], dict(recipe.values)
    copies = f"{family}/augmentation_copies"
    active = _active(space, wanted)
    if family not in active["family"].values:
        return {}, f"family {family}: {_why_gone(recipe, space)}"
    if copies in wanted and copies in active:  # first, since the augmentation of kept copies hangs on there being some
        wanted[copies] = _nearest(wanted[copies], active[copies].values)
        active = _active(space, wanted)
    values: dict[str, Value] = {name: wanted.get(name, p.default) for name, p in active.items()}
    adapted = []
    for name, value in recipe.values.items():
        declared = [active[n] for n in (name, f"{family}/{name}") if n in active]
        if not declared and name in CHOICES and not wanted.get(copies, 1):
            continue  # without copies nothing is augmented
        if not declared:
            return {}, f"the space has no {name}"
        if type(declared[0]).__name__ != "Choice" or value in (choices := declared[0].values):
            values[declared[0].name] = value
            continue
        if name.endswith("augmentation_copies") and max(choices) == 0:
            return {}, "too slow: no augmented copy of its cached features fits into the time"
        if name.endswith(("image_size", "epochs", "augmentation_copies", "width")):
            values[name] = _nearest(value, choices)
            adapted.append(f"{name.rpartition('/')[2]} {value} → {values[name]}")
        elif name.endswith("normalization"):
            values[name] = choices[0]
            adapted.append(f"normalization {value} → {choices[0]}")
        elif (own := declared[0].name) != name:
            values[own] = choices[0]
            adapted.append(f"{name} {value} → {type(value)(choices[0])}")  # KerasTuner keeps False as 0
        else:
            return {}, f"{name} {value}: {_why_gone(recipe, space)}"
    return values, ", ".join(adapted)


def _active(
    space: keras_tuner.HyperModel, values: Mapping[str, Value]
) -> dict[str, keras_tuner.engine.hyperparameters.HyperParameter]:
    """The parameters that a point with these values has, by name."""
    hp = keras_tuner.HyperParameters()
    hp.values = dict(values)
    space.declare_hyperparameters(hp)
    return {p.name: p for p in hp.space if hp.is_active(p)}


def _nearest(value: Value, choices: Sequence[Value]) -> Value:
    return min(choices, key=lambda choice: abs(float(choice) - float(value)))


def _why_gone(recipe: Recipe, space: keras_tuner.HyperModel) -> str:
    """Why a space lacks a recipe's choice: its backbone's weights are not available, or the time narrowed it away."""
    backbones = {str(v) for n, v in recipe.values.items() if n.endswith("/backbone")}
    missing = sorted(backbones - set(space.context.weights))
    return f"weights of {', '.join(missing)} not available" if missing else "dropped as too slow"


def held(which: str, space: keras_tuner.HyperModel) -> dict[str, tuple[Value, ...]]:
    """The values, by name, that the recipes which the user named need: narrowing must leave them in the space.

    Args:
        which: as in `SearchContext.recipes`; only names hold anything.
        space: before it is narrowed to the time.

    Raises:
        InputError: a name is no recipe's, or the space does not have its configuration.
    """
    kept: dict[str, dict[Value, None]] = {}
    for name in () if which in GROUPS else _named(which):
        recipe = RECIPES[name]
        values, remark = point(recipe, space)
        if not values:
            raise InputError(f"--recipes {name}: it can't be tried here. {remark[:1].upper()}{remark[1:]}.")
        for key, value in recipe.values.items():
            kept.setdefault(key, {})[value] = None
            if key in CHOICES:  # cached augmented features may have an augmentation of their own
                kept.setdefault(f"{recipe.values['family']}/{key}", {})[value] = None
    return {key: tuple(values) for key, values in kept.items()}


def select(which: str, space: keras_tuner.HyperModel, search: SearchContext) -> tuple[list[Point], list[str]]:
    """The recipes to try first, and a line for each that is skipped or adapted.

    Args:
        which: `fitting` (those that a quarter of the time pays for, cheapest first), `all`, `none`, or names, by comma.
        space: where they are points of; its context counts the training images.
        search: the time and the machine; without a time all fit.

    Raises:
        InputError: a name is no recipe's.
    """
    chosen: list[tuple[float, str, dict[str, Value]]] = []
    lines = []
    for name in _named(which):
        values, remark = point(RECIPES[name], space)
        if not values:
            lines.append(f"recipe {name} skipped: {remark}")
            continue
        if remark:
            lines.append(f"recipe {name} adapted: {remark}")
        chosen.append((_seconds(values, search.machine, space.context.images), name, values))
    chosen.sort(key=lambda c: c[0])
    if which != "fitting" or not search.seconds:
        return [(name, values) for _, name, values in chosen], lines
    left, kept = search.seconds * search.machine.workers / 4, list[Point]()
    for needed, name, values in chosen:
        if needed <= left:
            left -= needed
            kept.append((name, values))
        else:
            lines.append(f"recipe {name} skipped: about {needed:.0f} s, and {left:.0f} s of a quarter of TIME are left")
    return kept, lines


def _named(which: str) -> list[str]:
    """The names of the recipes that the user asked for."""
    if which == "none":
        return []
    names = list(RECIPES) if which in GROUPS else [n.strip() for n in which.split(",") if n.strip()]
    if unknown := [name for name in names if name not in RECIPES]:
        raise InputError(f"--recipes: unknown recipe {', '.join(unknown)}: {', '.join(RECIPES)}")
    return names


def _seconds(values: Mapping[str, Value], machine: Machine, images: int) -> float:
    found, plan = cost(values), TrainingSettings.of(values)
    copies = max(plan.copies, 1)
    epoch = found.epoch_seconds(machine, epoch_size(images, plan.epoch_images), plan.batch_size)
    return found.trace + plan.epochs * epoch + copies * found.prefix_seconds(machine, images)
