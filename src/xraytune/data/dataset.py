"""The records that name a data set: what every later room sees of it, without a pixel in them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from xraytune import artifacts
from xraytune.data import cache
from xraytune.errors import ArtifactError


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One usable image."""

    key: str
    """Its file's path below the data set's root, with `/`."""

    label: int
    """Index into the data set's classes."""

    split: str
    """train, val or test."""

    patient: str
    """Whom it shows: images with one key must not be parted by any split. The image's own key where nobody knows."""

    group: str
    """A subgroup to evaluate by (bacteria or virus, a hospital …), empty where none is known."""

    sha256: str
    """Of the file."""

    width: int
    height: int
    """Of the whole film, pixels, upright."""


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
    """How a film becomes a square: crop, pad or squash."""

    demonstration: bool
    """Drawn phantoms, no X-rays."""

    grouped_by: str
    """`patient`, or `image` where no patient is known."""

    images: tuple[ImageRecord, ...]
    """Every usable image, sorted by key."""

    train_fingerprint: str
    """sha256 over class, path and content of all that the search may see, and how it is fitted."""

    test_fingerprint: str
    """The same over the sealed test images."""

    notes: tuple[str, ...] = ()
    """What was merged, split, skipped or left out, one sentence each."""

    quarantined: tuple[str, ...] = ()
    """Keys of the files that were left out because something is wrong with them."""

    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Further columns of a manifest, one value an image in the order of `images`, empty where there is none.

    A final model is judged by them (`search.retrain`); no search sees them, and they are no part of a fingerprint.
    """

    def select(self, split: str) -> tuple[ImageRecord, ...]:
        """The images of `train`, `val` or `test`, sorted by key."""
        return tuple(image for image in self.images if image.split == split)

    def subgroups(self, split: str) -> dict[str, tuple[str, ...]]:
        """The values of `columns` for the images of a split, in the order of `select`."""
        chosen = [i for i, image in enumerate(self.images) if image.split == split]
        return {name: tuple(values[i] for i in chosen) for name, values in self.columns.items()}

    def path(self, image: ImageRecord) -> Path:
        """The image's file."""
        return self.root / image.key

    def counts(self, split: str) -> dict[str, int]:
        """Images a class in a split."""
        found = dict.fromkeys(self.classes, 0)
        for image in self.images:
            if image.split == split:
                found[self.classes[image.label]] += 1
        return found


def fingerprint(classes: Iterable[str], fit: str, channels: int, images: Iterable[ImageRecord]) -> str:
    """The sha256 that names a set of images: class, path and content of each, and what is done to them.

    Train and validation images are one set here: how the seed parts them does not change what the data are.
    """
    names = tuple(classes)
    digest = hashlib.sha256("\0".join((*names, fit, str(channels))).encode())
    for image in sorted(images, key=lambda image: image.key):
        digest.update(f"\n{names[image.label]}\0{image.key}\0{image.sha256}".encode())
    return digest.hexdigest()


def remember(dataset: Dataset) -> None:
    """Keep the list behind both fingerprints, so that `difference` can name a file later."""
    for print_, splits in ((dataset.train_fingerprint, ("train", "val")), (dataset.test_fingerprint, ("test",))):
        path = cache.folder("fingerprints") / f"{print_}.json"
        if not path.exists():
            rows = [[dataset.classes[i.label], i.key, i.sha256] for i in dataset.images if i.split in splits]
            head = {"classes": dataset.classes, "fit": dataset.fit, "channels": dataset.channels}
            artifacts.write_json(path, head | {"images": rows})


def difference(dataset: Dataset, recorded: str, *, test: bool = False) -> str | None:
    """Say how the data differ from those that a study was made with, naming the first file.

    Args:
        dataset: the data as they are now.
        recorded: the study's train fingerprint (or its test fingerprint).
        test: whether `recorded` is the test fingerprint.

    Returns:
        None if they are the same, else one sentence.
    """
    return compare(recorded, dataset.test_fingerprint if test else dataset.train_fingerprint, test=test)


def compare(recorded: str, now: str, *, test: bool = False) -> str | None:
    """Like `difference`, for two fingerprints of data that were loaded on this machine."""
    if now == recorded:
        return None
    what = "test images" if test else "training images"
    try:
        then, present = (artifacts.read_json(cache.folder("fingerprints") / f"{name}.json") for name in (recorded, now))
    except ArtifactError:  # the cache was emptied, or the study was made on another machine
        return f"The {what} are not those of the study (fingerprint {now[:12]}, recorded {recorded[:12]})."
    for name in ("fit", "channels", "classes"):
        if then[name] != present[name]:
            return f"The study was made with {name} {then[name]}, now it is {present[name]}."
    old, new = ({key: (label, content) for label, key, content in lists["images"]} for lists in (then, present))
    changed = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    key = changed[0]
    if key not in new:
        how = "is gone from"
    elif key not in old:
        how = "is new in"
    elif old[key][0] != new[key][0]:
        how = f"was {old[key][0]} and is now {new[key][0]} in"
    else:
        how = "has other content in"
    more = f" ({len(changed)} files differ in all)" if len(changed) > 1 else ""
    return f"{key} {how} the {what}{more}."
