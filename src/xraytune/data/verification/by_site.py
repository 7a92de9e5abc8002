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
            f"--validate-on site: {name} says nothing of sites. Give a manifest with a column site (or name another "
            "with --site COLUMN), or folders site/class/… (--site folders)."
        )
    training = images.splits != "test"
    sites = sorted({site for site, known in zip(columns[SITE], training, strict=True) if known and site})
    if len(sites) < 2:
        only = f"one site alone ({sites[0]})" if sites else "no site"
        raise InputError(
            f"--validate-on site: the images that are not test images are of {only}, and one site is held out at a "
            "time. Take --validate-on patient, or add images of another site."
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
        what = f"{len(missing)} images have no site, which --validate-on site needs of each: name it or leave them out"
        return [Problem("no site", some(missing), what)]
    problems = _shared(sites, patients)
    for site, (train, held) in site_folds(sites, patients).items():
        counts = np.bincount(pool.labels[held], minlength=len(dataset.classes))
        left = np.bincount(pool.labels[train], minlength=len(dataset.classes))
        if lacking := [c for c, n in zip(dataset.classes, counts, strict=True) if not n]:
            what = (
                f"has no {' and no '.join(lacking)} image beside the test images, so no model can be validated on it: "
                "leave the site out, or give it and another one the same name"
            )
            problems.append(Problem("site", site, what))
        elif not left.all():
            lost = ", ".join(c for c, n in zip(dataset.classes, left, strict=True) if not n)
            what = (
                f"leaves no {lost} image to train on when it is held out, without the patients who were there too. If "
                "the sites number their patients alike, put the site before the number"
            )
            problems.append(Problem("site", site, what))
        elif counts.min() < FEW:
            fewest = dataset.classes[int(counts.argmin())]
            what = f"has {counts.min()} images of {fewest}: its figures will have wide intervals"
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
        f"{len(several)} of {len(at)} patients have images at several sites: they are taken for the same persons, and "
        "none is trained on where one of their sites is held out. If the sites number their patients alike, put the "
        "site before the number"
    )
    return [Problem("site", some(several), what, warning=True)]
