"""What `DATA` may be, and how each kind becomes a list of image files.

Every kind ends as files below one root with a class each: archives and `.npz` arrays are unpacked into the cache
once, and the phantoms are drawn there. What follows (verification, fingerprint, arrays) knows one path only.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from xraytune.data import spelling
from xraytune.data.problems import Progress
from xraytune.data.sources import archives, demo, folder, label_tables, manifest, medmnist, patient_names
from xraytune.data.sources.label_tables import Finding
from xraytune.data.sources.listing import SITE, Item, Listing
from xraytune.errors import DataError, InputError

KINDS = "a folder, a .zip or .tar.gz archive, an .npz file, a .csv manifest, pneumoniamnist[:64|128|224], or demo"
"""For messages and help texts."""

FOLDERS = "folders"
"""What `--site` says where the folders of the data are sites, `site/class/…`."""

_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,6}$")


def is_demo(data: str | None) -> bool:
    """Whether no data were named, or the demonstration was (and no folder `demo` is there)."""
    return data is None or data == "" or (data == "demo" and not os.path.lexists(data))


def canonical(data: str | None) -> str:
    """The data set's name as a study records it: an absolute path, or the name of a built-in source."""
    if is_demo(data):
        return "demo"
    assert data is not None
    return data if _is_built_in(data) else os.path.realpath(os.path.expanduser(data))  # noqa: PTH111


def _is_built_in(data: str) -> bool:
    """Whether a built-in source is meant: a folder or file of that name in the current folder is meant instead."""
    return medmnist.is_named(data) and not os.path.lexists(data)


def open_source(
    data: str | None,
    *,
    patient_regex: str | None = None,
    finding: Finding | None = None,
    site: str | None = None,
    progress: Progress | None = None,
) -> Listing:
    """List the images of whatever the user named.

    Args:
        data: see `KINDS`; None is the demonstration.
        patient_regex: how a path tells its patient; overrides every other way.
        finding: what is taken from a label file of a public data set.
        site: a manifest's column that names the site, or `FOLDERS`; None: the column `site`, or folders that can be
            nothing else.
        progress: told about downloads and unpacking.

    Returns:
        Items with class, and split, patient and subgroup where they are known.

    Raises:
        DataError: there is nothing of that name, or it is of no kind that is read.
        InputError: `finding` names one that the label file has not, or the data are no such file; they have no such
            `site`.
    """
    finding = finding or Finding()
    listing = _open(data, finding, site, progress)
    if finding.asked and not listing.label:
        raise InputError(
            f"{finding.asked} needs the label file of a public data set ({label_tables.KNOWN}), and "
            f"{canonical(data)} is not one: leave the option out, or give the .csv file as DATA."
        )
    if site is not None and SITE not in listing.columns:
        where = "a column of a manifest" if site != FOLDERS else "folders site/class/…, without train/ or test/"
        raise InputError(f"--site {site} needs {where}, which {canonical(data)} does not have.")
    return _with_patients(listing, patient_regex)


def _open(data: str | None, finding: Finding, site: str | None, progress: Progress | None) -> Listing:
    if is_demo(data):
        return demo.open_phantoms(progress)
    assert data is not None
    if _is_built_in(data):
        return medmnist.open_named(data, progress)
    try:
        path = Path(os.path.realpath(os.path.expanduser(data)))  # noqa: PTH111
        mode = os.stat(path).st_mode  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise DataError(f"There is no {data}. DATA is {KINDS}.") from None
    except OSError as error:
        raise DataError(f"{data} can't be read: {error.strerror}.") from None
    if stat.S_ISDIR(mode):
        listing = folder.read_layout(path, site_folders=site == FOLDERS)
        if medmnist.is_named(data) or data == "demo":
            listing.notes.append(f"{data} is also the name of built-in data: the folder {path} was used.")
        return listing
    if not stat.S_ISREG(mode):
        raise DataError(f"{data} is neither a folder nor a regular file. DATA is {KINDS}.")
    name = path.name.lower()
    readers: tuple[tuple[tuple[str, ...], Callable[[Path, Progress | None], Listing]], ...] = (
        (
            (".zip", ".tar.gz", ".tgz", ".tar"),
            lambda path, told: archives.open_archive(path, told, site_folders=site == FOLDERS),
        ),
        ((".npz",), medmnist.open_arrays),
        (
            (".csv",),
            lambda path, _: label_tables.open_table(path, finding) or manifest.open_manifest(path, site),
        ),
    )
    for suffixes, reader in readers:
        if name.endswith(suffixes):
            return reader(path, progress)
    raise DataError(f"{path}: files of this kind are not read. DATA is {KINDS}.")


def _with_patients(listing: Listing, patient_regex: str | None) -> Listing:
    """Add who is who from the files' names, unless the source says it itself."""
    if patient_regex is not None:
        find = patient_names.by_regex(patient_regex)
        subjects = [find(item.key) for item in listing.items]
        unknown = sum(bool(subject.patient) and not spelling.patient(subject.patient) for subject in subjects)
        subjects = [subject._replace(patient=spelling.patient(subject.patient)) for subject in subjects]
        missed = [item.key for item, subject in zip(listing.items, subjects, strict=True) if not subject.patient]
        if missed and len(missed) == len(listing.items):
            raise DataError(f"--patient-regex {patient_regex!r} matches no file; the first is {missed[0]}.")
        if missed:
            listing.warn(
                "no patient",
                missed[0],
                f"--patient-regex finds no patient in {len(missed)} files"
                + (f" ({unknown} have unknown or similar)" if unknown else "")
                + ", this is the first: each counts as a patient of its own",
            )
    elif listing.patients_known or not listing.items:
        return listing
    else:
        recognised = patient_names.from_names([_SUFFIX.sub("", item.key) for item in listing.items])
        if recognised.warning:
            listing.warn("no patient", listing.items[0].key, recognised.warning)
        if not recognised.subjects:
            return listing
        subjects = list(recognised.subjects)
    listing.items = [_with(item, subject) for item, subject in zip(listing.items, subjects, strict=True)]
    listing.patients_known = True
    return listing


def _with(item: Item, subject: patient_names.Subject) -> Item:
    return replace(item, patient=subject.patient, group=subject.group or item.group)
