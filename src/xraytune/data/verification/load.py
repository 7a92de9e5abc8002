"""From what the user named to a data set that can be trusted, or to the list of everything that is wrong with it.

Called through `xraytune.data.load` by every command, and by `python -m search.verify`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from xraytune.data import spelling, split
from xraytune.data.dataset import Dataset, fingerprint, remember
from xraytune.data.decoding.inspection import Inspection, inspect
from xraytune.data.decoding.reading import FITS
from xraytune.data.images import Images, Texts
from xraytune.data.problems import Problem, Progress, table
from xraytune.data.sources import open_source
from xraytune.data.sources.label_tables import Finding
from xraytune.data.sources.listing import Item, Listing
from xraytune.data.sources.patient_names import KNOWN_SHARE
from xraytune.data.verification import by_site, checks
from xraytune.errors import DataError, InputError

TINY_VALIDATION = 30
"""Images of the smallest class below which a given validation set is merged into training: with 30 positives the
95 % interval of a sensitivity of 0.9 is 20 points wide; a search would follow chance."""


VALIDATE_ON = ("patient", "site")
"""What a search validates on: patients that it was not trained on, or one site after another."""

_MOST_SAID = 8  # warnings among a data set's notes


@dataclass(frozen=True)
class Examination:
    """What verification found."""

    name: str
    root: Path
    problems: tuple[Problem, ...]
    """Errors and warnings. Those that quarantine cured are warnings."""

    dataset: Dataset | None
    """The data set, None where there are errors."""

    inspection: Inspection
    """What every listed file turned out to be."""

    listed: int
    """Files that were listed as images."""

    notes: tuple[str, ...]
    """What was done and found that is neither: what was merged, split, left out, cleared."""

    @property
    def errors(self) -> tuple[Problem, ...]:
        """What keeps the data from being used."""
        return tuple(problem for problem in self.problems if not problem.warning)

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """What one should know."""
        return tuple(problem for problem in self.problems if problem.warning)


class Options(TypedDict, total=False):
    """How data are read; the same for `load` and `examine`."""

    rename: Mapping[str, str]
    """Other names of classes, by the names that the source has."""

    fit: str
    """How an image becomes a square: crop (the default), pad or squash."""

    positive: str | None
    """The positive class's name; by default the one of two whose name says so."""

    channels: int
    """1 for gray (the default), 3 for RGB."""

    seed: int
    """Deals the patients to training and validation (and test, where the data have none); 0 by default."""

    patient_regex: str | None
    """How a path below the root tells its patient."""

    label: str | None
    """The finding that is taken from a label file of a public data set, by name."""

    negative: str | None
    """What images without it must have in that file (`No Finding`); by default, not the finding."""

    uncertain: str
    """What an uncertain label there counts as: ignore (left out, the default), positive or negative."""

    site: str | None
    """Where the site of an image is: a manifest's column, or `folders`; None: the column `site`, or clear folders."""

    validate_on: str
    """What a model is validated on: `patient`s (the default), or one `site` after another."""

    quarantine: bool
    """Leave bad files out and record which, instead of refusing the data."""

    rehash: bool
    """Read every file, also those that the kernel says are unchanged since they were last read."""

    progress: Progress | None
    """`progress(done, total, what)`."""


@dataclass
class _Draft:
    """The data set in the making; parallel lists would drift apart."""

    items: list[Item]
    rows: NDArray[np.int64]
    """Of each item in the inspection."""

    notes: list[str]

    def drop(self, files: Iterable[str]) -> None:
        """Leave the items of these keys out."""
        if gone := set(files):
            kept = [index for index, item in enumerate(self.items) if item.key not in gone]
            self.items, self.rows = [self.items[index] for index in kept], self.rows[kept]


def load(data: str | None, **options: Unpack[Options]) -> Dataset:
    """Open, verify completely, and split by patient.

    Args:
        data: a folder, archive, `.npz`, manifest, built-in name; None or `demo` for the phantoms.
        options: see `Options`.

    Raises:
        DataError: there are errors; the message holds all of them.
        InputError: an option is out of its range.
    """
    found = examine(data, **options)
    if found.dataset is None:
        raise DataError(refusal(found))
    return found.dataset


def refusal(found: Examination) -> str:
    """The message that refuses the data: every error, and what can be done."""
    errors = found.errors
    if len(errors) == 1 and not errors[0].files:
        message = f"{found.name} can't be used. {errors[0].where}: {errors[0].what}."
    else:
        count = "1 problem" if len(errors) == 1 else f"{len(errors)} problems"
        message = f"{found.name} can't be used, {count}:\n{table(errors)}"
    if any(problem.files for problem in errors):
        message += "\nRepair or remove these files, or leave them out with --quarantine."
    return message


