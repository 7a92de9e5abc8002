"""The shortcut audit: what a network can cheat with, measured.

A class that can be told from a file's properties alone (its shape, its size on disk, its brightness, its borders) will
be told so by a network, since that is easier than lungs. How well it can be told is the AUC of a small model,
cross-validated by patient, on numbers that hold no anatomy. Test images are not touched, unless the user asks with
`compare_test`, and their labels never are.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from xraytune import artifacts
from xraytune.data import cache, image_properties, property_table
from xraytune.data.dataset import Dataset
from xraytune.data.decoding.inspection import Inspection, inspect
from xraytune.data.image_properties import Property
from xraytune.data.images import Images
from xraytune.data.problems import Progress
from xraytune.data.sources.listing import SITE
from xraytune.errors import FOREIGN, ArtifactError
from xraytune.evaluation import metrics
from xraytune.evaluation.shift import property_model
from xraytune.records import Record

NOTABLE = 0.70
"""AUC from which a single property is called a shortcut: of two images of different classes it then names the right one
in seven cases of ten without a look at the lungs."""

_MODEL = 1  # raised when what the small model is shown changes
_OWN_SITE = 10  # images from which a site's shares are its own; smaller sites are taken together
FRAMING = image_properties.FRAMED.name

Labels = NDArray[np.int32]
_UNSEEN = frozenset({"bytes", "mode"})  # properties of the file that no network is shown
_FIT = {
    "crop": "The default --fit crop removes the shape but not the properties that follow it",
    "pad": "--fit pad shows the shape as black borders",
    "squash": "--fit squash turns the shape into the direction of the gradients",
}
_SITE = Property(
    SITE, "site", "the site where an image was taken", "the sites' shares of the classes differ",
    "Then any difference between the sites predicts the class: look at the shares by site, and validate on sites that "
    "were not trained on (--validate-on site).",
)  # fmt: skip
_PROPERTIES = {**property_table.PROPERTIES, SITE: _SITE}  # what a finding is about, by its name


@dataclass(frozen=True)
class Finding(Record):
    """What one property gives away."""

    name: str
    """The property, e.g. `gradient_ratio`; `framing` for all that says where the chest lies, together."""

    auc: float
    """Of this property alone, 0.5 to 1; for three classes or more, of the class it tells best from the rest. For
    framing, as `Audit.auc`, of its properties alone."""

    label: str
    """The class that it tells; empty for framing."""

    higher: bool
    """Whether that class has the higher values; of framing always false."""

    sentence: str
    """The finding in words."""


@dataclass(frozen=True)
class Shift(Record):
    """How one property differs between training and test images: of all, labels unseen, or of one class."""

    name: str
    auc: float
    """With which the property alone tells a test image from a training image, 0.5 to 1."""

    sentence: str

    label: str = ""
    """The class within which they were compared; empty where classes were pooled."""


@dataclass(frozen=True)
class Audit(Record):
    """What a file's properties tell about its class."""

    auc: float
    """Of all properties together, cross-validated by patient (one-vs-rest mean for three classes or more); NaN where a
    class has fewer than two patients."""

    images: int
    """Training and validation images that were measured."""

    findings: tuple[Finding, ...]
    """Every property, the most telling first."""

    summary: str
    """The whole in words."""

    shifts: tuple[Shift, ...] = ()
    """Every property between train and test, each of framing's by itself, the most different first; empty unless asked
    for. By class, each property in the class where it differs most."""

    @property
    def shortcuts(self) -> tuple[Finding, ...]:
        """The findings that are worth a warning."""
        return tuple(finding for finding in self.findings if finding.auc >= NOTABLE)

    @property
    def countermeasures(self) -> tuple[str, ...]:
        """The augmentation's hyperparameters that remove what was found, the most telling first."""
        return tuple(dict.fromkeys(n for found in self.shortcuts for n in _PROPERTIES[found.name].countermeasures))

    @property
    def strongest(self) -> Finding | None:
        """The most telling shortcut that a network can see; None if none is worth a warning."""
        return next((finding for finding in self.shortcuts if finding.name not in _UNSEEN), None)

    @property
    def headline(self) -> str:
        """One sentence on the most telling shortcut that a network can see, empty if none is worth a warning."""
        if self.strongest is not None:
            return f"Shortcut: {self.strongest.sentence}"
        if self.auc >= NOTABLE:
            return f"Shortcut: image properties alone separate the classes with ROC AUC {self.auc:.2f}."
        return ""


