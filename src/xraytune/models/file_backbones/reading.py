"""Backbones by file as a user names them, read and checked once, before a search begins."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from xraytune import files as files_room
from xraytune.errors import InputError, WeightsError
from xraytune.models.file_backbones.backbone import NORMALIZATIONS, FileBackbone, InputSettings, settings

NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")

MOST_BYTES = 4 << 30
"""Of a backbone's file: networks with billions of weights are no backbones of small studies."""


def read(
    files: Mapping[str, str], inputs: Mapping[str, str], licences: Mapping[str, str], taken: Iterable[str]
) -> dict[str, FileBackbone]:
    """Read backbones.

    Args:
        files: path of each by name.
        inputs: settings of some (`backbone.settings`) by name.
        licences: of some, by name.
        taken: names that other families have.

    Raises:
        InputError: a name or file can't be used; the message says what to change.
    """
    for option, names in (("--backbone-input", inputs), ("--backbone-licence", licences)):
        if unknown := sorted(set(names) - set(files)):
            raise InputError(f"{option} {unknown[0]}=…: no --backbone {unknown[0]}=FILE is given.")
    found = {}
    for name, path in files.items():
        if not NAME.fullmatch(name) or name in taken:
            raise InputError(
                f"--backbone {name}=…: a backbone's name has small letters, digits and _, and is not the name of a "
                "family."
            )
        asked = settings(inputs.get(name, ""), f"--backbone-input {name}={inputs.get(name, '')}")
        found[name] = replace(_read(name, Path(path), asked), licence=licences.get(name, "unknown"))
    return found


def _read(name: str, path: Path, asked: InputSettings) -> FileBackbone:
    suffix = path.suffix.lower()
    if suffix not in {".onnx", ".keras"}:
        raise InputError(f"{path}: a backbone is a file of ONNX (.onnx) or Keras (.keras).")
    try:
        content = files_room.read_named(path, MOST_BYTES)
    except OSError as error:
        raise InputError(
            f"{path} can't be read: {error.strerror}. Name the backbone's file: --backbone NAME=FILE"
        ) from None
    if suffix == ".onnx":
        from xraytune.models.file_backbones import onnx_file

        said, shape, operations = onnx_file.read(path, content, asked)
    else:
        from xraytune.models.file_backbones import keras_file

        said, shape, operations = keras_file.read(path, asked)
    if not said.normalization:
        raise InputError(
            f"{path} does not say what its pixel values must be. Give it: --backbone-input {name}= one of "
            f"{', '.join(NORMALIZATIONS)}, or mean=M,std=S of values 0–1."
        )
    assert said.size is not None
    return FileBackbone(
        name=name,
        path=str(path.absolute()),
        sha256=hashlib.sha256(content).hexdigest(),
        image_size=said.size,
        colours=said.colours,
        normalization=said.normalization,
        layout=said.layout,
        features=_as_map(path, shape, said.layout),
        gflop=round(operations / 1e9, 4),
        output=said.output,
    )


def _as_map(path: Path, shape: tuple[int, ...], layout: str) -> tuple[int, ...]:
    """The shape of features as (height, width, channels)."""
    if len(shape) == 1:
        return (1, 1, *shape)
    if len(shape) == 2:
        return (shape[0], 1, shape[1])
    if len(shape) == 3:
        return (*shape[1:], shape[0]) if layout == "nchw" else shape
    raise InputError(f"{path}: an image becomes {len(shape)} axes; features are a vector, tokens or a map.")


def kept(stored: Mapping[str, Mapping[str, object]], moved: Mapping[str, str], study: str) -> dict[str, FileBackbone]:
    """The backbones of a study, each at its place and unchanged.

    Args:
        stored: as JSON, by name.
        moved: where files are now, by name, if not where the search read them.
        study: its name, for messages.

    Raises:
        InputError: `moved` names one that the study does not have.
        WeightsError: a file is gone or was changed.
    """
    if unknown := sorted(set(moved) - set(stored)):
        raise InputError(f"--backbone {unknown[0]}=…: study {study!r} has no such backbone.")
    found = {}
    for name, plain in stored.items():
        backbone = FileBackbone.from_json(plain)
        backbone = replace(backbone, path=str(Path(moved.get(name, backbone.path)).absolute()))
        check(backbone, f"study {study!r} was searched with")
        found[name] = backbone
    return found


def check(backbone: FileBackbone, whose: str) -> bytes:
    """The content of a backbone's file.

    Raises:
        WeightsError: it is gone, or is another one.
    """
    try:
        content = files_room.read_named(backbone.path, MOST_BYTES)
    except OSError as error:
        raise WeightsError(
            f"{backbone.path} can't be read: {error.strerror}. Give the file of backbone {backbone.name}: "
            f"--backbone {backbone.name}=FILE"
        ) from None
    if hashlib.sha256(content).hexdigest() != backbone.sha256:
        raise WeightsError(
            f"{backbone.path} is not the file of backbone {backbone.name} that {whose} (sha256 differs): restore it."
        )
    return content