def examine(data: str | None, **options: Unpack[Options]) -> Examination:
    """Like `load`, but errors in the data are returned, not raised.

    Raises:
        DataError: there is nothing to examine.
        InputError: an option is out of its range.
    """
    fit, channels, progress = options.get("fit", "crop"), options.get("channels", 1), options.get("progress")
    quarantine = options.get("quarantine", False)
    if fit not in FITS:
        raise InputError(f"--fit {fit} is unknown. Take {', '.join(FITS)}.")
    if channels not in {1, 3}:
        raise InputError(f"{channels} channels are not possible: take 1 (gray) or 3 (RGB).")
    listing = _listed(data, options)
    name = open_source.canonical(data)
    if not listing.items and not listing.problems:
        raise DataError(f"{name} contains no images. DATA is {open_source.KINDS}.")
    items = listing.items
    keys = [item.key for item in items]
    inspection = inspect(listing.root, keys, rehash=options.get("rehash", False), progress=progress)
    problems = [*listing.problems, *_litter(listing)]

    # the files by themselves, then against each other
    draft = _Draft(_with_header_patients(listing, inspection), np.arange(len(items)), list(listing.notes))
    damaged = checks.damaged(inspection, listing.root)
    problems += damaged + checks.remarks(inspection)
    draft.drop(file for problem in damaged for file in problem.files)
    problems += checks.blank(draft.items, draft.rows, inspection.thumbnails)
    _merge_tiny_validation(draft)
    problems += checks.leaks(draft.items, checks.same_content(inspection.rows["sha256"][draft.rows]))
    quarantined = tuple(sorted({file for problem in problems if not problem.warning for file in problem.files}))
    if quarantine and quarantined:
        problems = [replace(p, warning=True, what=p.what + "; left out") if p.files else p for p in problems]
        draft.drop(quarantined)
        draft.notes.append(f"{len(quarantined)} bad files were left out (quarantine), the first is {quarantined[0]}.")
    problems += checks.emptied(items, draft.items) if quarantine else []
    named = {name for names in listing.folders.values() for name in names} | {item.label for item in items}
    classes = tuple(sorted(named))
    if named or all(problem.warning for problem in problems):  # else it was said why there are none
        problems += checks.one_class(classes, name, listing.hint)
    problems += checks.written_twice(classes, draft.items)
    wanted = options.get("positive") or listing.label or None
    index, complaint = _positive(classes, wanted, draft.notes)
    problems += complaint
    dataset: Dataset | None = None
    facts: list[str] = []
    if all(problem.warning for problem in problems):
        dataset = _build(draft, listing, inspection, name, classes, index, options)
        problems += checks.without_images(dataset, draft.items, len(quarantined) if quarantine else 0)
        problems += by_site.check(dataset)
    if dataset is not None and all(problem.warning for problem in problems):
        dataset = replace(dataset, quarantined=quarantined if quarantine else ())
        advice, facts = checks.advice(dataset, inspection)
        problems += advice
        dataset = replace(dataset, notes=(*draft.notes, *_said(problems)))
        remember(dataset)
    else:
        dataset = None
    return Examination(name, listing.root, tuple(problems), dataset, inspection, len(items), tuple(draft.notes + facts))


def _listed(data: str | None, options: Options) -> Listing:
    """The source's images, with their classes renamed where that is asked for."""
    if (validate_on := options.get("validate_on", "patient")) not in VALIDATE_ON:
        raise InputError(f"--validate-on {validate_on} is unknown. Take {' or '.join(VALIDATE_ON)}.")
    finding = Finding(options.get("label"), options.get("negative"), options.get("uncertain", "ignore"))
    listing = open_source.open_source(
        data,
        patient_regex=options.get("patient_regex"),
        finding=finding,
        site=options.get("site"),
        progress=options.get("progress"),
    )
    if rename := options.get("rename"):
        listing.items = [replace(item, label=rename.get(item.label, item.label)) for item in listing.items]
        listing.folders = {s: {rename.get(label, label) for label in labels} for s, labels in listing.folders.items()}
        listing.label = rename.get(listing.label, listing.label)
    return listing


def _litter(listing: Listing) -> list[Problem]:
    if not listing.litter:
        return []
    what = f"left out, with {len(listing.litter) - 1} more of that kind" if len(listing.litter) > 1 else "left out"
    return [Problem("skipped", listing.litter[0], what, warning=True)]


def _said(warnings: Sequence[Problem]) -> list[str]:
    """Warnings as sentences for whoever only loads the data."""
    sentences = [f"{problem.where}: {problem.what}." for problem in warnings if problem.kind != "skipped"]
    if len(sentences) > _MOST_SAID:
        more = len(sentences) - _MOST_SAID
        sentences[_MOST_SAID:] = [f"{more} more warnings: `python -m search.verify` lists all of them."]
    return sentences


def _with_header_patients(listing: Listing, inspection: Inspection) -> list[Item]:
    """Patients from DICOM headers, where names and manifests tell none."""
    if listing.patients_known:
        return listing.items
    patients = inspection.rows["patient"]
    known = int((patients != b"").sum())
    if not known or known < KNOWN_SHARE * len(listing.items):
        return listing.items
    listing.patients_known = True
    return [
        replace(item, patient=patient.decode()) for item, patient in zip(listing.items, patients.tolist(), strict=True)
    ]


