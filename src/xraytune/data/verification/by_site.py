"""Whether a data set can be validated on one site after another: every image has a site, every site every class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from xraytune.data.dataset import Dataset
from xraytune.data.images import Images
from xraytune.data.problems import Problem, some
from xraytune.data.sources.listing import SITE
from xraytune.data.split import site_folds
from xraytune.errors import InputError

FEW = 20
"""Images of a class below which a site's figures say little: with 20 the 95 % interval of a sensitivity of 0.9 is
about 30 points wide."""


def named(images: Images, columns: Mapping[str, Sequence[str]], name: str) -> dict[str, str]:
    """The site of each image by its key, empty where it has none.

    Raises:
        InputError: the data have no sites, or one alone.
    """
    if SITE not in columns:
        raise InputError(
            f"--validate-on site: {name} has no sites. Give a manifest with a column site (or name another column "
            "with --site COLUMN), or folders site/class/… (--site folders)."
        )
    training = images.splits != "test"
    sites = sorted({site for site, known in zip(columns[SITE], training, strict=True) if known and site})
    if len(sites) < 2:
        only = f"one site ({sites[0]})" if sites else "no site"
        raise InputError(
            f"--validate-on site: the images outside the test set are of {only}, and at least two are needed. Use "
            "--validate-on patient, or add images of another site."
        )
    return dict(zip(images.keys, columns[SITE], strict=True))


def check(dataset: Dataset) -> list[Problem]:
    """What is wrong with the sites of the training and validation images, and what one should know of them.

    Args:
        dataset: nothing is wrong where its validation is by patient.
    """
    if not dataset.sites:
        return []
    pool = dataset.select("train") + dataset.select("val")
    sites, patients = dataset.sites_of("train", "val"), pool.patients.astype(str).tolist()
    if missing := [key for key, site in zip(pool.keys, sites, strict=True) if not site]:
        what = f"{len(missing)} images have no site; --validate-on site needs one for each: add it or leave them out"
        return [Problem("no site", some(missing), what)]
    problems = _shared(sites, patients)
    for site, (train, held) in site_folds(sites, patients).items():
        counts = np.bincount(pool.labels[held], minlength=len(dataset.classes))
        left = np.bincount(pool.labels[train], minlength=len(dataset.classes))
        if lacking := [c for c, n in zip(dataset.classes, counts, strict=True) if not n]:
            what = (
                f"has no {' and no '.join(lacking)} image outside the test set, so no model can be validated on it: "
                "leave the site out, or merge it with another one under one name"
            )
            problems.append(Problem("site", site, what))
        elif not left.all():
            lost = ", ".join(c for c, n in zip(dataset.classes, left, strict=True) if not n)
            what = (
                f"leaves no {lost} image for training when the site and all its patients are held out. If sites use "
                "the same patient numbers for different patients, put the site before the number"
            )
            problems.append(Problem("site", site, what))
        elif counts.min() < FEW:
            fewest = dataset.classes[int(counts.argmin())]
            what = f"has {counts.min()} images of {fewest}: its metrics will have wide intervals"
            problems.append(Problem("site", site, what, warning=True))
    return problems


def _shared(sites: Sequence[str], patients: Sequence[str]) -> list[Problem]:
    """A warning of patients of several sites."""
    at: dict[str, set[str]] = {}
    for site, patient in zip(sites, patients, strict=True):
        at.setdefault(patient, set()).add(site)
    several = [patient for patient, where in at.items() if len(where) > 1]
    if not several:
        return []
    what = (
        f"{len(several)} of {len(at)} patients have images at several sites. None of their images is used for training "
        "while one of their sites is held out. If sites use the same patient numbers for different patients, put the "
        "site before the number"
    )
    return [Problem("site", some(several), what, warning=True)]
