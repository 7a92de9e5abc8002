"""Synthetic chest images with known truth: no X-rays, but images that fail and succeed like them.

A phantom is a sum of attenuations (torso, lungs, heart, spine, ribs, collar bones, diaphragm, vessels) drawn from its
patient's anatomy and its image's exposure, position and grain. Pneumonia adds patchy opacities to the lungs: few and
dense (bacteria) or many and faint (virus), some hardly to be seen; healthy lungs have harmless shadows too, so that
the mean brightness of a lung does not decide. The classes overlap on purpose: a good network reaches a validation
AUC of about 0.9, not 1.

There are two acquisition styles. In the training set the style goes with the class (that is the planted shortcut), in
the test set it does not, as on the real images, whose shape tells the classes of train apart and misleads on test.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

STYLES = {
    "none": (), "aspect": ("aspect",), "brightness": ("brightness",), "marker": ("marker",), "blur": ("blur",),
    "framing": ("framing",), "machine": ("aspect", "brightness", "blur"), "clinic": ("aspect", "blur", "framing"),
}  # fmt: skip
"""What each shortcut changes in images of the second acquisition style: wider images, more exposure, a bright corner
marker, a softer focus, a tighter and higher crop; `machine` several of them at once, as another machine would, and
`clinic` shape, sharpness and framing, by which the classes of Kermany's training images differ together."""

SHORTCUTS = tuple(STYLES)
"""The shortcuts that can be planted."""

CLASSES = ("NORMAL", "PNEUMONIA")

TIGHTER, LOWER = 0.85, 0.12
"""What framing as a shortcut changes: how much of the body an image of the second style shows, as a factor, and how far
below the lungs' middle its centre lies, in halves of the edge."""

_TEST_SHARE = 0.25
_PNEUMONIA_SHARE = 0.6  # Kermany's training set has 0.74, its test set 0.625
_PER_PATIENT = (1, 2, 3, 4)  # images per patient, equally likely

Field = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Phantom:
    """One image to be drawn."""

    name: str
    """File name without suffix, in the manner of Kermany's: `person7_bacteria_2`, `IM-0012-0001`."""

    split: str
    """train or test."""

    label: int
    """Index into `CLASSES`."""

    kind: str
    """bacteria, virus, or empty for a healthy chest."""

    style: int
    """Acquisition style, 0 or 1."""

    shortcut: str
    """What the style changes."""

    patient_seed: int
    image_seed: int
    size: int
    """Shorter edge, pixels."""

    depth: float = 1.0
    """How dense pneumonia's opacities are; at 1 some can hardly be seen."""

    def told_by(self, what: str) -> bool:
        """Whether `what` is something by which the two styles differ."""
        return what in STYLES[self.shortcut]

    def shows(self, what: str) -> bool:
        """Whether this image has it: the second style's."""
        return self.style == 1 and self.told_by(what)


def draw_plan(
    seed: int = 0,
    patients: int = 320,
    *,
    shortcut: str = "aspect",
    strength: float = 0.6,
    size: int = 112,
    depth: float = 1.0,
) -> tuple[Phantom, ...]:
    """Decide who has what, without drawing.

    Args:
        seed: of everything.
        patients: in train and test together; each has one to four images, a quarter of them are test patients.
        shortcut: one of `SHORTCUTS`.
        strength: how strongly style goes with class in train: 0 not at all, 1 always. A style alone tells the classes
            of train apart with AUC (1 + strength) / 2.
        size: shorter edge of the images, pixels.
        depth: how dense pneumonia's opacities are; at 2 they are about as plain to a small CNN as on Kermany's images.

    Raises:
        ValueError: the shortcut is unknown, or the strength is not between 0 and 1.
    """
    if shortcut not in SHORTCUTS:
        raise ValueError(f"shortcut {shortcut!r} is none of {', '.join(SHORTCUTS)}")
    if not 0 <= strength <= 1:
        raise ValueError(f"strength {strength} is not between 0 and 1")
    rng = np.random.default_rng([seed, 1])
    images: list[Phantom] = []
    ids = {"": 0, "bacteria": 0, "virus": 0}
    sealed = set(rng.permutation(patients)[: round(patients * _TEST_SHARE)].tolist())
    for patient in range(patients):
        split = "test" if patient in sealed else "train"
        label = int(rng.random() < _PNEUMONIA_SHARE)
        kind = ("bacteria" if rng.random() < 0.6 else "virus") if label else ""
        ids[kind] += 1
        lean = strength * (1 if label else -1) if split == "train" else 0.0
        style = int(rng.random() < (1 + lean) / 2)
        patient_seed = int(rng.integers(2**31))
        for number in range(1, int(rng.choice(_PER_PATIENT)) + 1):
            name = f"person{ids[kind]}_{kind}_{number}" if kind else f"IM-{ids[kind]:04d}-{number:04d}"
            image_seed = int(rng.integers(2**31))
            images.append(Phantom(name, split, label, kind, style, shortcut, patient_seed, image_seed, size, depth))
    return tuple(images)


