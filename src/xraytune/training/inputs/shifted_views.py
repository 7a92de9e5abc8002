"""Shifted views of the validation images: what an image could have looked like with another machine, child or cropping.

A network that reads the lungs answers alike on all of them; one that reads an image's shape or its brightness does not.
Validation images share such shortcuts with the training images, so that only a shift makes them visible: no test image
is needed for it, and none is used.

How strong a view is comes from the data. Each view moves one measurable property of an image (the ratio of its
horizontal to its vertical gradients, how large and how high the chest lies in it, its brightness, its contrast, its
sharpness, how black its border is) by `REACH` standard
deviations of that property *within one class* of the training images, so that the shifted image is still one that could
have been taken; or, where the property tells the classes apart, by the distance between the classes if that is more, so
that the shortcut leads to the other class. A property in which images don't differ gives no view: where no image has a
black border, a network need not know one. Where corners tell the classes apart, one view covers and one marks them;
where edges do, one covers them. Where several properties tell a class apart, as they do when its images are another
machine's, one view moves them all towards it: a network that goes by three cues is not led astray by one. `plan` finds
the amounts by bisection on a sample; `draw` makes the images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from xraytune.data.image_properties import (
    CORNER,
    EDGES,
    Gray,
    Values,
    border_black,
    brightness,
    chest_middle,
    chest_size,
    contrast,
    corner_brightness,
    edge_brightness,
    framing,
    gradient_ratio,
    gray,
    sharpness,
    thumbnails,
)
from xraytune.evaluation import metrics
from xraytune.evaluation.shortcut_audit import NOTABLE
from xraytune.records import Record
from xraytune.training.inputs.view_transforms import TRANSFORMS, Images

Property = Callable[[Gray], Values]

REACH = 1.0
"""Within-class standard deviations that a view moves its property by. Of 0.5, 1 and 2 the score over views of 1 ranked
networks on planted shortcuts as well as that of 0.5 and better than that of 2
(docs/evidence/robust-validation.md): views that
are too strong punish all networks alike. One deviation is what every third image of a class is off by."""

SAMPLE = 256
"""Training images that the amounts are found on; the median of so many is known to a tenth of a standard deviation."""

SHIFT = 0.06
"""Fraction of the edge that the view `shifted` moves an image by, sideways and down."""

JOINT, LIKE = "joint", "like "
"""The kind of a view that moves several properties at once, and what its name begins with: a class's name follows."""

REST = 0.25
"""Share of a property's way below which a joint view need not move it: what was moved before it has."""

HINT = 0.60
"""ROC AUC from which a number of framing has a part in a joint view where framing as a whole tells classes apart."""

LEAST = 20
"""Images of a class in the sample below which no joint view is made towards it: five that were drawn like all others
are told apart by two properties or more in a quarter of all draws."""


@dataclass(frozen=True)
class View(Record):
    """One way of shifting an image."""

    name: str
    """What it is called in tables: `clean`, `narrower`, `wider`, `brighter` …"""

    kind: str
    """One of `view_transforms.TRANSFORMS`, or joint."""

    amount: float
    """In the kind's own unit: aspect factor, gray values, contrast factor, blur radius as a fraction of the edge, …"""

    parts: tuple[View, ...] = ()
    """What a joint view consists of, one after the other; its own amount is their number."""

    def __post_init__(self) -> None:
        parts = tuple(part if isinstance(part, View) else View.from_json(part) for part in self.parts)
        object.__setattr__(self, "parts", parts)
        if (self.kind not in TRANSFORMS or parts) and not (self.kind == JOINT and parts):
            raise ValueError(f"unknown kind of view {self.kind!r}")


@dataclass(frozen=True)
class _Direction:
    """A view whose amount between `low` and `high` is found from the data: it moves `prop` towards `sign`."""

    name: str
    kind: str
    prop: Property
    sign: int
    low: float
    high: float