def audit(
    dataset: Dataset, *, compare_test: bool = False, by_class: bool = False, progress: Progress | None = None
) -> Audit:
    """Measure what the properties of the training and validation files tell about their class.

    Args:
        dataset: a verified data set; its files were measured when it was verified, so this reads none again (a data
            set that came from another process is measured by what is kept of its files).
        compare_test: also compare train with test, property by property, without labels. It reads test images: what
            is learned from it must not be used to tune a model.
        by_class: do so within each class, which reads the test labels: only where the set is open. Pooled, a shift of
            one class is hidden by the others, and a different mix of classes looks like one.
        progress: told about files that have to be read again.
    """
    images = dataset.images.where(dataset.images.splits != "test")
    everything = images + dataset.select("test") if compare_test else images
    seen = dataset.inspection or inspect(dataset.root, dataset.images.keys.tolist(), progress=progress)
    table = _properties(everything, seen)
    labels, patients = images.labels, images.patients.tolist()
    values = {name: column[: len(images)] for name, column in table.items()}
    framed = np.stack([values[name] for name in image_properties.FRAMING], axis=1)
    findings = [_finding(n, v, labels, dataset) for n, v in values.items() if n not in image_properties.FRAMING]
    findings += _site(images, dataset)
    findings = sorted([*findings, _framing(_together(framed, labels, patients))], key=lambda f: -f.auc)
    together = _together(np.stack(list(values.values()), axis=1), labels, patients)
    shifts: tuple[Shift, ...] = ()
    if compare_test and len(everything) > len(images):
        sealed = np.arange(len(everything)) >= len(images)
        within = _by_class(everything.labels, dataset) if by_class else {"": np.ones(len(everything), dtype=bool)}
        shifts = tuple(sorted((_shift(name, column, sealed, within) for name, column in table.items()),
                              key=lambda s: -s.auc))  # fmt: skip
    return Audit(together, len(images), tuple(findings), _summary(together, findings, dataset), shifts)


def _properties(images: Images, seen: Inspection) -> dict[str, NDArray[np.float64]]:
    """Every property of every image, float64 `(n,)` each."""
    return dict(zip(property_table.NAMES, property_table.of_images(images, seen).T, strict=True))


def _auc(positive: NDArray[np.bool_], values: NDArray[np.float64]) -> float:
    """The probability that a positive has a higher value than a negative; one half where there are only such."""
    auc = float(metrics.roc_auc(positive, values)[0])
    return auc if np.isfinite(auc) else 0.5


def _finding(name: str, values: NDArray[np.float64], labels: Labels, dataset: Dataset) -> Finding:
    """What one property tells by itself."""
    two = len(dataset.classes) == 2
    wanted = [dataset.positive if dataset.positive is not None else 1] if two else list(range(len(dataset.classes)))
    signed = {index: _auc(labels == index, values) for index in wanted}
    index = max(signed, key=lambda i: abs(signed[i] - 0.5))
    auc, higher = max(signed[index], 1 - signed[index]), signed[index] >= 0.5
    known, label = _PROPERTIES[name], dataset.classes[index]
    between = "separates the classes" if two else f"separates {label} from the rest"
    sentence = f"{known.title[0].upper()}{known.title[1:]} alone {between} with ROC AUC {auc:.2f} ({known.why})"
    if auc >= NOTABLE:
        side = "higher" if higher else "lower"
        learns = "" if name in _UNSEEN else ": a network can learn it instead of the lungs"
        sentence += f", {side} for {label}{learns}. {known.cure}"
    else:
        sentence += "."
    return Finding(name, float(auc), label, higher, sentence)


def _site(images: Images, dataset: Dataset) -> list[Finding]:
    """What the site alone tells; nothing where no sites or one alone are known.

    The shares of the classes at a site rank its images. Sites of few images are taken together, since one image alone
    would tell its own class.
    """
    known = dict(zip(dataset.images.keys, dataset.columns.get(SITE, ()), strict=False))
    named = [known.get(key, "") for key in images.keys]
    large = {site for site, count in Counter(named).items() if count >= _OWN_SITE}
    sites = np.array([site if site in large else "" for site in named], object)
    names = sorted(set(sites))
    if len(names) < 2:
        return []
    each = [(sites == site) for site in names]
    found = []
    for index, label in enumerate(dataset.classes):
        happened = images.labels == index
        shares = np.array([happened[at].mean() for at in each])
        values = np.select(each, list(shares))
        found.append((_auc(happened, values), label, shares))
    if len(dataset.classes) == 2:
        found = [found[dataset.positive if dataset.positive is not None else 1]]
    auc, label, shares = max(found, key=lambda one: one[0])
    between = "separates the classes" if len(dataset.classes) == 2 else f"separates {label} from the rest"
    least, most = int(shares.argmin()), int(shares.argmax())
    sentence = (
        f"The site alone {between} with ROC AUC {auc:.2f}: {label} has {100 * shares[least]:.0f} % of the images of "
        f"{names[least] or 'small sites'} and {100 * shares[most]:.0f} % of {names[most] or 'small sites'}."
    )
    return [Finding(SITE, auc, label, True, f"{sentence} {_SITE.cure}" if auc >= NOTABLE else sentence)]


