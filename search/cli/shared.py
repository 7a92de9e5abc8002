"""Options that several commands take: one wording for each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from search.cli import options
from search.cli.options import (
    DATA,
    OBJECTIVE,
    OUTPUT,
    REPRODUCIBILITY,
    STORAGE,
    Option,
    Options,
    as_field,
    option,
)  # fmt: skip
from xraytune.data.sources.label_tables import UNCERTAIN
from xraytune.data.sources.open_source import KINDS

RESULTS = Option("Folder of all studies", STORAGE, "FOLDER", parse=options.path, stored=False)
DATABASE = Option(
    "URL of the studies' database", STORAGE, "URL", envvar="XRAYTUNE_STORAGE", shown="SQLite in the results folder",
    stored=False,
)  # fmt: skip
Results = Annotated[Path, RESULTS]
Storage = Annotated[str | None, DATABASE]
Study = Annotated[str | None, Option("Name of the study", STORAGE, argument=True, shown="the latest")]
Data = Annotated[str, Option(f"The data: {KINDS}", DATA, argument=True)]
PORT = Option("Port on 127.0.0.1; 0 picks a free one", OUTPUT, "NUMBER", least=0, most=65535)
Port = Annotated[int, PORT]
Saved = Annotated[
    Path, Option("The folder that retrain wrote, or a .keras or .onnx file in it", STORAGE, argument=True)
]
Json = Annotated[bool, Option("Print everything as one JSON document", OUTPUT, flags=("--json",))]


@dataclass(frozen=True)
class Place(Options):
    """Where studies are."""

    results: Path = as_field(RESULTS, Path("results"))
    storage: str | None = as_field(DATABASE, None)


@dataclass(frozen=True)
class Source(Options):
    """How a data set's files and labels are read."""

    patient_regex: str | None = option(
        None, "Finds the patient in a file's path", DATA, metavar="REGEX", shown="known naming schemes"
    )
    label: str | None = option(
        None,
        "The finding to detect, if DATA is a label file of NIH, CheXpert or MIMIC-CXR",
        DATA,
        metavar="FINDING",
        shown="none",
    )
    negative: str | None = option(
        None,
        "The finding of the other class of a label file, like 'No Finding'",
        DATA,
        metavar="FINDING",
        shown="images without the finding",
    )
    uncertain: str = option(
        "ignore", "How an uncertain finding of a label file counts", DATA, metavar="NAME", choices=UNCERTAIN
    )
    site: str | None = option(
        None, "Where an image's site is: a column of the manifest, or folders", DATA, metavar="COLUMN",
        shown="column site, or unambiguous folders site/class",
    )  # fmt: skip
    quarantine: bool = option(False, "Leave out unusable files and list them", DATA)


@dataclass(frozen=True)
class Reading(Source):
    """How a data set becomes classes, squares and splits."""

    positive: str | None = option(None, "Name of the positive class", DATA, metavar="CLASS", shown="found by its name")
    fit: str = option("crop", "How an image becomes a square", DATA, metavar="NAME", choices=("crop", "pad", "squash"))
    seed: int = option(0, "Random seed, also of the split", REPRODUCIBILITY, metavar="NUMBER", least=0)


@dataclass(frozen=True)
class Statement(Options):
    """How a saved model states probabilities and decides."""

    prevalence: float | None = option(
        None, "State probabilities for this prevalence, like 0.1; decisions do not change", OBJECTIVE,
        metavar="SHARE", shown="the model's",
    )  # fmt: skip
    threshold: float | None = option(
        None, "Predict the positive class at this probability or above; no image is referred", OBJECTIVE,
        metavar="PROBABILITY", shown="the model's",
    )  # fmt: skip


@dataclass(frozen=True)
class Caches(Options):
    """Folders of files that many studies share."""

    weights_dir: Path | None = option(
        None, "Folder of pretrained weights", STORAGE, metavar="FOLDER", parse=options.path, stored=False,
        envvar="XRAYTUNE_WEIGHTS", shown="Keras's own folder",
    )  # fmt: skip
    cache: Path | None = option(
        None, "Folder of decoded images and cached features", STORAGE, metavar="FOLDER", parse=options.path,
        stored=False, envvar="XRAYTUNE_CACHE", shown="the user's cache folder",
    )  # fmt: skip
    cache_limit: int = option(
        0, "Maximum disk space of cached features, like 20GB", STORAGE, metavar="SIZE", parse=options.size,
        stored=False, shown="a share of the free space",
    )  # fmt: skip
