"""A CSV manifest: `path,label`, optionally `patient,split,group`, and any further columns to judge a model by."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from xraytune.data.folder import SPLITS
from xraytune.data.items import Item, Listing
from xraytune.data.problems import Progress
from xraytune.errors import SourceError

if TYPE_CHECKING:
    import pandas as pd

_NEEDED = ("path", "label")
_KNOWN = (*_NEEDED, "patient", "split", "group")


def open_manifest(path: Path, progress: Progress | None = None) -> Listing:
    """List the images that a manifest names; paths are relative to its folder.

    Args:
        path: the `.csv` file.
        progress: not used; a manifest is read at once.

    Raises:
        SourceError: it can't be parsed, or a column or the rows are missing.
    """
    import pandas as pd

    try:
        # the round trip through str keeps patient 007 from becoming 7, and a class NA from becoming missing
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, skipinitialspace=True, encoding="utf-8-sig")
    except (ValueError, OSError) as error:
        raise SourceError(f"{path} can't be read as CSV: {str(error).strip()}.") from None
    frame.columns = [str(name).strip().lower() for name in frame.columns]
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice):
        raise SourceError(f"{path} has two columns {twice[0]!r} (case and spaces don't count). Rename one.")
    missing = [name for name in _NEEDED if name not in frame.columns]
    if missing:
        raise SourceError(
            f"{path} has no column {' and no column '.join(missing)}; it has {', '.join(frame.columns)}. "
            "A manifest needs path,label and may have patient,split,group and columns of your own."
        )
    if frame.empty:
        raise SourceError(f"{path} names no images.")
    listing = Listing(path.parent)
    columns = {name: frame[name].str.strip().tolist() if name in frame else [""] * len(frame) for name in _KNOWN}
    seen: dict[str, int] = {}
    for line, (file, label, patient, split, group) in enumerate(zip(*columns.values(), strict=True), start=2):
        where = f"{path.name}, line {line}"
        key = PurePosixPath(file.replace("\\", "/")).as_posix() if file else ""
        if not file or not label:
            listing.error("manifest", where, f"has no {'path' if not file else 'label'}")
        elif split and split.lower() not in SPLITS:
            listing.error("manifest", where, f"split {split!r} is none of train, val, test")
        elif key in seen:
            listing.error("manifest", where, f"names {key} again (line {seen[key]})")
        else:
            seen[key] = line
            listing.items.append(Item(key, label, SPLITS[split.lower()] if split else "", patient, group))
    _check_splits(listing)
    named = sum(bool(item.patient) for item in listing.items)
    listing.patients_known = named > 0
    if 0 < named < len(listing.items):
        listing.warn(
            "no patient", path.name, f"{len(listing.items) - named} images have no patient: each is taken alone"
        )
    for item in listing.items:
        listing.folders.setdefault(item.split or "train", set()).add(item.label)
    _keep_columns(listing, frame, seen)
    listing.items.sort(key=lambda item: item.key)
    return listing


def _keep_columns(listing: Listing, frame: pd.DataFrame, lines: dict[str, int]) -> None:
    """Columns that mean nothing to us are subgroups of the evaluation (a hospital, a machine, an age)."""
    for name in frame.columns:
        if name and name not in _KNOWN and not name.startswith("unnamed:"):
            values = frame[name].str.strip().tolist()
            one = {value: value for value in values}  # equal values are one object in memory
            listing.columns[name] = {item.key: one[values[lines[item.key] - 2]] for item in listing.items}


def _check_splits(listing: Listing) -> None:
    """Every image has a split or none has; and the classes of val and test are those of train."""
    splits = {item.split for item in listing.items}
    if "" in splits and len(splits) > 1:
        bare = sum(not item.split for item in listing.items)
        listing.error(
            "manifest", "split", f"{bare} images have no split while others have one: fill it in or drop the column"
        )
        return
    if splits <= {""}:
        return
    classes = {split: {item.label for item in listing.items if item.split == split} for split in splits}
    if "train" not in classes:
        listing.error("manifest", "split", "no image is in train")
        return
    for split in sorted(splits - {"train"}):
        for name in sorted(classes["train"] ^ classes[split]):
            where, other = ("train", split) if name in classes["train"] else (split, "train")
            listing.error("class names differ", f"{other}", f"has no image of {name}, {where} has")
