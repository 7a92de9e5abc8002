"""Running numbers of test images and patients: what is shared names them by number, one file of the study says who."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from xraytune import artifacts, files
from xraytune.errors import FOREIGN, ArtifactError

NAME = "test_images.csv"
"""In the study's folder, beside `winner/`: the key from numbers to paths and patients. Not to be shared."""

_MOST = 1 << 30
"""Bytes of that file."""

_IMAGE_FILE = re.compile(r"\S+\.(?:png|jpe?g|dcm|dicom|ima|bmp|tiff?|gif|webp|npz?)\b", re.IGNORECASE)


def numbers(patients: Sequence[str]) -> list[int]:
    """A running number for each image's patient, from 1, in the order in which they first appear."""
    first: dict[str, int] = {}
    return [first.setdefault(patient, len(first) + 1) for patient in patients]


def write(study_folder: Path, paths: Sequence[str], patients: Sequence[str]) -> None:
    """Write `NAME`: number and path of each test image, number and name of its patient.

    Args:
        study_folder: `results/<study>`.
        paths: of the test images, in their order in the data set.
        patients: theirs.
    """
    rows = zip(range(1, len(paths) + 1), paths, numbers(patients), patients, strict=True)
    artifacts.write_csv(study_folder / NAME, ["image", "path", "patient", "patient_name"], rows)


def read(study_folder: Path) -> dict[int, str]:
    """The paths of the test images by their numbers.

    Raises:
        ArtifactError: the file is missing or is not what `write` wrote.
    """
    path = study_folder / NAME
    try:
        rows = csv.DictReader(io.StringIO(files.read_named(path, _MOST).decode("utf-8", "surrogateescape"), newline=""))
        return {int(row["image"]): row["path"] for row in rows}
    except FileNotFoundError:
        raise ArtifactError(f"{path} is missing: without it the test images have numbers only.") from None
    except (OSError, *FOREIGN) as error:
        raise ArtifactError(f"{path} can't be read ({error}): it was changed or cut off.") from None


def without_names(text: str, names: Iterable[str]) -> str:
    """The text with every one of the names, and everything that looks like an image file, as `(file)`.

    Args:
        text: a sentence about data.
        names: paths of files, whole; the longest are looked for first.
    """
    for name in sorted({n for path in names for n in (path, Path(path).name)}, key=len, reverse=True):
        if name in text:
            text = text.replace(name, "(file)")
    return _IMAGE_FILE.sub("(file)", text)
