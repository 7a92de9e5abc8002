"""The records that name a data set: what every later room sees of it, without a pixel in them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xraytune import artifacts
from xraytune.data import cache
from xraytune.data.decoding.decoded_images import DecodedImages
from xraytune.data.decoding.inspection import Inspection
from xraytune.data.images import ImageRecord, Images
from xraytune.data.sources.listing import SITE
from xraytune.errors import FOREIGN

_LISTS = "fingerprints"
"""The folder of lists, in the cache and in a study's folder."""


@dataclass(frozen=True)
class Dataset:
    """A verified, split data set. Picklable; holds no pixels."""

    name: str
    """What the user called it: an absolute path, `demo`, `pneumoniamnist:64` …"""

    root: Path
    """The folder that keys are relative to."""

    classes: tuple[str, ...]
    """Class names in alphabetical order; labels index them."""

    positive: int | None
    """Index of the positive class; None for three classes or more where none was named."""

    channels: int
    """1 for gray, 3 for RGB."""

    fit: str
    """How an image becomes a square: crop, pad or squash."""

    demonstration: bool
    """Synthetic images, no X-rays."""

    grouped_by: str
    """`patient`, or `image` where no patient is known."""

    images: Images
    """Every usable image, sorted by key."""

    train_fingerprint: str
    """sha256 over class, path and content of all that the search may see, and how it is fitted."""

    test_fingerprint: str
    """The same over the sealed test images."""

    notes: tuple[str, ...] = ()
    """What was merged, split, skipped or left out, one sentence each."""

    quarantined: tuple[str, ...] = ()
    """Keys of the files that were left out because something is wrong with them."""

    has_own_test: bool = True
    """Whether the source has a test set; else one was split off it."""

    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Further columns of a manifest, one value an image in the order of `images`, empty where there is none.

    A final model is judged by them (`search.retrain`). No search sees them and they are no part of a fingerprint, but
    for the column `site` where there are `sites`.
    """

    sites: tuple[str, ...] = ()
    """The sites that are held out in turn for validation, in alphabetical order; empty where patients are."""

    decoded: DecodedImages | None = field(default=None, compare=False, repr=False)
    """Where this process decoded the images for the first time: their images, until the arrays are made."""

    inspection: Inspection | None = field(default=None, compare=False, repr=False)
    """What every listed file turned out to be, where this process verified them: the audit measures no file again."""

    def select(self, split: str) -> Images:
        """The images of `train`, `val` or `test`, sorted by key."""
        return self.images.where(self.images.splits == split)

    def subgroups(self, split: str) -> dict[str, tuple[str, ...]]:
        """The values of `columns` for the images of a split, in the order of `select`."""
        chosen = np.flatnonzero(self.images.splits == split).tolist()
        return {name: tuple(values[i] for i in chosen) for name, values in self.columns.items()}

    def sites_of(self, *splits: str) -> tuple[str, ...]:
        """The site of each image of some splits, in the order of `select`, split after split."""
        return tuple(site for split in splits for site in self.subgroups(split)[SITE])

    def path(self, image: ImageRecord) -> Path:
        """The image's file."""
        return self.root / image.key

    def counts(self, split: str) -> dict[str, int]:
        """Images a class in a split."""
        labels = self.images.labels[self.images.splits == split]
        return dict(zip(self.classes, np.bincount(labels, minlength=len(self.classes)).tolist(), strict=True))

    def __getstate__(self) -> dict[str, Any]:
        """What travels to workers: no images, which are an open file, and nothing of the files that were looked at."""
        return self.__dict__ | {"decoded": None, "inspection": None}


def fingerprint(
    classes: Iterable[str],
    fit: str,
    channels: int,
    images: Iterable[ImageRecord],
    sites: Mapping[str, str] | None = None,
) -> str:
    """The sha256 that names a set of images: class, path and content of each, and what is done to them.

    Train and validation images are one set here: how the seed parts them does not change what the data are.

    Args:
        classes: their names.
        fit: how an image becomes a square.
        channels: 1 or 3.
        images: sorted by key.
        sites: of each image by its key, where they are held out in turn.
    """
    names = tuple(classes)
    digest = hashlib.sha256("\0".join((*names, fit, str(channels))).encode())
    for image in images:
        site = f"\0{sites[image.key]}" if sites else ""
        digest.update(f"\n{names[image.label]}\0{image.key}\0{image.sha256}{site}".encode())
    return digest.hexdigest()