# `low` leaves the image as it is; `high` is further than images of one kind differ (aspect: a factor of two).
_DIRECTIONS = (
    _Direction("wider", "shape", gradient_ratio, -1, 1.0, 2.0),
    _Direction("narrower", "shape", gradient_ratio, +1, 1.0, 0.5),
    _Direction("tighter", "crop", chest_size, +1, 1.0, 1.4),
    _Direction("looser", "crop", chest_size, -1, 1.0, 0.7),
    _Direction("higher", "raise", chest_middle, -1, 0.0, 0.2),
    _Direction("lower", "raise", chest_middle, +1, 0.0, -0.2),
    _Direction("brighter", "brightness", brightness, +1, 0.0, 96.0),
    _Direction("darker", "brightness", brightness, -1, 0.0, -96.0),
    _Direction("flatter", "contrast", contrast, -1, 1.0, 0.3),
    _Direction("steeper", "contrast", contrast, +1, 1.0, 2.0),
    _Direction("blurred", "blur", sharpness, -1, 0.0, 0.04),
    _Direction("sharper", "sharpen", sharpness, +1, 0.0, 300.0),
    _Direction("border hidden", "border", border_black, +1, 0.0, 0.12),
)
_FRAMING = frozenset({"crop", "raise"})  # kinds of view that move framing
_FIXED = (View("shifted", "shift", SHIFT),)
_COVERED = View("corners covered", "corners", CORNER)
_EDGES = View("edges covered", "edges", EDGES)
CLEAN = View("clean", "clean", 0.0)


def draw(images: Images, view: View) -> Images:
    """The images as that view shows them; same shape, uint8.

    Args:
        images: `(n, s, s, c)`, c = 1 or 3.
        view: what to do to each.
    """
    for part in view.parts:
        images = draw(images, part)
    return images if view.kind == JOINT else TRANSFORMS[view.kind](images, view.amount)


def _shift_wanted(values: NDArray[np.float64], labels: NDArray[np.int32], reach: float) -> float:
    """How far a view moves a property: `reach` within-class deviations, at least the distance of the classes."""
    groups = [values[labels == label] for label in np.unique(labels)]
    within = float(np.sqrt(np.mean([np.var(g) for g in groups])))
    means = [float(np.mean(g)) for g in groups]
    return max(reach * within, max(means) - min(means))


def _tells(values: NDArray[np.float64], labels: NDArray[np.int32]) -> bool:
    """Whether a property alone tells some class from the rest, as the shortcut audit calls it."""
    aucs = [float(metrics.roc_auc(labels == label, values)[0]) for label in np.unique(labels)]
    return any(max(auc, 1 - auc) >= NOTABLE for auc in aucs)


def _framing_tells(images: Images, labels: NDArray[np.int32]) -> bool:
    """Whether the numbers of framing together tell some class from the rest, by a linear discriminant of each."""
    values = framing(thumbnails(gray(images)))
    values = (values - values.mean(axis=0)) / (values.std(axis=0) + 1e-9)
    centred = np.concatenate([values[labels == label] - values[labels == label].mean(0) for label in np.unique(labels)])
    within = centred.T @ centred / len(values) + 1e-3 * np.eye(values.shape[1])
    weights = [
        np.linalg.solve(within, values[labels == label].mean(0) - values[labels != label].mean(0))
        for label in np.unique(labels)
    ]
    return any(
        metrics.roc_auc(labels == c, values @ w)[0] >= NOTABLE for c, w in zip(np.unique(labels), weights, strict=True)
    )


def _amount(direction: _Direction, images: Images, target: float) -> float:
    """The amount at which the median image's property has moved by `target`; the far end where it can't be reached."""
    base = np.median(direction.prop(gray(images)))

    def moved(amount: float) -> float:
        shifted = draw(images, View(direction.name, direction.kind, amount))
        return direction.sign * float(np.median(direction.prop(gray(shifted))) - base)

    near, far = direction.low, direction.high
    if (furthest := moved(far) - target) <= 0:
        return far
    ends = {near: -target, far: furthest}
    tolerance = abs(far - near) / 2**8  # below half a gray level or half a hundredth of a factor
    return float(brentq(lambda amount: ends.get(amount) or moved(amount) - target, near, far, xtol=tolerance))


