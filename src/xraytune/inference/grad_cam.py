"""Where a network looks: Grad-CAM heat maps, and overlays of them on the image.

Selvaraju et al. 2017, "Grad-CAM": the last spatial feature maps, after normalisation and activation, weighted by the
mean gradient of what speaks for the class. That is the log odds log p - log(1 - p) of the class, from the logits: the
gradient of a probability vanishes where the network is sure, and a single logit says nothing about the other classes.
A heat map shows what moved the answer, not that the answer is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from xraytune.errors import FatalError
from xraytune.framework import keras

GRAD_CAM, PIXELS = "Grad-CAM", "Gradient of the pixels"
"""What a map is made of; the second, of networks without convolutions, shows what moves the answer either way."""

SMOOTH = 1 / 24
"""Of the edge: blur of the plain gradient where a network has no feature maps."""

EDGE = 512
"""Pixels of an overlay: the image itself is drawn, not the few pixels that the network took."""

OPACITY = 0.55
"""Of the hottest place of an overlay; the image must stay readable under it."""

# Inferno's colours at eight points (Smith & van der Walt, 2015): ordered by lightness, safe for the colour-blind
_INFERNO = np.array(
    [
        [0, 0, 4], [40, 11, 84], [101, 21, 110], [159, 42, 99], [212, 72, 66], [245, 125, 21], [250, 193, 39],
        [252, 255, 164],
    ],
    dtype=np.float64,
)  # fmt: skip


def heat_maps(
    model: keras.Model, images: NDArray[np.uint8], classes: NDArray[np.integer], edge: int | None = None
) -> NDArray[np.float32]:
    """Where each image moved the log odds of a class.

    Args:
        model: a functional network, images in.
        images: `(n, s, s, c)`, pixel values 0–255.
        classes: which class, `(n,)`.
        edge: of the maps, pixels; None: s.

    Returns:
        float32 `(n, edge, edge)`, 0 to 1 within each image; all 0 where nothing speaks for the class.

    Raises:
        FatalError: the backend has no gradients (numpy).
    """
    pixels = np.asarray(images, dtype=np.float32)
    wanted = np.asarray(classes, dtype=np.int32)
    size = int(pixels.shape[1]) if edge is None else edge
    feature = _feature(model)
    maps, gradients = _gradients(model, feature, pixels, wanted)
    if feature is None:
        heat = np.abs(gradients).mean(axis=-1)
        return np.stack([_scaled(_resized(h, size, SMOOTH)) for h in heat])
    weights = gradients.mean(axis=(1, 2), keepdims=True)
    heat = np.maximum((maps * weights).sum(axis=-1), 0)
    return np.stack([_scaled(_resized(h, size)) for h in heat])


def ensemble_heat_maps(
    models: Sequence[keras.Model],
    weights: Sequence[float],
    images: Sequence[NDArray[np.uint8]],
    classes: NDArray[np.integer],
    edge: int = EDGE,
) -> NDArray[np.float32]:
    """The mean of the members' maps, weighted as their probabilities are.

    Args:
        models: the members.
        weights: one a member.
        images: the same images as each member takes them, `(n, s, s, c)`.
        classes: which class, `(n,)`.
        edge: of the maps, pixels.

    Returns:
        float32 `(n, edge, edge)`, 0 to 1 within each image; all 0 where no member sees anything for the class.

    Raises:
        FatalError: the backend has no gradients (numpy).
    """
    total = sum(
        weight * heat_maps(model, own, classes, edge)
        for model, weight, own in zip(models, weights, images, strict=True)
    )
    return np.stack([_scaled(heat) for heat in np.asarray(total, dtype=np.float32)])


def blank(heat: NDArray[np.float32]) -> bool:
    """Whether a map `(s, s)` shows nothing: no place of the image speaks for the class."""
    return not float(heat.max(initial=0.0)) > 0


def method(models: Sequence[keras.Model]) -> str:
    """What the maps of these networks are called: a network without convolutions has no feature maps to weight."""
    plain = [_feature(model) is None for model in models]
    return PIXELS if all(plain) else f"{GRAD_CAM} and {PIXELS[0].lower()}{PIXELS[1:]}" if any(plain) else GRAD_CAM


def caption(heat: NDArray[np.float32], name: str, method: str = GRAD_CAM) -> str:
    """What a map shows, in words: how and for which class it was made, and whether it is blank.

    Args:
        heat: the map.
        name: the class.
        method: of `method`.
    """
    return f"{method} for {name}" + (": blank, no place in the image supports this class" if blank(heat) else "")


def _feature(model: keras.Model) -> Any | None:
    """The last feature maps of 2 × 2 or more before pooling, None in a network without convolutions.

    What stands behind a convolution belongs to it: normalisation, activation, a sum or concatenation of branches.
    """
    found, convolved = None, False
    for layer in model.layers:
        output = getattr(layer, "output", None)
        shape: Any = getattr(output, "shape", ())
        spatial = len(shape) == 4 and shape[1] is not None and min(shape[1], shape[2]) >= 2
        convolved = convolved or (spatial and isinstance(layer, (keras.Model, *_CONVOLUTIONS)))
        if spatial and convolved and isinstance(layer, (keras.Model, *_CONVOLUTIONS, *_BEHIND)):
            found = output
    return found


_CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.SeparableConv2D, keras.layers.DepthwiseConv2D)

_BEHIND = (
    keras.layers.BatchNormalization,
    keras.layers.LayerNormalization,
    keras.layers.GroupNormalization,
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
    keras.layers.PReLU,
    keras.layers.ELU,
    keras.layers.Activation,
    keras.layers.Concatenate,
    keras.layers.Add,
    keras.layers.Multiply,
)


def _logit_input(model: keras.Model) -> tuple[Any, Any]:
    """What the last layer gets, and a function from it to logits `(n, k)`, k ≥ 2: a saturated softmax has no gradient.

    A single output is the probability of the second of two classes, whose logits are then 0 and its own.
    """
    last = model.layers[-1]
    kind = getattr(last, "activation", None)
    single = int(model.output_shape[-1]) == 1
    wanted = keras.activations.sigmoid if single else keras.activations.softmax
    if isinstance(last, keras.layers.Dense) and kind is wanted:

        def dense(x: Any) -> Any:
            x = keras.ops.cast(x, "float32")
            z = keras.ops.matmul(x, last.kernel) + (last.bias if last.use_bias else 0.0)
            return _two(z) if single else z

        return last.input, dense
    if isinstance(last, keras.layers.Softmax) or (isinstance(last, keras.layers.Activation) and kind is wanted):
        return last.input, lambda z: _two(keras.ops.cast(z, "float32")) if single else keras.ops.cast(z, "float32")

    def log(p: Any) -> Any:
        p = keras.ops.clip(keras.ops.cast(p, "float32"), 1e-7, 1.0 - 1e-7)
        return _two(keras.ops.log(p) - keras.ops.log1p(-p)) if single else keras.ops.log(p)

    return model.output, log


def _two(z: Any) -> Any:
    return keras.ops.concatenate([keras.ops.zeros_like(z), z], axis=-1)


def log_odds(logits: Any, chosen: Any) -> Any:
    """The log odds, log p - log(1 - p), of each row's class, exact however sure the network is.

    Args:
        logits: `(n, k)`.
        chosen: one-hot `(n, k)`.

    Returns:
        `(n,)`: the class's logit less the log of the sum of the others' exponentials.
    """
    others = keras.ops.where(chosen > 0, -1e30, logits)
    return keras.ops.sum(logits * chosen, axis=-1) - keras.ops.logsumexp(others, axis=-1)


def _gradients(
    model: keras.Model, feature: Any | None, pixels: NDArray[np.float32], classes: NDArray[np.int32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Feature maps and the gradient of each image's log odds by them; of the pixels where `feature` is None."""
    before, to_logits = _logit_input(model)
    if feature is None:
        start, tail = pixels, keras.Model(model.inputs[0], before)
    else:
        front = keras.Model(model.inputs[0], feature)(pixels, training=False)  # eagerly: each call would be traced anew
        start = np.asarray(keras.ops.convert_to_numpy(front), dtype=np.float32)
        tail = keras.Model(feature, before)
    chosen = np.eye(max(2, int(model.output_shape[-1])), dtype=np.float32)[classes]

    def score(maps: Any) -> Any:
        return keras.ops.sum(log_odds(to_logits(tail(maps, training=False)), chosen))

    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        maps = tf.convert_to_tensor(start)
        with tf.GradientTape() as tape:
            tape.watch(maps)
            total = score(maps)
        gradient = tape.gradient(total, maps)
    elif backend == "jax":
        import jax

        gradient = jax.grad(score)(start)
    else:
        raise FatalError(f"Grad-CAM needs the TensorFlow or JAX backend, not {backend}.")
    return np.asarray(start, dtype=np.float32), np.asarray(gradient, dtype=np.float32)


