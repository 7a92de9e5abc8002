"""`.npz` files in MedMNIST's layout, and PneumoniaMNIST from its record.

Such a file has the arrays `{train,val,test}_{images,labels}`; images are uint8 `(n, h, w)` or `(n, h, w, 3)`, labels
`(n, 1)` or `(n,)`. The images are written into the cache once, read one by one, as PGM or PPM files (no compression, so
the same bytes on every machine), and go from there the way of all others.

PneumoniaMNIST: Yang et al., "MedMNIST v2", Scientific Data 2023; CC BY 4.0; Zenodo record 10519652. Record, file names
and md5 sums are those of `info.py` of the package medmnist 3.0.2.
"""

from __future__ import annotations

import hashlib
import math
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from xraytune import artifacts, files
from xraytune.data import cache
from xraytune.data.problems import Progress
from xraytune.data.sources import archives, folder
from xraytune.data.sources.listing import Listing
from xraytune.errors import FOREIGN, DataError, SourceError

RECORD = "https://zenodo.org/records/10519652/files"
MD5 = {
    28: "28209eda62fecd6e6a2d98b1501bb15f",
    64: "8f4eceb4ccffa70c672198ea285246c6",
    128: "05b46931834c231683c68f40c47b2971",
    224: "d6a3c71de1b945ea11211b03746c1fe1",
}
"""By edge in pixels."""

NAME = "pneumoniamnist"
CLASSES = {0: "normal", 1: "pneumonia"}
_SPLITS = ("train", "val", "test")
_MOST_HEADER = 1 << 16  # bytes
_TIMEOUT = 30  # seconds without a byte


def is_named(data: str) -> bool:
    """Whether the user means PneumoniaMNIST: `pneumoniamnist`, or with a size behind a colon."""
    return data.lower().split(":")[0] == NAME


def open_named(data: str, progress: Progress | None = None) -> Listing:
    """PneumoniaMNIST at the size behind the colon (28 without one), downloaded once.

    Raises:
        DataError: there is no such size, no network, or what came is not the file.
    """
    text = data.partition(":")[2] or "28"
    if not text.isdecimal() or int(text) not in MD5:
        sizes = ", ".join(f"{NAME}:{size}" for size in MD5)
        raise DataError(f"{data}: there is no size {text!r}. Take {sizes}.")
    return open_arrays(_download(int(text), progress), progress)


def open_arrays(path: Path, progress: Progress | None = None) -> Listing:
    """List the images of an `.npz` file, written out as files on first use.

    Raises:
        SourceError: it is damaged, or not in MedMNIST's layout.
    """
    root = archives.unpacked(path)
    if not root.exists():
        with cache.lock(root.with_name(root.name + ".lock")):
            if not root.exists():
                try:
                    with files.open_named(path) as raw, zipfile.ZipFile(raw) as arrays:
                        _write(path, arrays, root, progress)
                except FOREIGN as error:
                    raise SourceError(f"{path} is no .npz file of images: {error}.") from None
                except (RuntimeError, OSError) as error:  # a password, a method that zipfile lacks; a full disk
                    raise SourceError(f"{path} can't be unpacked: {error}.") from None
    return folder.read_layout(root, path.name)


