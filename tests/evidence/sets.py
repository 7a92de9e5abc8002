"""The data sets that the evidence is made on.

`aspect`, `brightness`, `marker`, `blur`: the demonstration's images, in which an acquisition style goes with the class
in nineteen of twenty images of the training set (it alone tells the classes apart with ROC AUC 0.95) and not at all in
the test set. `aspect_always`: the same where it goes with the class in every training image. `machine`: shape, exposure
and focus at once, in every training image: each class from a machine of its own. `framing`: where the chest lies;
`clinic`: shape, sharpness and framing at once. `plain`: the same images with styles that go with no class. `covid19`:
three classes, no shortcut planted, a third of its images held out as a test set by seed. `xray`: the chest X-rays; its
test half is read by `confirm` and `searches` alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from tests.benchmarks.harness import real_data
from xraytune.data.sources import demo, synthetic_images

PATIENTS = 900
"""About 1,450 images to train on, 250 to validate and 560 to test, on which an AUC of 0.9 is known to ± 0.013."""

STRENGTH = 0.9
"""How strongly style goes with class. Kermany's images: all image properties together have ROC AUC 0.95."""

ALWAYS = 1.0
"""The strength at which it does so without exception: two classes from two machines, as where the healthy are from
another hospital than the ill."""

DEPTH = 2.0
"""How plain pneumonia is: with its countermeasure a small CNN reaches a test ROC AUC of 0.97 in 40 s, as on Kermany's
images."""

_SEED = 20


@dataclass(frozen=True)
class EvidenceSet:
    """One data set."""

    name: str
    place: Callable[[Path], Path]
    """Makes it under a folder, or finds it; what `DATA=` is given."""

    families: tuple[str, ...]
    shortcut: bool
    """Whether something in the training images misleads on the test images."""


def _planted(kind: str, name: str, strength: float = STRENGTH) -> EvidenceSet:
    def place(folder: Path) -> Path:
        root = folder / f"{kind}-{_SEED}-{PATIENTS}-{strength}-{DEPTH}"
        if not root.exists():
            demo.write(root, synthetic_images.draw_plan(_SEED, PATIENTS, shortcut=kind, strength=strength, depth=DEPTH))
        return root

    return EvidenceSet(name, place, ("cnn", "dense", "cnn", "densenet"), strength > 0)


def _covid(folder: Path) -> Path:
    """A manifest with a split of its own: of every class 45 % train, 22 % validation, 33 % test."""
    root = real_data("covid19")
    rows = [
        {"path": str(path), "label": path.parent.name}
        for path in sorted((root / "train").glob("*/*"))
        if path.suffix.lower() in {".png", ".jpg", ".jpeg"}
    ]
    table = pd.DataFrame(rows)
    rng = np.random.default_rng(_SEED)
    table["split"] = "train"
    for _, members in table.groupby("label"):
        shuffled = rng.permutation(members.index.to_numpy())
        third, part = round(0.33 * len(shuffled)), round(0.55 * len(shuffled))
        table.loc[shuffled[:third], "split"] = "test"
        table.loc[shuffled[third:part], "split"] = "val"
    folder.mkdir(parents=True, exist_ok=True)
    manifest = folder / "covid19.csv"
    table.to_csv(manifest, index=False)
    return manifest


PLANTED = ("aspect", "brightness", "marker", "blur")
SETS = {kind: _planted(kind, kind) for kind in PLANTED} | {
    "aspect_always": _planted("aspect", "aspect_always", ALWAYS),
    "machine": _planted("machine", "machine", ALWAYS),
    "framing": _planted("framing", "framing"),
    "clinic": _planted("clinic", "clinic"),
    "plain": _planted("aspect", "plain", 0.0),
    "covid19": EvidenceSet("covid19", _covid, ("cnn", "dense", "cnn", "densenet"), False),
    "xray": EvidenceSet(
        "xray", lambda _: real_data("chest_xray"), ("cnn", "dense", "cnn", "vgg_frozen", "densenet"), True
    ),
}
