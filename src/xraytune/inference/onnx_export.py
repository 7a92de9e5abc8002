"""A saved model's networks as ONNX, equal to Keras, beside them in the same folder.

The exported model is used like the other: `load_model(folder / "model.onnx")` runs it in ONNX Runtime with the same
preprocessing, calibration and threshold, and without Keras.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xraytune import artifacts
from xraytune.errors import ArtifactError, FatalError, InputError
from xraytune.inference.classifier import Classifier, load_model
from xraytune.inference.model_card import Member, read_card, write_card
from xraytune.inference.networks import onnx_session
from xraytune.models.file_backbones import joining, keras_file
from xraytune.models.file_backbones.network import Joined

TOLERANCE = 1e-4
"""Largest difference of a probability between ONNX Runtime and Keras."""

CHECKED = 100
"""Images that are compared."""


def drawn_images(size: int, channels: int, seed: int = 0) -> NDArray[np.uint8]:
    """`CHECKED` smooth random images `(n, size, size, channels)`, for comparing where there are too few real ones."""
    rng = np.random.default_rng(seed)
    out = np.empty((CHECKED, size, size, channels), np.uint8)
    for image in out:
        coarse = rng.integers(0, 256, (8, 8), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC), dtype=np.float64)
        image[:] = np.clip(smooth + rng.normal(0, 8, (size, size)), 0, 255).astype(np.uint8)[..., None]
    return out


def export(folder: Path, images: Sequence[NDArray[Any]] | None = None) -> tuple[list[Path], float]:
    """Export every network of a saved model and check that it says the same. All are kept or none.

    Args:
        folder: a model's folder, or a file in it.
        images: images to compare on, as `Classifier.predict` takes them; where they are fewer than `CHECKED`, random
            ones as well.

    Returns:
        the files, and the largest difference of a probability that was seen.

    Raises:
        ArtifactError: the model is missing or was changed.
        InputError: the extra `onnx` is not installed.
        FatalError: a network can't be exported, or its export answers differently.
    """
    folder = folder if folder.is_dir() else folder.parent
    model = load_model(folder)
    card = read_card(folder)
    members, files, worst = [], [], 0.0
    with ExitStack() as written:  # renamed at its end, when every network was compared
        for i, member in enumerate(model.members):
            squares = _squares(model, images, member.image_size)
            path = folder / member.file.replace(".keras", ".onnx")
            temporary = written.enter_context(artifacts.atomic_write(path))
            network: Any = model.networks[i]
            _write(network.model, temporary)
            theirs = _answers(temporary, member.file, squares)
            ours = np.asarray(network.model.predict_on_batch(squares.astype(np.float32)))
            difference = float(np.abs(theirs - ours).max())
            if not difference <= TOLERANCE:
                raise FatalError(
                    f"The ONNX export of {member.file} differs from Keras by {difference:.2g} on {len(squares)} images "
                    f"(allowed: {TOLERANCE:g}); nothing was kept."
                )
            worst = max(worst, difference)
            files.append(path)
            members.append(Member(path.name, artifacts.sha256(temporary), member.image_size, member.weight).to_json())
    write_card(folder, replace(card, onnx=tuple(members)))
    return files, worst


def _squares(model: Classifier, images: Sequence[NDArray[Any]] | None, size: int) -> NDArray[np.uint8]:
    """`CHECKED` images `(n, size, size, channels)`, the given ones first."""
    given = [model.prepare(image)[size] for image in images or ()][:CHECKED]
    return np.concatenate([*(image[None] for image in given), drawn_images(size, model.card.channels)[len(given) :]])


def _answers(path: Path, of: str, squares: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What the exported network says, probabilities `(n, k)`.

    Raises:
        FatalError: ONNX Runtime can't run it.
    """
    try:
        session = onnx_session(path)
        name = session.get_inputs()[0].name
        return np.asarray(session.run(None, {name: squares.astype(np.float32)})[0])
    except Exception as error:  # ONNX Runtime's errors have no kind of their own in common
        why = str(error).strip().splitlines()[0]
        raise FatalError(f"The ONNX export of {of} can't be run: {why}. Nothing was kept.") from None


def _hold_statistics(network: Any) -> None:
    """Make arrays of every `Normalization`'s statistics: the export takes tensors that are no weights for inputs."""
    from xraytune.framework import keras

    for layer in network.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.mean, layer.variance = (keras.ops.convert_to_numpy(held) for held in (layer.mean, layer.variance))
        elif hasattr(layer, "layers"):
            _hold_statistics(layer)


def _write(network: Any, path: Path) -> None:
    """Write a network that takes images, with its backbone where that is a file."""
    if not isinstance(network, Joined):
        _write_keras(network, path)
        return
    about = network.backbone.about
    with tempfile.TemporaryDirectory() as folder:
        head, backbone = Path(folder) / "head.onnx", Path(about.path)
        _write_keras(network.head, head)
        if not about.is_onnx:
            backbone = Path(folder) / "backbone.onnx"
            _write_keras(keras_file.load(Path(about.path)), backbone)
        joining.join(about, network.input_shape[-1], backbone, head, path)


def _write_keras(network: Any, path: Path) -> None:
    try:
        import onnxruntime  # noqa: F401
        import tf2onnx  # noqa: F401
    except ImportError:
        raise InputError("ONNX needs the extra `onnx`: pip install 'xraytune[onnx]'") from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tf2onnx speaks of numpy's and its own future
        try:
            _hold_statistics(network)
            network(np.zeros((1, *network.input_shape[1:]), np.float32))  # Keras exports only what was called once
            network.export(str(path), format="onnx", verbose=False)
        except (ValueError, RuntimeError, NotImplementedError, AttributeError, KeyError) as error:
            raise FatalError(f"The network can't be exported to ONNX: {str(error).strip().splitlines()[0]}") from None
    if not path.stat().st_size:
        raise ArtifactError(f"{path} was not written.")