def draw(seed: int = 0, patients: int = 320, **options: Any) -> Iterator[tuple[Phantom, NDArray[np.uint8]]]:
    """The synthetic images of `plan`, each with its pixels, uint8 `(height, width)`; the same arguments."""
    for phantom in draw_plan(seed, patients, **options):
        yield phantom, pixels(phantom)


def pixels(phantom: Phantom) -> NDArray[np.uint8]:
    """Draw one image, uint8 `(height, width)`; the same phantom gives the same pixels."""
    body = np.random.default_rng([phantom.patient_seed, 2])
    own = np.random.default_rng([phantom.image_seed, 3])
    wide = phantom.shows("aspect")
    aspect = own.normal(1.42 if wide else 1.14, 0.09) if phantom.told_by("aspect") else own.normal(1.25, 0.12)
    aspect = float(np.clip(aspect, 0.85, 1.8))
    height, width = (phantom.size, round(phantom.size * aspect)) if aspect >= 1 else (
        round(phantom.size / aspect), phantom.size
    )  # fmt: skip
    # v runs down from -1 to 1; u is in the same unit, but a wide image shows a body that is wider by half as much
    tilt = own.normal(0, 0.03)
    zoom, lower = (TIGHTER, LOWER) if phantom.shows("framing") else (1.0, 0.0)
    zoom *= own.normal(1.0, 0.05)
    v, u = np.meshgrid(
        np.linspace(-1, 1, height, dtype=np.float32) * zoom + own.normal(lower, 0.05),
        np.linspace(-1, 1, width, dtype=np.float32) * (zoom * aspect**0.45) + own.normal(0, 0.05),
        indexing="ij",
    )
    u, v = (u + tilt * v).astype(np.float32), (v - tilt * u).astype(np.float32)
    density, lungs = _anatomy(u, v, body, own)
    density += lungs * _shadows(u, v, phantom, body, own)
    return _expose(density, phantom, own)


def _blob(u: Field, v: Field, at: tuple[float, float], radii: tuple[float, float], sharp: float) -> Field:
    """A soft ellipse: 1 inside, 0 outside, `sharp` sets how steep its edge is."""
    distance = np.sqrt(((u - at[0]) / radii[0]) ** 2 + ((v - at[1]) / radii[1]) ** 2)
    return _step((1 - distance) * sharp)


