"""The layout of a folder of class folders, Kaggle's (`train/ val/ test/`) or flat.

Only names are looked at here; files are opened by inspection.
"""

from __future__ import annotations

import os
from pathlib import Path

from xraytune.data.dicom_file import HEAD, is_dicom
from xraytune.data.items import MARKER, Item, Listing
from xraytune.data.problems import Problem

SPLITS = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
"""Folder names that are splits."""

SUFFIXES = frozenset({".jpeg", ".jpg", ".png", ".pgm", ".ppm", ".dcm", ".dicom"})
"""Files that are read as images."""

FOREIGN = frozenset(
    {
        ".avif", ".bmp", ".gif", ".gz", ".heic", ".heif", ".j2k", ".jp2", ".jxl", ".mha", ".mhd", ".nii", ".nrrd",
        ".svg", ".tif", ".tiff", ".webp",
    }
)  # fmt: skip
"""Image files that are not read: said, never silently left out (`.gz`: of NIfTI)."""

_LITTER = frozenset({"__macosx", ".ds_store", "thumbs.db", "desktop.ini", ".git", ".ipynb_checkpoints", "@eadir"})


def read_layout(root: Path) -> Listing:
    """List the images of a folder with their classes and splits.

    A folder that holds nothing but one other folder is looked through, as archives have them. Beside `train`, folders
    that are no split are left out and said: Kaggle's archive carries the whole set a second time.

    Args:
        root: the data set's folder.

    Returns:
        The items sorted by key, with what is wrong with the layout.
    """
    root, litter = _descend(root)
    listing = Listing(root, demonstration=(root / MARKER).exists(), litter=litter)
    folders, files = _entries(root, listing, "")
    splits = {name: SPLITS[name.lower()] for name in folders if name.lower() in SPLITS}
    if "train" in splits.values():
        for name in sorted(set(folders) - set(splits)):
            listing.warn("skipped", f"{name}/", "is no split folder (train, val, test): left out")
        for name, split in sorted(splits.items(), key=lambda pair: (pair[1] != "train", pair)):
            _read_classes(listing, root / name, f"{name}/", split)
    elif splits:
        listing.error("no training set", root.name, f"has {', '.join(sorted(splits))} but no `train` folder")
    else:
        _read_classes(listing, root, "", "", folders)
    _report_files(listing, "", files)
    _compare_classes(listing)
    listing.items.sort(key=lambda item: item.key)
    return listing


def _descend(root: Path) -> tuple[Path, list[str]]:
    """The folder itself, or the only one in it, as archives wrap them (at most three deep); litter beside that one."""
    litter: list[str] = []
    for _ in range(3):
        entries = list(root.iterdir())
        inner = [e for e in entries if not _is_litter(e.name)]
        names = {e.name.lower() for e in inner}
        if len(inner) != 1 or not inner[0].is_dir() or names & set(SPLITS):
            break
        if not any(e.is_dir() for e in inner[0].iterdir()):
            break  # one class folder with its images: the message should say so
        litter += sorted(_shown(e.name) for e in entries if e != inner[0])
        root = inner[0]
    return root, litter


def _is_litter(name: str) -> bool:
    return name.lower() in _LITTER or name.startswith(".")


def _entries(folder: Path, listing: Listing, prefix: str) -> tuple[list[str], list[str]]:
    """Names of folders and files, litter left out and said."""
    folders, files = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if _is_litter(entry.name):
                listing.litter.append(prefix + _shown(entry.name))
            elif _shown(entry.name) != entry.name:
                listing.error("name", prefix + _shown(entry.name), "its name is no UTF-8: rename it")
            elif entry.is_dir():
                folders.append(entry.name)
            else:
                files.append(entry.name)
    return sorted(folders), files


def _shown(name: str) -> str:
    """A name as it can be printed: bytes that are no UTF-8 replaced."""
    return name.encode(errors="surrogateescape").decode(errors="replace")


def _read_classes(listing: Listing, folder: Path, prefix: str, split: str, names: list[str] | None = None) -> None:
    """Add every image of every class folder below `folder`."""
    if names is None:
        names, files = _entries(folder, listing, prefix)
        _report_files(listing, prefix, files)
    if not names:
        listing.error("no classes", prefix or str(folder), "has no class folders: put the images of each class in one")
    for name in names:
        inner, files = _entries(folder / name, listing, f"{prefix}{name}/")
        keys = []
        for file in files:
            suffix = os.path.splitext(file)[1].lower()  # noqa: PTH122 - a Path a file costs 50,000 files a second
            if suffix in SUFFIXES or (not suffix and _is_dicom(folder / name / file)):
                keys.append(f"{prefix}{name}/{file}")
            elif suffix in FOREIGN:
                key = f"{prefix}{name}/{file}"
                listing.problems.append(
                    Problem("format", key, f"{suffix} images are not read: save it as PNG", files=(key,))
                )
            else:
                listing.warn("skipped", f"{prefix}{name}/{file}", "is no image: left out")
        for stray in inner:
            listing.error(
                "stray folder",
                f"{prefix}{name}/{stray}/",
                "lies inside a class folder: move its images up or take it out",
            )
        if not keys and not inner:
            listing.error("empty class", f"{prefix}{name}/", "has no image: add some or remove the folder")
        listing.items += [Item(key, name, split) for key in keys]
        listing.folders.setdefault(split, set()).add(name)


def _report_files(listing: Listing, prefix: str, files: list[str]) -> None:
    """Images beside class folders have no class; other files are of no concern (a README, a licence)."""
    images = sorted(f for f in files if os.path.splitext(f)[1].lower() in SUFFIXES)  # noqa: PTH122
    if images:
        more = f" and {len(images) - 1} more" if len(images) > 1 else ""
        listing.error("no class", prefix + images[0] + more, "images outside any class folder: move them into one")


def _compare_classes(listing: Listing) -> None:
    """Every split must have the classes of train, neither more nor other."""
    train = listing.folders.get("train", set())
    for split in ("val", "test"):
        if split not in listing.folders or not train:
            continue
        here = listing.folders[split]
        for name in sorted(here - train):
            listing.error(
                "class names differ", f"{split}/{name}", f"is no class of train (which has {', '.join(sorted(train))})"
            )
        for name in sorted(train - here):
            message = f"train has a class {name}, {split} has none: add the folder {split}/{name} with its images"
            listing.error("class names differ", f"{split}/", message)


def _is_dicom(path: Path) -> bool:
    """Whether a file without a suffix carries DICOM's mark."""
    try:
        with path.open("rb") as file:
            return is_dicom(file.read(HEAD))
    except OSError:
        return False
