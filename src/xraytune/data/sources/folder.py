"""The layout of a folder of class folders: `train/ val/ test/` with one a class, class folders alone, or `site/class`.

Only names and, where a name does not say that a file is an image, first bytes are looked at here; files are read by
inspection. What many files have in common is one problem.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from pathlib import Path

from xraytune.data import spelling
from xraytune.data.decoding import image_files
from xraytune.data.decoding.image_files import Sort
from xraytune.data.problems import Problem, some
from xraytune.data.sources.listing import MARKER, SITE, Item, Listing
from xraytune.files import NotRegularError

SPLITS = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
"""Folder names that are splits."""

_LITTER = frozenset({"__macosx", ".ds_store", "thumbs.db", "desktop.ini", ".git", ".ipynb_checkpoints", "@eadir"})
_NEARLY_SPLIT = re.compile(
    r"(train|training|val|valid|validation|test|testing)[ _-]*(set|data|images?|imgs?|split)?s?\d*$"
)
_IMAGES = frozenset({"images", "image", "imgs", "img"})
_MASKS = frozenset({"masks", "mask", "lung masks", "lung_masks", "segmentations"})
_TABLES = (".csv", ".tsv", ".xlsx", ".xls")
_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".7z", ".rar", ".tar.bz2", ".tar.xz")


def read_layout(root: Path, name: str | None = None, *, site_folders: bool = False) -> Listing:
    """List the images of a folder with their classes and splits.

    A folder that holds nothing but one other folder is looked through, as archives have them. Beside `train`, folders
    that are no split are left out and said: Kaggle's archive carries the whole set a second time.

    Args:
        root: the data set's folder.
        name: what messages call it; its path by default.
        site_folders: whether its folders are sites, `site/class/…`. They are taken for sites without it where all hold
            the same class folders, one of these names a finding, and none of the sites' names does.

    Returns:
        The items sorted by key, with what is wrong with the layout.
    """
    name = name or str(root)
    whole = root
    root, litter = _descend(root)
    if site_folders and not any(path.is_dir() for path in root.glob("*/*")):
        root, litter = whole, []  # one site alone, which looked like a folder around the classes
    listing = Listing(root, demonstration=(root / MARKER).exists(), litter=litter)
    reader = _Reader(listing, name)
    folders, files = reader.entries("")
    if listing.problems and not folders and not files:
        return listing  # it can't be listed, which was said
    splits = {folder: SPLITS[folder.lower()] for folder in folders if folder.lower() in SPLITS}
    nearly = [f for f in folders if f.lower() not in SPLITS and _NEARLY_SPLIT.match(f.lower())]
    listing.hint = _hint(folders, files, name)
    if twice := {split for split in splits.values() if list(splits.values()).count(split) > 1}:
        what = f"several folders are the same split ({', '.join(sorted(twice))}): merge them or remove one"
        listing.error("split name", some([f"{folder}/" for folder in splits if splits[folder] in twice], 3), what)
    for folder in nearly:
        split = SPLITS[_NEARLY_SPLIT.match(folder.lower())[1]]  # type: ignore[index]
        also = f"; {listing.hint}" if listing.hint else ""
        listing.error("split name", f"{folder}/", f"looks like a split: rename it to {split}{also}")
    if nearly and "train" not in splits.values():
        pass  # what else is there can't be told
    elif "train" in splits.values():
        reader.left_out([f"{folder}/" for folder in sorted(set(folders) - set(splits) - set(nearly))])
        for folder, split in sorted(splits.items(), key=lambda pair: (pair[1] != "train", pair)):
            reader.split(folder, split)
    elif splits:
        listing.error("no training set", name, f"has {', '.join(sorted(splits))} but no `train` folder")
    elif folders and (site_folders or reader.are_sites(folders)):
        reader.sites(folders)
    elif not folders:
        what = "has no class folders: put the images of each class in one"
        listing.error("no classes", name, f"{what}{'; ' + listing.hint if listing.hint else ''}")
    else:
        reader.classes("", "", folders)
    reader.beside_classes("", files)
    reader.report()
    _compare_classes(listing)
    listing.items.sort(key=lambda item: item.key)
    return listing


def _hint(folders: list[str], files: list[str], name: str) -> str:
    """What a folder without two classes may be instead."""
    if archives := sorted(f for f in files if f.lower().endswith(_ARCHIVES)):
        more = f" and {len(archives) - 1} more archives" if len(archives) > 1 else ""
        return f"{Path(name).name} contains {archives[0]}{more}: unpack it and give that as DATA"
    if folders and (tables := sorted(f for f in files if f.lower().endswith(_TABLES))):
        return (
            f"the classes may be in the table {tables[0]} beside {folders[0]}/: give the table as DATA, with --label "
            "if it is of a public data set, else as a manifest (a .csv with the columns path,label)"
        )
    return ""


def _descend(root: Path) -> tuple[Path, list[str]]:
    """The folder itself, or the only one in it, as archives wrap them (at most three deep); litter beside that one."""
    litter: list[str] = []
    for _ in range(3):
        try:
            entries = list(root.iterdir())
            inner = [e for e in entries if not _is_litter(e.name)]
            names = {e.name.lower() for e in inner}
            if len(inner) != 1 or not inner[0].is_dir() or names & set(SPLITS):
                break
            if not any(e.is_dir() or e.name.lower().endswith(_ARCHIVES) for e in inner[0].iterdir()):
                break  # one class folder with its images: the message should say so
        except OSError:
            break  # said when it is listed
        litter += sorted(_shown(e.name) for e in entries if e != inner[0])
        root = inner[0]
    return root, litter


def _is_litter(name: str) -> bool:
    return name.lower() in _LITTER or name.startswith(".")


def _shown(name: str) -> str:
    """A name as it can be printed: bytes that are no UTF-8 replaced."""
    return name.encode(errors="surrogateescape").decode(errors="replace")


class _Reader:
    """Fills a listing; what is alike is collected and said once, by `report`."""

    def __init__(self, listing: Listing, name: str) -> None:
        self._listing, self._name = listing, name
        self._left_out: dict[str, list[str]] = defaultdict(list)  # kind → names
        self._foreign: dict[str, list[str]] = defaultdict(list)
        self._stray: list[str] = []
        self._masks: list[str] = []

    def entries(self, prefix: str) -> tuple[list[str], list[str]]:
        """Names of folders and files in a folder of the data set; litter is left out, what can't be listed is said."""
        listing, folders, files = self._listing, list[str](), list[str]()
        try:
            with os.scandir(listing.root / prefix) as found:
                for entry in found:
                    if _is_litter(entry.name):
                        listing.litter.append(prefix + _shown(entry.name))
                    elif _shown(entry.name) != entry.name:
                        listing.error("name", prefix + _shown(entry.name), "its name is not UTF-8: rename it")
                    elif _is_folder(entry):
                        folders.append(entry.name)
                    else:
                        files.append(entry.name)
        except OSError as error:
            listing.error("unreadable", prefix or self._name, f"may not be read: {error.strerror}")
        return sorted(folders), files

    def split(self, folder: str, split: str) -> None:
        """Add the classes of a split's folder."""
        prefix, before = f"{folder}/", len(self._listing.problems)
        names, files = self.entries(prefix)
        if len(self._listing.problems) > before and not names and not files:
            return  # it can't be listed, which was said
        again = [name for name in names if SPLITS.get(name.lower()) == split]
        if again and len(names) == len(again):
            what = f"contains another folder {again[0]}/: move its class folders up into {prefix}"
            self._listing.error("nested split", prefix, what)
        elif not names and files and split == "test":
            what = (
                "has images without class folders, so it can't be a test set: leave this folder out (a test set is "
                "then split off the training images), and classify its images with search.predict"
            )
            self._listing.error("no class", prefix, what)
        elif not names:
            self._listing.error("no classes", prefix, "has no class folders: put the images of each class in one")
            self._listing.folders.setdefault(split, set())
        else:
            self.beside_classes(prefix, files)
            self.classes(prefix, split, names)

    def classes(self, prefix: str, split: str, names: list[str]) -> None:
        """Add every image of every class folder."""
        for name in names:
            self._class(prefix, split, name)
            self._listing.folders.setdefault(split, set()).add(name)

    def are_sites(self, folders: list[str]) -> bool:
        """Whether several folders all hold the same class folders and no files, and only class names name findings."""
        inner = [self._names_in(folder) for folder in folders]
        names = inner[0]
        classes = {name for name in names if name.lower() not in {*SPLITS, *_IMAGES, *_MASKS}}
        return (
            len(folders) > 1
            and len(names) > 1
            and classes == names
            and all(one == names for one in inner)
            and any(spelling.says_positive(name) for name in names)
            and not any(spelling.says_positive(folder) for folder in folders)
        )

    def _names_in(self, folder: str) -> set[str]:
        """The folders in a folder; nothing where it holds files of its own or can't be listed."""
        try:
            with os.scandir(self._listing.root / folder) as found:
                inner = [entry for entry in found if not _is_litter(entry.name)]
                return {entry.name for entry in inner} if all(map(_is_folder, inner)) else set()
        except OSError:
            return set()

    def sites(self, folders: list[str]) -> None:
        """Add every class folder of every site, and keep the site of each image."""
        of: dict[str, str] = {}
        for site in folders:
            before = len(self._listing.items)
            names, files = self.entries(f"{site}/")
            self.beside_classes(f"{site}/", files)
            if not names and not any(p.where == f"{site}/" for p in self._listing.problems):
                self._listing.error("no classes", f"{site}/", "is a site without class folders: add them or remove it")
            self.classes(f"{site}/", "", names)
            of |= {item.key: site for item in self._listing.items[before:]}
        self._listing.columns[SITE] = of
        self._listing.notes.append(f"The folders are sites with class folders: {', '.join(folders)}.")

    def _class(self, prefix: str, split: str, name: str) -> None:
        inner, files = self.entries(below := f"{prefix}{name}/")
        holders = [i for i in inner if i.lower() in _IMAGES]
        masks = [i for i in inner if i.lower() in _MASKS]
        keys = self._images(below, files)
        if len(holders) == 1 and not keys:  # CLASS/images and CLASS/masks, as Kaggle's COVID-19 Radiography Database
            below += f"{holders[0]}/"
            deeper, files = self.entries(below)
            keys = self._images(below, files)
            self._masks += [f"{prefix}{name}/{mask}/" for mask in masks]
            self._stray += [f"{below}{stray}/" for stray in deeper]
            inner = [i for i in inner if i not in holders and i not in masks]
        self._stray += [f"{prefix}{name}/{stray}/" for stray in inner]
        if not keys and not inner and not any(p.where == below for p in self._listing.problems):
            self._listing.error("empty class", f"{prefix}{name}/", "has no image: add some or remove the folder")
        self._listing.items += [Item(key, name, split) for key in keys]

    def _images(self, prefix: str, files: list[str]) -> list[str]:
        """The keys of those that are images; the others are remembered for `report`."""
        keys, root = [], f"{self._listing.root}/{prefix}"
        for file in files:
            try:
                sort, kind = image_files.judge(root + file)
            except OSError as error:
                if isinstance(error, NotRegularError):
                    sort, kind = Sort.OTHER, "no regular file"
                else:
                    sort, kind = Sort.IMAGE, ""  # why it can't be opened is said when it is read
            if sort is Sort.IMAGE:
                keys.append(prefix + file)
            elif sort is Sort.FOREIGN:
                self._foreign[kind].append(prefix + file)
            else:
                self._left_out[kind].append(prefix + file)
        return keys

    def beside_classes(self, prefix: str, files: list[str]) -> None:
        """Images beside class folders have no class; other files are of no concern (a README, a licence)."""
        images, broken = [], []
        for file in sorted(files):
            try:
                if image_files.judge(self._listing.root / prefix / file).sort is not Sort.OTHER:
                    images.append(prefix + file)
            except NotRegularError:
                pass
            except OSError as error:
                broken.append((prefix + file, f"can't be opened: {error.strerror}"))
        if images:
            what = "images outside any class folder: move them into one"
            self._listing.error("no class", some(images), what)
        for where, why in broken:  # a class folder that is a link to nowhere, or to itself
            self._listing.error("unreadable", where, why)

    def left_out(self, folders: list[str]) -> None:
        """Folders beside the splits."""
        if folders:
            self._listing.warn("skipped", some(folders), "not a split folder (train, val, test): left out")

    def report(self) -> None:
        """Say what was collected, one problem for what is alike."""
        listing = self._listing
        for kind, names in sorted(self._foreign.items()):
            keys = tuple(sorted(names))
            suffix = kind.removeprefix("a ").removesuffix(" image") if kind.startswith("a .") else ""
            what = f"{suffix} images are not read: save it as PNG" if suffix else f"{kind} is not read: save it as PNG"
            listing.problems.append(Problem("format", some(keys), what, files=keys))
        if self._left_out:
            names = sorted(name for found in self._left_out.values() for name in found)
            kinds = image_files.counted(kind for kind, found in self._left_out.items() for _ in found)
            what = f"not images: left out. By content: {kinds}"
            listing.warn("skipped", some(names), what)
        if self._masks:
            listing.warn("skipped", some(sorted(self._masks)), "masks, not radiographs: left out")
        if self._stray:
            what = "is inside a class folder: move its images up or remove it"
            what += f"; {listing.hint}" if listing.hint else "; or name the images and their classes in a manifest"
            listing.error("stray folder", some(sorted(self._stray)), what)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder or a link to one; what can't be told (a link to itself) is taken for a file and read."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _compare_classes(listing: Listing) -> None:
    """Every split must have the classes of train, neither more nor other."""
    train = listing.folders.get("train", set())
    for split in ("val", "test"):
        if split not in listing.folders or not train:
            continue
        here = listing.folders[split]
        if not here:
            continue  # it has no class folders, which was said
        if extra := sorted(here - train):
            what = f"is not a class of train (which has {', '.join(sorted(train))})"
            listing.error("class names differ", some([f"{split}/{name}" for name in extra]), what)
        if missing := sorted(train - here):
            first = missing[0]
            also = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            message = (
                f"train has a class {first}{also}, {split} has none: add the folder {split}/{first} with its images"
            )
            listing.error("class names differ", f"{split}/", message)
