"""Batch normalisation trained by TensorFlow's fused kernel.

Keras 3 puts a batch normalisation together from its parts (moments, then a multiplication and an addition, each with a
gradient of its own), all of which wait for memory: on one core half of a small convolutional network's step. The fused
kernel (`tf.compat.v1.nn.fused_batch_norm`, Keras 2's) walks the images twice. It is the same layer with the same
weights: what answers, what is saved and what other code sees is `keras.layers.BatchNormalization`.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any

from xraytune.framework import keras, ops


def normalisations(model: keras.Model) -> Iterator[keras.layers.BatchNormalization]:
    """Every batch normalisation of a network and of the networks in it."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            yield layer
        elif hasattr(layer, "layers"):
            yield from normalisations(layer)


def fuse(model: keras.Model) -> None:
    """Train the network's batch normalisations by the fused kernel, those that it can do; on TensorFlow alone.

    Left as they are: normalisations over another axis than the last of images `(n, h, w, c)`, renormalising and
    synchronised ones, subclasses of Keras's layer, and calls with a mask. JAX fuses by itself.
    """
    if keras.backend.backend() != "tensorflow":
        return
    for layer in normalisations(model):
        plain = type(layer) is keras.layers.BatchNormalization
        if plain and not getattr(layer, "renorm", False) and not layer.synchronized:
            layer.call = types.MethodType(_call, layer)


def _call(layer: Any, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
    """`BatchNormalization.call`, its training by the fused kernel."""
    images = len(inputs.shape) == 4 and layer.axis in {-1, 3}
    if not (training and layer.trainable and mask is None and images):
        return keras.layers.BatchNormalization.call(layer, inputs, training=training, mask=mask)
    import tensorflow as tf

    x = ops.cast(inputs, "float32")
    channels = x.shape[-1]
    outputs, mean, unbiased = tf.compat.v1.nn.fused_batch_norm(
        x,
        ops.cast(layer.gamma, "float32") if layer.scale else ops.ones((channels,)),
        ops.cast(layer.beta, "float32") if layer.center else ops.zeros((channels,)),
        epsilon=layer.epsilon,
        is_training=True,
    )
    n = ops.cast(tf.size(x) // channels, "float32")
    variance = unbiased * (n - 1) / n  # Keras 3 keeps the plain one
    for kept, now in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
        kept.assign(kept * layer.momentum + ops.cast(now, kept.dtype) * (1.0 - layer.momentum))
    return ops.cast(outputs, layer.compute_dtype)