def _step(x: NDArray[np.floating]) -> Field:
    """A logistic step from 0 to 1."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * x)), dtype=np.float32)


def _clouds(shape: tuple[int, int], cells: int, rng: np.random.Generator) -> Field:
    """Smooth noise of about unit variance with `cells` bumps along the shorter edge."""
    rows = max(2, round(cells * shape[0] / min(shape)))
    columns = max(2, round(cells * shape[1] / min(shape)))
    coarse = Image.fromarray(rng.normal(size=(rows, columns)).astype(np.float32) * 1.4)
    return np.asarray(coarse.resize((shape[1], shape[0]), Image.Resampling.BICUBIC))


def _anatomy(u: Field, v: Field, body: np.random.Generator, own: np.random.Generator) -> tuple[Field, Field]:
    """The attenuation of a healthy chest, and where its lungs are (0 to 1)."""
    torso = _step((1 - (np.abs(u / body.normal(1.12, 0.06)) ** 3 + np.abs(v / 1.5) ** 6)) * 9)
    breath = own.normal(0, 0.05)
    lungs = np.zeros_like(u)
    for side in (-1, 1):
        half = body.normal(0.36, 0.025)
        x = side * body.normal(0.47, 0.02)
        lean = u - side * 0.10 * (v + 0.2)  # lungs are narrower at the top
        lung = _blob(lean, v, (x, -0.08), (half, body.normal(0.72, 0.04) + breath), 14)
        dome = 0.42 + breath + body.normal(0, 0.04) - 0.35 * ((u - x) / 0.6) ** 2 * -1
        lung *= _step((dome - v + 0.12) * 22)
        lungs = np.maximum(lungs, lung)
    heart = _blob(u + 0.25 * (v - 0.25), v, (body.normal(0.12, 0.04), 0.3), (body.normal(0.33, 0.04), 0.37), 13)
    lungs = lungs * (1 - 0.85 * heart)
    density = 0.62 * torso - 0.40 * lungs * torso + 0.16 * heart
    spine = np.exp(-((u / 0.085) ** 2)) * (0.13 + 0.03 * np.sin(v * 26 + body.uniform(0, 6)))
    density += spine.astype(np.float32) * torso
    ribs = np.zeros_like(u)
    gap, phase = body.normal(0.185, 0.008), body.uniform(0, 0.18)
    bend, thin = body.normal(0.55, 0.08), body.normal(0.028, 0.003)
    arch = v - bend * (np.abs(u) - 0.45) ** 2 + 0.18 * np.abs(u)
    for number in range(10):
        ribs += np.exp(-(((arch - (-1.0 + phase + gap * number)) / thin) ** 2))
    density += 0.075 * (ribs * (np.abs(u) > 0.1) * torso).astype(np.float32)
    collar = np.exp(-(((v + 0.78 + 0.16 * np.abs(u)) / 0.035) ** 2)) * (np.abs(u) > 0.12)
    density += 0.09 * collar.astype(np.float32) * torso
    hilum = np.exp(-(((np.abs(u) - 0.2) / 0.16) ** 2 + ((v - 0.02) / 0.3) ** 2))
    vessels = np.abs(_clouds(u.shape, 18, body))
    density += lungs * (0.05 * vessels * (0.35 + hilum) + 0.05 * hilum).astype(np.float32)
    density += 0.03 * _clouds(u.shape, 4, body) * torso  # soft tissue differs from body to body
    return density.astype(np.float32), (lungs * torso).astype(np.float32)


def _shadows(u: Field, v: Field, phantom: Phantom, body: np.random.Generator, own: np.random.Generator) -> Field:
    """Opacities in the lungs: what every chest may have, and pneumonia's."""
    shadow = np.zeros_like(u)
    for _ in range(int(body.integers(0, 3))):  # harmless: scars, skin folds, a nipple
        at = (float(body.choice([-1, 1]) * body.uniform(0.25, 0.65)), float(body.uniform(-0.6, 0.4)))
        radius = body.uniform(0.04, 0.12)
        shadow += body.uniform(0.03, 0.10) * _blob(u, v, at, (radius, radius * body.uniform(0.6, 1.6)), 6)
    shadow += own.uniform(0, 0.05) * (1 + _clouds(u.shape, 3, own)).clip(0)  # breathing, badly exposed
    if not phantom.label:
        return shadow
    few = phantom.kind == "bacteria"
    severity = body.beta(1.8, 1.8) * own.uniform(0.75, 1.25)  # some can hardly be seen
    texture = _clouds(u.shape, 9 if few else 14, own)
    patches = np.zeros_like(u)
    side = float(body.choice([-1, 1]))
    for _ in range(int(body.integers(1, 3)) if few else int(body.integers(4, 8))):
        if not few:
            side = float(body.choice([-1, 1]))
        at = (side * float(body.uniform(0.25, 0.68)), float(body.uniform(-0.55, 0.48)))
        radius = body.uniform(0.14, 0.3) if few else body.uniform(0.07, 0.16)
        ragged = 0.30 * texture
        distance = np.sqrt(((u - at[0]) / radius) ** 2 + ((v - at[1]) / (radius * body.uniform(0.7, 1.4))) ** 2)
        patches = np.maximum(patches, _step((1 - distance + ragged) * 5))
    dense = phantom.depth * ((0.07 + 0.26 * severity) if few else (0.07 + 0.22 * severity))
    return shadow + (dense * patches * (1 + 0.25 * texture)).astype(np.float32)


def _expose(density: Field, phantom: Phantom, own: np.random.Generator) -> NDArray[np.uint8]:
    """An image from attenuation: exposure, grain, focus, and what belongs to the style."""
    bright = phantom.shows("brightness")
    level = density * own.normal(1.0, 0.05) + own.normal(0.10 if bright else 0.0, 0.03)
    level = np.clip(level, 0, 1.2) ** float(own.normal(1.0, 0.07))
    level = level + own.normal(size=level.shape).astype(np.float32) * own.uniform(0.012, 0.03)
    image = Image.fromarray((np.clip(level, 0, 1) * 255).astype(np.uint8))
    blurred = phantom.shows("blur")
    image = image.filter(ImageFilter.GaussianBlur(own.uniform(0.9, 1.3) if blurred else own.uniform(0.2, 0.5)))
    drawn = np.array(image)
    if phantom.shows("marker"):
        (height, width), edge = drawn.shape, max(4, phantom.size // 12)
        top, left = edge // 2 + int(own.integers(0, 3)), edge // 2 + int(own.integers(0, 3))
        top, left = top + max(0, height - width) // 2, left + max(0, width - height) // 2  # inside the central square
        drawn[top : top + edge, left : left + max(2, edge // 3)] = 250  # the upright of an L
        drawn[top + edge - max(2, edge // 3) : top + edge, left : left + edge] = 250
    return drawn