def remember(dataset: Dataset) -> None:
    """Keep the list behind both fingerprints, so that `difference` can name a file and `recorded` know a copy later."""
    hashes: dict[str, str] = {}
    sites = dict(zip(dataset.images.keys, dataset.columns[SITE], strict=True)) if dataset.sites else {}
    if dataset.inspection is not None:
        found = dataset.inspection.rows["phash"][dataset.images.rows]
        hashes = {key: f"{int(value):016x}" for key, value in zip(dataset.images.keys, found, strict=True)}
    for print_, splits in ((dataset.train_fingerprint, ("train", "val")), (dataset.test_fingerprint, ("test",))):
        path = _list(print_)
        if path.exists():
            continue
        head = {"classes": dataset.classes, "fit": dataset.fit, "channels": dataset.channels}
        with artifacts.atomic_write(path) as temporary, temporary.open("w", encoding="utf-8") as file:
            file.write(json.dumps(head) + "\n")
            for image in dataset.images:
                if image.split in splits:
                    about = [dataset.classes[image.label], image.sha256, hashes.get(image.key, "")]
                    about += [sites[image.key]] if sites and image.split != "test" else []
                    file.write(json.dumps([image.key, *about]) + "\n")


def keep_lists(fingerprints: Iterable[str], folder: Path) -> None:
    """Copy the lists behind fingerprints out of the cache, which may be emptied at any time, into a study's folder.

    Args:
        fingerprints: of data that were loaded on this machine; one whose list is not there is passed over.
        folder: the study's; they lie in `fingerprints/` below it, for `difference` and `compare`.
    """
    for print_ in fingerprints:
        with suppress(FileNotFoundError):
            content = _list(print_).read_bytes()
            (folder / _LISTS).mkdir(parents=True, exist_ok=True)
            with artifacts.atomic_write(folder / _LISTS / f"{print_}.jsonl") as temporary:
                temporary.write_bytes(content)


def _recall(fingerprint: str, kept: Path | None = None) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """What `remember` or `keep_lists` kept: how the images were read, and class and content by key.

    Raises:
        OSError: there is no such list.
        ValueError: it was damaged; or another of `FOREIGN`.
    """
    path = kept / _LISTS / f"{fingerprint}.jsonl" if kept else _list(fingerprint)
    if not path.is_file():
        path = _list(fingerprint)
    with path.open(encoding="utf-8") as file:
        head = json.loads(next(file, ""))
        images = {key: [str(part) for part in about] for key, *about in map(json.loads, file)}
    missing = {"fit", "channels", "classes"} - head.keys()
    if missing or any(len(about) < 2 for about in images.values()):
        raise ValueError("it is no list of images")
    return head, images


@dataclass(frozen=True)
class Recorded:
    """The contents of the images behind a fingerprint."""

    digests: frozenset[str]
    """The sha256 of each file."""

    hashes: NDArray[np.uint64]
    """Perceptual hashes, `(n,)`."""


def recorded(fingerprint: str, kept: Path | None = None) -> Recorded | None:
    """What images a study was made with, where its list is still known; None where it is not.

    Args:
        fingerprint: the study's train or test fingerprint.
        kept: the study's folder, as in `difference`.
    """
    try:
        _, images = _recall(fingerprint, kept)
        hashes = [int(more[0], 16) for _, _, *more in images.values() if more and more[0]]
    except (OSError, *FOREIGN):
        return None
    return Recorded(frozenset(about[1] for about in images.values()), np.array(hashes, np.uint64))


def _list(fingerprint: str) -> Path:
    return cache.folder(_LISTS) / f"{fingerprint}.jsonl"


def difference(dataset: Dataset, recorded: str, *, test: bool = False, kept: Path | None = None) -> str | None:
    """Say how the data differ from those that a study was made with, naming the first file.

    Args:
        dataset: the data as they are now.
        recorded: the study's train fingerprint (or its test fingerprint).
        test: whether `recorded` is the test fingerprint.
        kept: the study's folder, where `keep_lists` kept what the cache may no longer have.

    Returns:
        None if they are the same, else one sentence.
    """
    now = dataset.test_fingerprint if test else dataset.train_fingerprint
    return compare(recorded, now, test=test, kept=kept)


def compare(recorded: str, now: str, *, test: bool = False, kept: Path | None = None) -> str | None:
    """Like `difference`, for two fingerprints; `now` is of data that were loaded on this machine."""
    if now == recorded:
        return None
    what = "test images" if test else "training images"
    try:
        (then, old), (present, new) = _recall(recorded, kept), _recall(now)
    except (OSError, *FOREIGN):  # the lists are gone from both places
        return f"The {what} are not those of the study (fingerprint {now[:12]}, recorded {recorded[:12]})."
    for name in ("fit", "channels", "classes"):
        if then[name] != present[name]:
            return f"The study was made with {name} {then[name]}; now {name} is {present[name]}."
    changed = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    if not changed:  # a list was changed by hand
        return f"The {what} are not those of the study (fingerprint {now[:12]}, recorded {recorded[:12]})."
    key = changed[0]
    if key not in new:
        how = "is missing in"
    elif key not in old:
        how = "is new in"
    elif old[key][0] != new[key][0]:
        how = f"was {old[key][0]} and is now {new[key][0]} in"
    elif old[key][1] == new[key][1]:
        how = "has a different site in"
    else:
        how = "has different content in"
    more = f" ({len(changed)} files differ in total)" if len(changed) > 1 else ""
    return f"{key} {how} the {what}{more}."