def _merge_tiny_validation(draft: _Draft) -> None:
    """Forget a validation set that is too small to choose by; it is dealt anew with the training images."""
    held = [item for item in draft.items if item.split == "val"]
    if not held:
        return
    labels = [item.label for item in held]
    fewest = min(labels.count(label) for label in {item.label for item in draft.items})
    if fewest < TINY_VALIDATION:
        draft.items = [replace(item, split="train") if item.split == "val" else item for item in draft.items]
        draft.notes.append(
            f"The validation set has {len(held)} images, {fewest} of its smallest class: too few to choose a model. "
            "They were merged into training, and a new validation set was split off."
        )


def _positive(classes: Sequence[str], wanted: str | None, notes: list[str]) -> tuple[int | None, list[Problem]]:
    """Which class is the positive one (which rule said so goes to the notes), or what is wrong with the wish."""
    listed = ", ".join(classes)
    if wanted is not None:
        matches = [i for i, name in enumerate(classes) if name == wanted]
        matches = matches or [i for i, name in enumerate(classes) if name.lower() == wanted.lower()]
        if len(matches) == 1:
            return matches[0], []
        return None, [Problem("positive class", wanted, f"--positive names no class; the classes are {listed}")]
    if len(classes) != 2:
        return None, []
    says = [i for i, name in enumerate(classes) if spelling.says_positive(name)]
    if len(says) == 1:
        name = classes[says[0]]
        word = spelling.says_positive(name)
        notes.append(f"The positive class is {name}, because its name contains {word!r}. --positive chooses another.")
        return says[0], []
    why = "neither class name shows" if not says else "both class names show"
    return None, [
        Problem(
            "positive class", listed, f"{why} that it is the positive one: name it, e.g. --positive {classes[-1]!r}"
        )
    ]


def _build(
    draft: _Draft,
    listing: Listing,
    inspection: Inspection,
    name: str,
    classes: tuple[str, ...],
    positive: int | None,
    options: Options,
) -> Dataset:
    """Split the images that are left and name the result."""
    fit, channels = options.get("fit", "crop"), options.get("channels", 1)
    order = sorted(range(len(draft.items)), key=lambda index: draft.items[index].key)
    items, rows = [draft.items[index] for index in order], draft.rows[order]
    digests = inspection.rows["sha256"][rows]
    number = {label: index for index, label in enumerate(classes)}
    labels = np.array([number[item.label] for item in items], np.int32)
    patients = split.bind([item.patient or item.key for item in items], checks.same_content(digests))
    images = Images(
        keys=np.array([item.key for item in items], object),
        labels=labels,
        splits=_deal(items, labels, patients, options.get("seed", 0), draft.notes),
        patients=np.array(patients, object),
        groups=np.array([item.group for item in items], object),
        digests=digests,
        shapes=np.stack([inspection.rows[edge][rows] for edge in ("width", "height")], axis=1),
        rows=rows.astype(np.int32),
    )
    sealed = images.splits == "test"
    columns = {name: tuple(of.get(key, "") for key in images.keys) for name, of in listing.columns.items()}
    of_site, sites = None, tuple[str, ...]()
    if options.get("validate_on") == "site":
        of_site = by_site.named(images, columns, name)
        sites = tuple(sorted({of_site[key] for key in images.keys[~sealed]} - {""}))
    return Dataset(
        name=name,
        root=listing.root,
        classes=classes,
        positive=positive,
        channels=channels,
        fit=fit,
        demonstration=listing.demonstration,
        grouped_by="patient" if listing.patients_known else "image",
        has_own_test=any(item.split == "test" for item in items),
        images=images,
        train_fingerprint=fingerprint(classes, fit, channels, images.where(~sealed), of_site),
        test_fingerprint=fingerprint(classes, fit, channels, images.where(sealed)),
        notes=tuple(draft.notes),
        columns=columns,
        sites=sites,
        decoded=inspection.decoded,
        inspection=inspection,
    )


def _deal(items: Sequence[Item], label: NDArray[np.int32], patients: list[str], seed: int, notes: list[str]) -> Texts:
    """The split of every image: the source's own where it has one, else by patient, stratified by class."""
    splits = np.array([item.split or "train" for item in items], object)

    def chosen(share: float, seed: int) -> tuple[NDArray[np.int64], int]:
        free = np.flatnonzero(splits == "train")
        held = split.hold_out(label[free].tolist(), [patients[index] for index in free.tolist()], share, seed)
        return free[held], len(free)

    by = "patient" if any(item.patient for item in items) else "image"
    share = split.SHARE
    if not (splits == "test").any():
        held, _ = chosen(share, seed)
        splits[held] = "test"
        notes.append(f"There is no test set: {len(held)} images were held out as one, by {by} and class.")
        share = split.SHARE / (1 - split.SHARE)
    if not (splits == "val").any():
        held, of = chosen(share, seed + 1)
        splits[held] = "val"
        notes.append(f"Validation: {len(held)} of {of} training images, by {by} and class.")
    return splits