def _framing(auc: float) -> Finding:
    """What framing tells; nothing where it could not be measured."""
    auc = max(auc, 0.5) if math.isfinite(auc) else 0.5
    known = _PROPERTIES[FRAMING]
    sentence = (
        f"{known.title[0].upper()}{known.title[1:]} alone separates the classes with ROC AUC {auc:.2f} ({known.why})"
    )
    sentence += f": a network can learn it instead of the lungs. {known.cure}" if auc >= NOTABLE else "."
    return Finding(FRAMING, auc, "", False, sentence)


def _together(table: NDArray[np.float64], labels: Labels, patients: Sequence[str]) -> float:
    """AUC of a small model on some properties, out of fold by patient; one-vs-rest mean for three classes or more.

    It is kept for the same numbers, labels and patients: scikit-learn's import alone takes seconds.
    """
    digest = hashlib.sha256(f"{_MODEL} {property_model.VERSION} {version('scikit-learn')}".encode())
    for part in (table.tobytes(), labels.tobytes(), "\0".join(patients).encode(errors="surrogateescape")):
        digest.update(part)
    path = cache.folder("audits") / f"{digest.hexdigest()[:32]}.json"
    try:
        return float(artifacts.read_json(path)["auc"])
    except (ArtifactError, *FOREIGN):  # not there, or no longer what was written
        auc = _cross_validated(table, labels, patients)
    if math.isfinite(auc):
        artifacts.write_json(path, {"auc": auc})
    return auc


def _cross_validated(table: NDArray[np.float64], labels: Labels, patients: Sequence[str]) -> float:
    scores = property_model.out_of_fold(table, labels, patients)
    if scores is None:
        return math.nan
    aucs = [_auc(labels == c, scores[:, c]) for c in sorted(set(labels.tolist()))]
    return float(np.mean(aucs))


def _by_class(labels: Labels, dataset: Dataset) -> dict[str, NDArray[np.bool_]]:
    """The images of each class by its name."""
    return {name: labels == index for index, name in enumerate(dataset.classes)}


def _shift(
    name: str, values: NDArray[np.float64], sealed: NDArray[np.bool_], within: dict[str, NDArray[np.bool_]]
) -> Shift:
    """The largest shift of one property within some of the images by name."""
    signed = {label: _auc(sealed[chosen], values[chosen]) for label, chosen in within.items()}
    label = max(signed, key=lambda key: abs(signed[key] - 0.5))
    side = "higher" if signed[label] >= 0.5 else "lower"
    auc = max(signed[label], 1 - signed[label])
    title = _PROPERTIES[name].title
    which = f"{label} " if label else ""
    sentence = (
        f"{title[0].upper()}{title[1:]} is {side} on {which}test images: it separates them from {which}training images"
    )
    return Shift(name, auc, f"{sentence} with ROC AUC {auc:.2f}.", label)


def _summary(together: float, findings: Sequence[Finding], dataset: Dataset) -> str:
    """The audit in a few sentences, made from what was found."""
    by = "patient" if dataset.grouped_by == "patient" else "image"
    if math.isfinite(together):
        text = "From image properties alone, without the lungs, a small model separates the classes"
        text += f" with ROC AUC {together:.2f} (cross-validated by {by})."
    else:
        text = (
            f"Whether image properties alone separate the classes could not be measured: a class has fewer than two "
            f"{by}s."
        )
    notable = [finding for finding in findings if finding.auc >= NOTABLE]
    notable.sort(key=lambda finding: finding.name in _UNSEEN)  # what a network can see comes first
    if not notable and not together >= NOTABLE:
        return text + (" No shortcut of a known kind was found." if math.isfinite(together) else "")
    if not notable:
        text += " No single property separates the classes; all together do."
    text = " ".join([text, *(finding.sentence for finding in notable[:3])])
    if len(notable) > 3:
        text += f" Also: {', '.join(_PROPERTIES[f.name].title + f' ({f.auc:.2f})' for f in notable[3:])}."
    if any(finding.name in {"aspect_ratio", "width", "height"} for finding in notable):
        text += f" {_FIT[dataset.fit]}."
    return text
