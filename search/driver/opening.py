"""What a search says before its first trial: a few lines that a person reads; the rest is in the study's log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from search.cli import quantities, tables
from search.cli.screen import name

if TYPE_CHECKING:
    from search.driver.pretrained_weights import LeftOut
    from search.tuner.resources import Resources
    from xraytune.data import Dataset
    from xraytune.evaluation.shortcut_audit import Audit

FEW_CLASSES = 4
"""Classes that are named with their numbers of images; more are counted."""

FEW_SITES = 5
"""Sites that are named with their numbers of images; more are counted."""

FEW_BACKBONES = 2
"""Pretrained networks that are named; the log names more."""

ROOM = 40
"""Characters for the name of the data."""


def on_data(dataset: Dataset, audit: Audit) -> list[str]:
    """The data set, its split, and the strongest shortcut in it.

    Args:
        dataset: the data.
        audit: of its training and validation images.
    """
    counts = {c: sum(dataset.counts(s)[c] for s in ("train", "val", "test")) for c in dataset.classes}
    images = dataset.images
    known = dataset.grouped_by == "patient"
    patients = f" of {len({image.patient for image in images})} patients" if known else ", no patients known"
    positive = "" if dataset.positive is None else dataset.classes[dataset.positive]
    classes = ", ".join(f"{name(c)} {n}{' (positive)' if c == positive else ''}" for c, n in counts.items())
    classes = classes if len(counts) <= FEW_CLASSES else f"{len(counts)} classes"
    train, val, test = (sum(dataset.counts(split).values()) for split in ("train", "val", "test"))
    mark = "DEMONSTRATION, NOT X-RAYS. " if dataset.demonstration else ""
    split = f"Split by {dataset.grouped_by}: {train} training, {val} validation, {test} test images (held out)."
    if dataset.sites:
        of = Counter(dataset.sites_of("train", "val"))
        sites = ", ".join(f"{name(s)} {of[s]}" for s in dataset.sites)
        sites = sites if len(of) <= FEW_SITES else f"{len(of)} sites, {train + val} images"
        split = f"Each trial is validated on one site: {sites}; {test} test images (held out)."
    lines = [
        f"{mark}Data: {tables.shortened(dataset.name, ROOM)}, {len(images)} images{patients}: {classes}.",
        split,
    ]
    if (shortcut := audit.strongest) is not None:
        named = ", ".join(map(_plain, audit.countermeasures))
        lines.append(
            f"Shortcut: the {_plain(shortcut.name)} of an image alone separates the classes "
            f"(AUC {shortcut.auc:.2f}){f'; countermeasures: {named}' if named else ''}."
        )
    elif audit.headline:
        lines.append(f"Shortcut: image properties together separate the classes (AUC {audit.auc:.2f}).")
    if dataset.quarantined:
        lines.append(f"Left out by --quarantine: {len(dataset.quarantined)} unusable files.")
    return lines


def on_space(families: Sequence[str], left: LeftOut) -> list[str]:
    """The families that take part, and what others lack.

    Args:
        families: take part.
        left: what takes no part.
    """
    slow = f"; too slow for the time: {', '.join(map(name, left.too_slow))}" if left.too_slow else ""
    lines = [f"Families: {', '.join(map(name, families))}{slow}."] if families else []
    if left.backbones:
        gone = f" ({', '.join(map(name, left.without_weights))} left out)" if left.without_weights else ""
        which = ", ".join(left.backbones) if len(left.backbones) <= FEW_BACKBONES else f"{len(left.backbones)} networks"
        lines.append(
            f"Missing: ImageNet weights of {which}{gone}. Name their folder with --weights-dir (docs/weights.md)."
        )
    return lines


def on_study(
    study: str, ended: int, plan: Resources, trials: int | None, seconds: float | None, *, joined: bool
) -> str:
    """The budget, and how many trials run at once.

    Args:
        study: its name.
        ended: trials of earlier sessions.
        plan: what trials are given.
        trials: maximum number of trials.
        seconds: time budget.
        joined: whether the trials run on a cluster of others.
    """
    went_on = f", continues after {ended} trials" if ended else ""
    bounds = [f"time budget {quantities.clock(seconds)}"] if seconds else []
    bounds += [f"at most {trials} trials"] if trials else []
    on_gpus = f", {plan.gpus:g} GPU each" if plan.gpus and joined else ""
    return (
        f"study {study}{went_on}: {', '.join(bounds)}{', ' if bounds else ''}"
        f"{plan.concurrency or 'as many as fit'} trials at once{on_gpus}."
    )


def on_results(folder: Path) -> str:
    """Where everything goes."""
    return f"Results: {folder} (details: search.log in it, or -v)."


def _plain(identifier: str) -> str:
    """`aspect_ratio` → `aspect ratio`."""
    return identifier.replace("_", " ")