class _Head(NamedTuple):
    """What an array's header says."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]


def _head(opened: IO[bytes]) -> _Head:
    """The header of an array; what follows in the file are its elements. A header that claims megabytes is refused."""
    file: Any = files.Bounded(opened, _MOST_HEADER, _MOST_HEADER)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    version = np.lib.format.read_magic(file)
    if version not in readers:
        raise ValueError(f"its arrays are of format {version[0]}.{version[1]}")
    return _Head(*readers[version](file))


def _write(path: Path, arrays: zipfile.ZipFile, root: Path, progress: Progress | None) -> None:
    """Check the layout, then write every image as `<split>/<class>/<number>.pgm`."""
    names = [name.removesuffix(".npy") for name in arrays.namelist()]
    splits = [split for split in _SPLITS if f"{split}_images" in names or f"{split}_labels" in names]
    if "train" not in splits:
        raise SourceError(f"{path} has no train_images: it is not in MedMNIST's layout. It has {', '.join(names)}.")
    heads = {split: _checked(path, arrays, names, split) for split in splits}
    total, done = sum(head.shape[0] for head in heads.values()), 0
    archives.check_size(path, total, sum(info.file_size for info in arrays.infolist()))
    width = len(str(max(head.shape[0] for head in heads.values())))
    with archives.making(root) as temporary:
        for split, head in heads.items():
            with arrays.open(f"{split}_labels.npy") as file:
                labels = np.lib.format.read_array(file, allow_pickle=False).reshape(-1).tolist()
            classes = {label: _class(path, label) for label in sorted(set(labels))}
            for name in classes.values():
                (temporary / split / name).mkdir(parents=True)
            colour = head.shape[-1] == 3 and len(head.shape) == 4
            start = f"P{6 if colour else 5}\n{head.shape[2]} {head.shape[1]}\n255\n".encode()
            for number, (image, label) in enumerate(zip(_images(arrays, split), labels, strict=True)):
                file_name = f"{number:0{width}d}.{'ppm' if colour else 'pgm'}"
                (temporary / split / classes[label] / file_name).write_bytes(start + image)
                done += 1
                if progress and done % 256 == 0:
                    progress(done, total, f"unpacking {path.name}")


def _checked(path: Path, arrays: zipfile.ZipFile, names: Sequence[str], split: str) -> _Head:
    """The header of a split's images; its labels' fits them."""
    if f"{split}_images" not in names or f"{split}_labels" not in names:
        raise SourceError(f"{path} has only one of {split}_images and {split}_labels.")
    with arrays.open(f"{split}_images.npy") as of_images, arrays.open(f"{split}_labels.npy") as of_labels:
        images, labels = _head(of_images), _head(of_labels)
    planes = len(images.shape) == 3 or (len(images.shape) == 4 and images.shape[-1] in {1, 3})
    if images.dtype != np.uint8 or not planes:
        raise SourceError(
            f"{path}: {split}_images is {images.dtype} {images.shape}; uint8 (n, h, w) or (n, h, w, 3) is needed."
        )
    if math.prod(labels.shape) != images.shape[0] or not np.issubdtype(labels.dtype, np.integer):
        raise SourceError(
            f"{path}: {split}_labels is {labels.dtype} {labels.shape} for {images.shape[0]} images; one whole number "
            "per image is needed (sets with several labels per image are not read)."
        )
    return images


def _images(arrays: zipfile.ZipFile, split: str) -> Iterator[bytes]:
    """The pixels of each image of a split, read one by one: all of them may be more than the memory holds."""
    member = f"{split}_images.npy"
    with arrays.open(member) as file:
        head = _head(file)
        if not head.fortran:
            size = math.prod(head.shape[1:])
            for _ in range(head.shape[0]):
                if len(image := file.read(size)) < size:
                    raise EOFError(f"{member} is cut off")
                yield image
            if file.read(1):  # to its end, since only there its checksum is compared
                raise ValueError(f"{member} is longer than its header says")
            return
    with arrays.open(member) as file:  # column by column: no image lies in one piece
        yield from (image.tobytes() for image in np.lib.format.read_array(file, allow_pickle=False))


def _class(path: Path, label: int) -> str:
    """The class's name: PneumoniaMNIST's own, else `class 0`, `class 1` and so on."""
    return CLASSES.get(label, f"class {label}") if path.name.lower().startswith(NAME) else f"class {label}"


def _download(size: int, progress: Progress | None) -> Path:
    """The file in the cache, fetched from its record and checked if it is not there."""
    import requests

    file = f"{NAME}.npz" if size == 28 else f"{NAME}_{size}.npz"
    target = cache.folder("downloads") / file
    url = f"{RECORD}/{file}?download=1"
    if not target.exists():
        try:
            with (
                requests.get(url, stream=True, timeout=_TIMEOUT) as answer,
                artifacts.atomic_write(target) as temporary,
            ):
                answer.raise_for_status()
                total, done = int(answer.headers.get("content-length", 0)), 0
                with temporary.open("wb") as sink:
                    for block in answer.iter_content(1 << 18):
                        sink.write(block)
                        done += len(block)
                        if progress:
                            progress(done >> 10, max(total, done) >> 10, f"downloading {file} (KiB)")
                _check(temporary, size, url)
        except requests.RequestException as error:
            raise DataError(
                f"{file} could not be downloaded ({type(error).__name__}). Fetch {url} yourself and put it at {target}."
            ) from None
    _check(target, size, url)
    return target


def _check(path: Path, size: int, url: str) -> None:
    """Refuse a file that is not the record's."""
    with files.open_named(path) as opened:
        found = hashlib.file_digest(opened, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != MD5[size]:
        raise SourceError(
            f"{path} is not the file of the record (md5 {found}, expected {MD5[size]}). Remove it and fetch {url}."
        )