def plan_views(
    images: Images,
    labels: NDArray[np.int32],
    train: NDArray[np.int64] | None = None,
    *,
    classes: Sequence[str] = (),
    reach: float = REACH,
    seed: int = 0,
) -> tuple[View, ...]:
    """The views that suit these training images, the clean one first.

    Args:
        images: decoded images `(n, s, s, c)`, uint8, of which a class-balanced sample is read.
        labels: `(n,)` class indices.
        train: which of them are training images; None: all.
        classes: the classes' names, for those of joint views; none: their indices.
        reach: within-class standard deviations per view.
        seed: of the sample.
    """
    rows = np.arange(len(labels)) if train is None else np.asarray(train)
    chosen = rows[subset(labels[rows], SAMPLE // len(np.unique(labels[rows])), seed)]
    sample, sample_labels = np.asarray(images[chosen]), labels[chosen]
    measured = gray(sample)
    views = [CLEAN]
    for direction in _DIRECTIONS:
        target = _shift_wanted(direction.prop(measured), sample_labels, reach)
        amount = _amount(direction, sample, target)
        if np.any(draw(sample[:8], view := View(direction.name, direction.kind, amount)) != sample[:8]):
            views.append(view)
    corners: tuple[View, ...] = ()
    if _tells(corner_brightness(measured), sample_labels):  # an image without its marker, and one with another class's
        marker = np.quantile(corner_brightness(measured) + brightness(measured), 0.95)
        corners = (_COVERED, View("corners marked", "marker", round(float(marker), 1)))
    edges = (_EDGES,) if any(_tells(side, sample_labels) for side in edge_brightness(measured).T) else ()
    return (*views, *_FIXED, *corners, *edges, *_joint(sample, sample_labels, classes))


def _joint(images: Images, labels: NDArray[np.int32], classes: Sequence[str]) -> list[View]:
    """For each class that several properties tell apart, the view that moves them about as far as its images lie away.

    What earlier parts have moved of a property counts: brightening flattens an image too. What a later part moves back
    does not, and borders are left out, since hiding them changes all else. Where framing tells the classes apart by all
    its numbers together, those of them move that tell a little by themselves (`HINT`).
    """
    framed = _framing_tells(images, labels)
    measured, found = gray(images), []
    for label in np.unique(labels):
        own, moved, parts = labels == label, images, list[View]()
        if min(own.sum(), (~own).sum()) < LEAST:
            continue
        for direction in _DIRECTIONS:
            values = direction.sign * direction.prop(measured)
            distance = float(values[own].mean() - values[~own].mean())
            enough = HINT if framed and direction.kind in _FRAMING else NOTABLE
            if direction.kind == "border" or distance <= 0 or metrics.roc_auc(own, values)[0] < enough:
                continue
            left = distance - float(np.median(direction.sign * direction.prop(gray(moved))) - np.median(values))
            if left <= REST * distance:
                continue
            part = View(direction.name, direction.kind, _amount(direction, moved, left))
            if np.any((after := draw(moved, part)) != moved):
                parts.append(part)
                moved = after
        if len(parts) > 1:
            name = f"{LIKE}{classes[label] if len(classes) else label}"
            found.append(View(name, JOINT, float(len(parts)), tuple(parts)))
    return found


def subset(labels: NDArray[np.int32], per_class: int, seed: int = 0) -> NDArray[np.intp]:
    """Positions of at most `per_class` images of each class, seeded, in ascending order.

    The robust score weighs classes equally, so that a balanced subset loses the least.
    """
    rng = np.random.default_rng(seed)
    return np.sort(
        np.concatenate([rng.permutation(np.flatnonzero(labels == c))[:per_class] for c in np.unique(labels)])
    )


def draw_all(images: Images, views: Sequence[View]) -> Images:
    """All views of the images, `(views, n, s, s, c)` uint8."""
    return np.stack([draw(images, view) for view in views])
