"""Networks of a saved model: what a file of it is loaded into, and batches of images through it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from xraytune.errors import ArtifactError, classify
from xraytune.evaluation import metrics
from xraytune.inference import test_time_augmentation


class Network(Protocol):
    """Square images `(n, s, s, c)` in, probabilities `(n, k)` out."""

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Uncalibrated."""
        ...


def predict_network(model: Any, images: NDArray[Any], batch: int = 32) -> NDArray[np.float32]:
    """Probabilities `(n, k)` of a Keras network, in batches of one size, so that it is traced once."""
    out = []
    for start in range(0, len(images), batch):
        part = np.asarray(images[start : start + batch], dtype=np.float32)
        missing = min(batch, len(images)) - len(part)
        if missing > 0:
            part = np.concatenate([part, np.zeros((missing, *part.shape[1:]), np.float32)])
        predicted = np.asarray(model.predict_on_batch(part), dtype=np.float32)
        out.append(predicted[: len(predicted) - missing] if missing > 0 else predicted)
    found = np.concatenate(out) if out else np.zeros((0, int(model.output_shape[-1])), np.float32)
    return metrics.two_columns(found)


@dataclass(frozen=True)
class KerasNetwork:
    """A Keras network as one."""

    model: Any
    """A Keras network, or one on a backbone by file (`Joined`)."""

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Uncalibrated."""
        return predict_network(self.model, images)


@dataclass(frozen=True)
class OnnxNetwork:
    """An exported network in ONNX Runtime as one."""

    session: Any

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Uncalibrated."""
        name = self.session.get_inputs()[0].name
        parts = [
            self.session.run(None, {name: np.asarray(images[i : i + 32], dtype=np.float32)})[0]
            for i in range(0, len(images), 32)
        ]
        return metrics.two_columns(np.concatenate(parts).astype(np.float32))


def predict_with(model: Any, images: NDArray[np.uint8], kind: str) -> NDArray[np.float32]:
    """Probabilities `(n, k)` of a Keras network with this test-time augmentation, empty for none."""
    return test_time_augmentation.answers(KerasNetwork(model), images, kind)


def load_network(file: Path) -> Any:
    """A checked `.keras` file as a network, without its optimiser, Keras's safe mode on.

    Raises:
        ArtifactError: Keras can't load it.
    """
    from xraytune.framework import keras

    try:
        return keras.saving.load_model(file, compile=False, safe_mode=True)
    except Exception as error:  # whatever its layers, their depth and their size make Keras and TensorFlow raise
        raise ArtifactError(f"{file} can't be loaded: {classify(error)[1]}") from None


def onnx_session(file: Path) -> Any:
    """A checked `.onnx` file in ONNX Runtime, on the CPU.

    Raises:
        ArtifactError: ONNX Runtime is missing or can't load it.
    """
    try:
        import onnxruntime
    except ImportError:
        raise ArtifactError("ONNX Runtime is missing. Install the extra: pip install 'xraytune[onnx]'") from None
    try:
        return onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own classes, which differ between builds
        raise ArtifactError(f"{file} can't be loaded: {classify(error)[1]}") from None