def _resized(heat: NDArray[np.float32], size: int, blur: float = 0.0) -> NDArray[np.float32]:
    """A map `(h, w)` at another size, without corners and without values below 0."""
    image = Image.fromarray(np.asarray(heat, dtype=np.float32))
    if blur:
        top = float(heat.max()) or 1.0
        eight = Image.fromarray(np.asarray(255 * heat / top, dtype=np.uint8))
        image = eight.filter(ImageFilter.GaussianBlur(blur * heat.shape[0])).convert("F")
    return np.maximum(np.asarray(image.resize((size, size), Image.Resampling.BICUBIC), dtype=np.float32), 0)


def _scaled(heat: NDArray[np.float32]) -> NDArray[np.float32]:
    top = float(heat.max())
    return heat / top if top > 0 else heat


def captioned(picture: NDArray[np.uint8], lines: Sequence[str]) -> NDArray[np.uint8]:
    """A picture `(h, w, 3)` with a strip of text under it, small enough for its width: uint8 `(h + strip, w, 3)`."""
    height = max(11, picture.shape[0] // 26)
    longest = max(ImageFont.load_default(height).getlength(line) for line in lines)
    height = max(6, min(height, int(height * (picture.shape[1] - height) / longest)))
    font = ImageFont.load_default(height)
    strip = Image.new("RGB", (picture.shape[1], round(1.5 * height * len(lines) + 0.5 * height)))
    draw = ImageDraw.Draw(strip)
    for i, line in enumerate(lines):
        draw.text((height // 2, round((0.25 + 1.5 * i) * height)), line, fill=(235, 235, 235), font=font)
    return np.concatenate([picture, np.asarray(strip)])


def overlay(image: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The image in gray with its heat map over it; the image as it is where the map is blank.

    Args:
        image: `(s, s, c)`.
        heat: `(s, s)`, 0 to 1.

    Returns:
        uint8 `(s, s, 3)`.
    """
    gray = image.astype(np.float64).mean(axis=-1, keepdims=True).repeat(3, axis=-1)
    position = np.clip(heat, 0, 1) * (len(_INFERNO) - 1)
    low = np.minimum(position.astype(int), len(_INFERNO) - 2)
    part = (position - low)[..., None]
    colour = _INFERNO[low] * (1 - part) + _INFERNO[low + 1] * part
    alpha = OPACITY * np.clip(heat, 0, 1)[..., None]
    return np.asarray(np.rint(gray * (1 - alpha) + colour * alpha), dtype=np.uint8)
