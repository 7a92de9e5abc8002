"""Where a network looks: Grad-CAM heat maps, and overlays of them on the film.

Selvaraju et al. 2017, "Grad-CAM": the last spatial feature maps, weighted by the mean gradient of the class's logit.
A heat map shows what moved the answer, not that the answer is right. Called by the report and by `search.predict`.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from xraytune.errors import FatalError

SMOOTH = 1 / 24
"""Of the edge: blur of the plain gradient where a network has no feature maps."""

OPACITY = 0.55
"""Of the hottest place of an overlay; the film must stay readable under it."""

# Inferno's colours at eight points (Smith & van der Walt, 2015): ordered by lightness, safe for the colour-blind
_INFERNO = np.array(
    [
        [0, 0, 4], [40, 11, 84], [101, 21, 110], [159, 42, 99], [212, 72, 66], [245, 125, 21], [250, 193, 39],
        [252, 255, 164],
    ],
    dtype=np.float64,
)  # fmt: skip


def heat_maps(model: keras.Model, images: NDArray[np.uint8], classes: NDArray[np.integer]) -> NDArray[np.float32]:
    """Where each film moved the logit of a class.

    Args:
        model: a functional network, images in.
        images: `(n, s, s, c)`, pixel values 0–255.
        classes: which class, `(n,)`.

    Returns:
        float32 `(n, s, s)`, 0 to 1 within each image; all 0 where nothing speaks for the class.

    Raises:
        FatalError: the backend has no gradients (numpy).
    """
    pixels = np.asarray(images, dtype=np.float32)
    wanted = np.asarray(classes, dtype=np.int32)
    size = int(pixels.shape[1])
    feature = _feature(model)
    if feature is None:
        gradients = _gradients(model, None, pixels, wanted)[1]
        heat = np.abs(gradients).mean(axis=-1)
        return np.stack([_scaled(_resized(h, size, SMOOTH)) for h in heat])
    maps, gradients = _gradients(model, feature, pixels, wanted)
    weights = gradients.mean(axis=(1, 2), keepdims=True)
    heat = np.maximum((maps * weights).sum(axis=-1), 0)
    return np.stack([_scaled(_resized(h, size)) for h in heat])


def _feature(model: keras.Model) -> Any | None:
    """The output of the last layer with feature maps of 2 × 2 or more, None in a network without convolutions."""
    found = None
    for layer in model.layers:
        output = getattr(layer, "output", None)
        shape: Any = getattr(output, "shape", ())
        spatial = len(shape) == 4 and shape[1] is not None and shape[1] >= 2
        if spatial and (isinstance(layer, keras.Model) or _convolutional(layer)):
            found = output
    return found


def _convolutional(layer: Any) -> bool:
    kinds = (
        keras.layers.Conv2D,
        keras.layers.SeparableConv2D,
        keras.layers.DepthwiseConv2D,
        keras.layers.Concatenate,
        keras.layers.Add,
    )
    return isinstance(layer, kinds) and not layer.name.startswith("repeated")


def _logit_input(model: keras.Model) -> tuple[Any, Any]:
    """What the last layer gets, and a function from it to logits: a saturated softmax has no gradient."""
    last = model.layers[-1]
    if isinstance(last, keras.layers.Dense) and last.activation in {keras.activations.softmax}:
        return last.input, lambda z: keras.ops.matmul(z, last.kernel) + (last.bias if last.use_bias else 0.0)
    if isinstance(last, keras.layers.Softmax) or (
        isinstance(last, keras.layers.Activation) and last.activation is keras.activations.softmax
    ):
        return last.input, lambda z: z
    return model.output, lambda p: keras.ops.log(keras.ops.clip(p, 1e-7, 1.0))


def _gradients(
    model: keras.Model, feature: Any | None, pixels: NDArray[np.float32], classes: NDArray[np.int32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Feature maps and the gradient of each image's class logit by them; of the pixels where `feature` is None."""
    before, to_logits = _logit_input(model)
    if feature is None:
        start, tail = pixels, keras.Model(model.inputs, before)
    else:
        start = np.asarray(keras.Model(model.inputs, feature).predict_on_batch(pixels))
        tail = keras.Model(feature, before)
    one_hot = np.eye(int(model.output_shape[-1]), dtype=np.float32)
    chosen = one_hot[np.minimum(classes, one_hot.shape[0] - 1)]

    def score(maps: Any) -> Any:
        return keras.ops.sum(to_logits(tail(maps, training=False)) * chosen)

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
    image = Image.fromarray(np.asarray(heat, dtype=np.float32))
    if blur:
        top = float(heat.max()) or 1.0
        eight = Image.fromarray(np.asarray(255 * heat / top, dtype=np.uint8))
        image = eight.filter(ImageFilter.GaussianBlur(blur * heat.shape[0]))
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR), dtype=np.float32)


def _scaled(heat: NDArray[np.float32]) -> NDArray[np.float32]:
    top = float(heat.max())
    return heat / top if top > 0 else heat


def overlay(image: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The film in gray with its heat map over it.

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
