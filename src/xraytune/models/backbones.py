"""Pretrained backbones: where their weights come from, whether a file is what it says, and the layers with them in.

A file is looked for in the folder the user named, then in Keras's cache, then fetched by Keras's own download, once, by
the driver; workers are given paths and never ask the network. `reachable` says what there is; nothing is ever silently
random: a backbone without a file is left out of the search, and `missing` is the line that says which file to put
where.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path

from xraytune.errors import WeightsError
from xraytune.framework import keras
from xraytune.models.weight_files import check_file, read

BACKBONES = {
    "vgg16": "VGG16",
    "vgg19": "VGG19",
    "densenet121": "DenseNet121",
    "densenet169": "DenseNet169",
    "densenet201": "DenseNet201",
}
"""Our name → the function in keras.applications."""

KNOWN_SHA256 = {
    "a2f51117308129c3de9a523c91d35160eb75a6a9e5db1e2afb4f48e48dfb733a": "vgg16, ImageNet, Keras 3 format",
}
"""Files that were seen to work; it only informs, since a user may bring weights trained on X-rays."""

SERVER = "storage.googleapis.com"
DOWNLOADS = {
    "vgg16": ("vgg16", "6d6bbae143d832006294945121d1f1fc"),
    "densenet121": ("densenet", "30ee3e1110167f948a6b9946edeeb738"),
}
"""What a first search fetches by itself (folder and md5 as in keras.applications): the smallest of each kind, 90 MB in
all. The larger ones are fetched by hand (docs/weights.md): nobody waits for 160 MB that he did not ask for."""

DOWNLOAD_SECONDS = 5.0
"""How long the server may take to answer before a download is given up: an offline machine must not hang a search."""


def of(families: Iterable[str]) -> tuple[str, ...]:
    """The backbones that networks of these families may begin with: `vgg…` with VGGs, `densenet` with DenseNets."""
    kinds = {family.partition("_")[0] for family in families}
    return tuple(name for name in BACKBONES if name.rstrip("0123456789") in kinds)


def file_names(name: str) -> tuple[str, str]:
    """The names a backbone's file may have: ours (Keras 3 format) and the one Keras's own download has."""
    return f"{name}_imagenet_notop.weights.h5", f"{name}_weights_tf_dim_ordering_tf_kernels_notop.h5"


def missing(names: Iterable[str], weights_dir: Path | None) -> str:
    """One line for backbones that were not found: which file to put where."""
    folder = weights_dir or "a folder named by --weights-dir or XRAYTUNE_WEIGHTS"
    files = ", ".join(file_names(name)[0] for name in names)
    return f"no weights for {', '.join(names)}: put {files} into {folder} (docs/weights.md)"


def remarks(used: Mapping[str, str]) -> list[str]:
    """A line on each backbone's file: whether it is one that this program knows; another one is no fault.

    Args:
        used: backbone → sha256 of its file.
    """
    return [
        f"weights {name}: {KNOWN_SHA256[sha256]} (sha256 {sha256[:8]}…)"
        if sha256 in KNOWN_SHA256
        else f"weights {name}: an unknown file (sha256 {sha256[:8]}…), used unchanged"
        for name, sha256 in used.items()
    ]


def folders(weights_dir: Path | None) -> list[Path]:
    """Where files are looked for, in order."""
    named = weights_dir or (Path(os.environ["XRAYTUNE_WEIGHTS"]) if os.environ.get("XRAYTUNE_WEIGHTS") else None)
    cache = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")) / "models"
    return [folder for folder in (named, cache) if folder is not None]


def reachable(
    weights_dir: Path | None = None, *, names: Iterable[str] = tuple(BACKBONES), download: bool = False
) -> dict[str, Path]:
    """The backbones whose weights are there: name → file, each checked for being whole and of that network.

    Args:
        weights_dir: the folder the user named, else `XRAYTUNE_WEIGHTS`.
        names: which backbones are wanted.
        download: whether Keras's own download may be tried for those that are not there; the driver asks once.

    Raises:
        WeightsError: the named folder does not exist, or a file is damaged or another network's.
    """
    if weights_dir is not None and not Path(weights_dir).is_dir():
        raise WeightsError(f"{weights_dir} is no folder: --weights-dir names the folder that holds the weights' files")
    named = os.environ.get("XRAYTUNE_WEIGHTS")
    if weights_dir is None and named and not Path(named).is_dir():
        raise WeightsError(f"{named} is no folder: XRAYTUNE_WEIGHTS names the folder that holds the weights' files")
    found: dict[str, Path] = {}
    online: bool | None = None
    for name in names:
        candidates = [folder / file for folder in folders(weights_dir) for file in file_names(name)]
        path = next((c for c in candidates if c.is_file()), None)
        if path is None and download and name in DOWNLOADS:
            online = _answers(SERVER) if online is None else online
            path = _download(name) if online else None
        if path is not None:
            check_file(name, path)
            found[name] = path
    return found


def body(name: str, x: keras.KerasTensor, weights: Mapping[str, str | Path]) -> keras.Model:
    """The backbone on top of `x` (normalised, three channels), with its pretrained weights.

    Its layers stand flat in whatever network is made of their outputs.

    Raises:
        WeightsError: no file is known for it, or it can't be loaded.
    """
    if name not in weights:
        raise WeightsError(missing([name], None))
    path = Path(weights[name])
    if not path.is_file():
        raise WeightsError(f"{path}: the weights of {name} were removed after the search began")
    make = getattr(keras.applications, BACKBONES[name])
    model: keras.Model = make(include_top=False, weights=None, input_tensor=x)
    for layer, arrays in read(name, path).items():
        model.get_layer(layer).set_weights(arrays)
    return model


def _answers(host: str) -> bool:
    """Whether the server can be reached at all, asked with a short timeout, since Keras's download has none."""
    try:
        with socket.create_connection((host, 443), timeout=DOWNLOAD_SECONDS):
            return True
    except OSError:
        return False


def _download(name: str) -> Path | None:
    """Let Keras fetch the file into its cache, checked by the md5 that Keras knows; None where it does not come."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_SECONDS)
    module, md5 = DOWNLOADS[name]
    file = file_names(name)[1]
    url = f"https://{SERVER}/tensorflow/keras-applications/{module}/{file}"
    try:
        return Path(keras.utils.get_file(file, url, cache_subdir="models", file_hash=md5))
    except Exception:  # Keras raises a bare Exception for every failed download
        return None
    finally:
        socket.setdefaulttimeout(before)
