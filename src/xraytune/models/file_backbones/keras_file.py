"""A Keras file of a backbone: refused where it holds code, and loaded with Keras's safe mode on.

Keras's safe mode refuses `Lambda` layers and code of others. What a file names is compared with a list besides, before
Keras reads it: classes of Keras alone, none of which run code or open files of the reader's.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from xraytune.errors import FOREIGN, InputError
from xraytune.framework import keras
from xraytune.models.file_backbones.backbone import COLOURS, InputSettings

CODE = frozenset(
    {"Lambda", "TorchModuleWrapper", "FlaxLayer", "JaxLayer", "TFSMLayer", "StringLookup", "IntegerLookup",
     "TextVectorization", "HashedCrossing", "FeatureSpace"}
)  # fmt: skip
"""Keras's layers that run stored code, or that read files that a configuration names."""

SCALED = ("Rescaling", "Normalization")
"""First layers that normalise pixels by themselves."""


def load(path: Path) -> Any:
    """The network in a file, without its optimiser.

    Raises:
        InputError: it holds code, or Keras can't load it.
    """
    try:
        with zipfile.ZipFile(path) as file:
            config = json.loads(file.read("config.json"))
    except FOREIGN:
        raise InputError(f"{path}: damaged, or no Keras file (.keras).") from None
    if not isinstance(config, dict):
        raise InputError(f"{path}: damaged, or no Keras file (.keras).")
    for module, name in _named({k: v for k, v in config.items() if k != "compile_config"}):
        if name in CODE or module.partition(".")[0] not in {"keras", ""}:
            raise InputError(
                f"{path}: its {name} of {module or 'keras'} may run code, so the file is not loaded. Save a network of "
                "Keras's own layers, without Lambda."
            )
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # whatever a damaged or foreign file makes Keras raise
        why = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise InputError(f"{path}: Keras can't load it: {why}") from None


def _named(config: Any) -> Iterator[tuple[str, str]]:
    """Module and name of every class and function that a configuration names."""
    if isinstance(config, dict):
        if isinstance(config.get("class_name"), str):
            inner = config.get("config")
            name = inner if config["class_name"] == "function" and isinstance(inner, str) else config["class_name"]
            package = str(config.get("registered_name") or "").rpartition(">")[0]  # of a class of the maker's own
            yield str(config.get("module") or package), name
        for value in config.values():
            yield from _named(value)
    elif isinstance(config, list):
        for value in config:
            yield from _named(value)


def read(path: Path, asked: InputSettings) -> tuple[InputSettings, tuple[int, ...], float]:
    """What a file says and computes: as of `onnx_file.read`.

    Raises:
        InputError: it can't be used; the message says what to change.
    """
    model = load(path)
    inputs: list[Any] = list(getattr(model, "inputs", None) or ())
    outputs: list[Any] = list(getattr(model, "outputs", None) or ())
    if len(inputs) != 1 or len(outputs) != 1:
        raise InputError(
            f"{path}: it has {len(inputs)} inputs and {len(outputs)} outputs; a backbone has one of each, image and "
            "features."
        )
    shape = list(inputs[0].shape)
    shown = " × ".join(str(dim or "any") for dim in shape)
    if asked.layout == "nchw":
        raise InputError(f"{path}: a Keras file takes channels last (nhwc).")
    if asked.output:
        raise InputError(f"{path}: output= is for ONNX files; a Keras file has one output.")
    if len(shape) != 4 or shape[3] not in {1, 3}:
        raise InputError(f"{path}: it takes {shown}; a backbone takes images with 1 or 3 channels last.")
    if shape[1] != shape[2] or not shape[1]:
        raise InputError(f"{path}: it takes {shown}, no fixed square size. Save it with a fixed one.")
    how = asked.normalization or ("pixels" if _scales(model) else "")
    colours = asked.colours or ("gray" if shape[3] == 1 else "bgr" if how == "caffe" else "rgb")
    if COLOURS[colours] != shape[3] or asked.size not in {None, shape[1]}:
        raise InputError(f"{path}: it takes {shown}, and {asked.size or shape[1]} px {colours} was asked for.")
    features = tuple(outputs[0].shape[1:])
    if not features or None in features:
        raise InputError(f"{path}: its output has no fixed shape.")
    return InputSettings(int(shape[1]), colours, "nhwc", how), tuple(map(int, features)), _operations(model)


def _scales(model: Any) -> bool:
    """Whether its first layer after the input normalises pixels."""
    layers = [layer for layer in model.layers if type(layer).__name__ != "InputLayer"]
    return bool(layers) and type(layers[0]).__name__ in SCALED


def _operations(model: Any) -> float:
    """Operations an image: every weight of a layer's matrices twice at each place of its output."""
    total = 0
    for layer in model.layers:
        if hasattr(layer, "layers"):
            total += int(_operations(layer))
            continue
        matrices = sum(math.prod(w.shape) for w in layer.weights if len(w.shape) > 1)
        if matrices:
            places = [length or 1 for length in layer.output.shape[1:-1]]
            total += 2 * matrices * math.prod(places)
    return float(total)
