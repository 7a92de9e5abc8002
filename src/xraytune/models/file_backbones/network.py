"""Running backbones of files: pixels in, features out; and with a head on top, pixels in, probabilities out.

A head is a Keras network of its own that takes features: `head_network` says on it which backbone they are of, and
`whole` puts both together. Both classes answer as a Keras network does where only its predictions are asked for.
"""

from __future__ import annotations

import functools
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xraytune.framework import keras
from xraytune.models import heads
from xraytune.models.file_backbones import keras_file, onnx_file, reading
from xraytune.models.file_backbones.backbone import FileBackbone
from xraytune.records import Value

Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]

REMEMBERED = 1 << 28
"""Bytes of features that a loaded model keeps, 256 MiB: a batch of 32 images of VGG16 at 224 px takes 13."""

MARK = "file_backbone"
"""The attribute of a head that says what its features are of."""


def head_network(backbone: FileBackbone, values: Mapping[str, Value], classes: int) -> keras.Model:
    """What is trained on a backbone's features, uncompiled: `(n, h, w, c)` in, softmax `(n, classes)` out."""
    start = keras.Input(backbone.features, name="features")
    model = keras.Model(start, heads.head(start, values, classes), name=backbone.name)
    setattr(model, MARK, backbone)
    return model


def backbone_of(model: Any) -> FileBackbone | None:
    """The backbone whose features a network takes; None where it takes images."""
    return getattr(model, MARK, None)


class Backbone:
    """A backbone that is ready to run.

    Args:
        backbone: which.
        channels: of the images, 1 or 3.

    Raises:
        WeightsError: its file is gone or was changed.
        InputError: ONNX Runtime is missing.
    """

    def __init__(self, backbone: FileBackbone, channels: int) -> None:
        self.about = backbone
        self._matrix, self._offset = backbone.mixing(channels)
        self._run = _runner(backbone.path, backbone)
        self.input_shape = (None, backbone.image_size, backbone.image_size, channels)
        self.output_shape = (None, *backbone.features)

    def predict_on_batch(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Features float32 `(n, h, w, c)` of images `(n, s, s, channels)`, pixel values 0–255."""
        x = np.asarray(images, np.float32) @ self._matrix + self._offset
        out = self._run(np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if self.about.layout == "nchw" else x)
        if out.ndim == 4 and self.about.layout == "nchw":
            out = out.transpose(0, 2, 3, 1)
        return np.asarray(out, np.float32).reshape(len(x), *self.about.features)


@functools.lru_cache(maxsize=2)
def _runner(path: str, backbone: FileBackbone) -> Run:
    """What computes a checked file's output; a process keeps the last two."""
    content = reading.check(backbone, "is wanted")
    if not backbone.is_onnx:
        model = keras_file.load(Path(path))
        return lambda x: np.asarray(model.predict_on_batch(x), np.float32)
    onnx_file.checked(Path(path), content)  # a model's folder may be received too
    runtime = onnx_file.session(content, path)
    name = runtime.get_inputs()[0].name
    return lambda x: np.asarray(runtime.run([backbone.output], {name: x})[0], np.float32)


class RememberingBackbone(Backbone):
    """One that keeps features of its last images: several networks of a model ask for the same ones."""

    def __init__(self, backbone: FileBackbone, channels: int) -> None:
        super().__init__(backbone, channels)
        self._known: OrderedDict[bytes, NDArray[np.float32]] = OrderedDict()

    def predict_on_batch(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """As of `Backbone`."""
        key = hashlib.sha256(np.ascontiguousarray(images).tobytes()).digest()
        found = self._known.pop(key, None)
        if found is None:
            found = super().predict_on_batch(images)
        self._known[key] = found
        while len(self._known) * found.nbytes > REMEMBERED:
            self._known.popitem(last=False)
        return found


class Joined:
    """A backbone and the head on it.

    Args:
        backbone: ready to run.
        head: takes its features.
    """

    def __init__(self, backbone: Backbone, head: Any) -> None:
        self.backbone, self.head = backbone, head
        self.input_shape, self.output_shape = backbone.input_shape, head.output_shape

    def predict_on_batch(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Probabilities of images `(n, s, s, channels)`, as the head gives them."""
        return np.asarray(self.head.predict_on_batch(self.backbone.predict_on_batch(images)), np.float32)


def whole(model: Any, channels: int) -> Any:
    """What takes images: the network itself, or a backbone of a file and the network on it.

    Args:
        model: a Keras network, as built.
        channels: of the images.
    """
    of = backbone_of(model)
    return model if of is None else Joined(Backbone(of, channels), model)
