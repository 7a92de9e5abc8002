"""The images of a data set: one record an image for whoever looks at one, columns for what is kept of all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

Texts = NDArray[np.object_]
"""Strings, `(n,)`; an equal patient, split or group is one object in memory."""


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
    """Of the whole image, pixels, upright."""


@dataclass(frozen=True, slots=True, eq=False)
class Images(Sequence[ImageRecord]):
    """Images in a fixed order, as columns: an `ImageRecord` is made when one is looked at.

    50,000 records are 25 MB, the same in columns are 5 (beside the keys themselves). Equal where all records are.
    """

    keys: Texts
    labels: NDArray[np.int32]
    splits: Texts
    patients: Texts
    groups: Texts
    digests: NDArray[np.uint8]
    """`(n, 32)`: the sha256 of each file."""

    shapes: NDArray[np.int32]
    """`(n, 2)`: width and height of the whole image, pixels."""

    rows: NDArray[np.int32]
    """Where each stands in the inspection that found it, -1 where none did; no part of a comparison."""

    @classmethod
    def of(cls, records: Iterable[ImageRecord]) -> Images:
        """Columns of these records."""
        listed = list(records)
        texts = [np.array([getattr(r, name) for r in listed], object) for name in ("key", "split", "patient", "group")]
        keys, splits, patients, groups = texts
        return cls(
            keys,
            np.array([r.label for r in listed], np.int32),
            splits,
            patients,
            groups,
            np.frombuffer(bytes.fromhex("".join(r.sha256 for r in listed)), np.uint8).reshape(-1, 32),
            np.array([(r.width, r.height) for r in listed], np.int32).reshape(-1, 2),
            np.full(len(listed), -1, np.int32),
        )

    def where(self, chosen: NDArray[Any]) -> Images:
        """Those that a mask or indices name."""
        return Images(*(column[chosen] for column in self._columns()))

    def __len__(self) -> int:
        return len(self.labels)

    @overload
    def __getitem__(self, index: int) -> ImageRecord: ...
    @overload
    def __getitem__(self, index: slice) -> Images: ...
    def __getitem__(self, index: int | slice) -> ImageRecord | Images:
        if isinstance(index, slice):
            return Images(*(column[index] for column in self._columns()))
        return ImageRecord(
            self.keys[index],
            int(self.labels[index]),
            self.splits[index],
            self.patients[index],
            self.groups[index],
            self.digests[index].tobytes().hex(),
            int(self.shapes[index, 0]),
            int(self.shapes[index, 1]),
        )

    def __iter__(self) -> Iterator[ImageRecord]:
        return (self[index] for index in range(len(self)))

    def __add__(self, other: Images) -> Images:
        return Images(*(np.concatenate(pair) for pair in zip(self._columns(), other._columns(), strict=True)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Images):
            return NotImplemented
        pairs = zip(self._columns()[:-1], other._columns()[:-1], strict=True)
        return all(bool(np.array_equal(mine, theirs)) for mine, theirs in pairs)

    __hash__ = None  # type: ignore[assignment]  # columns are arrays

    def _columns(self) -> list[NDArray[Any]]:
        return [getattr(self, f.name) for f in fields(self)]
