"""Which countermeasure removes framing: shape jitter, random resized crops, or both; under which head?

A small convolutional network is trained with each of `ARMS` under each of `HEADS`, three seeds, each of which holds
out another patient-grouped fold. It is judged on the held-out images over the views that move framing, over all views,
and, where the shortcut was planted, on the test images, on which it misleads. Of the X-rays only training and
validation images are read; their networks also answer the images of a second hospital, which no network is trained on.
Each network's figures are a line of docs/evidence/crops.jsonl, from which a run goes on, on any machine; the tables are
written to docs/evidence/crops.md.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.harness import real_data
from tests.evidence import networks
from tests.evidence.doses import EDGE
from tests.inputs.made_networks import config
from xraytune import artifacts, data
from xraytune.data import arrays, cache
from xraytune.evaluation import intervals, metrics, robust_score
from xraytune.training.inputs.augmentation import COUNTERMEASURES
from xraytune.training.inputs.shifted_views import LIKE
from xraytune.training.inputs.trial_data import TrialData

Answers = Sequence[tuple[int, float]]

SEEDS = 3
"""Of each arm and head; as many folds."""
BETA = 2.0
ARMS: Mapping[str, Mapping[str, str]] = {
    "shape jitter": {"shape_jitter": "strong"},
    "crops from 50 %": {"crop": "0.5"},
    "crops from 30 %": {"crop": "0.3"},
    "crops from 8 %": {"crop": "0.08"},
    "shape jitter, crops from 8 %": {"shape_jitter": "strong", "crop": "0.08"},
    "none": {},
    "shape jitter, crops from 50 %": {"shape_jitter": "strong", "crop": "0.5"},
}
HEADS = {"global pooling": "avg", "flatten": "flatten"}
ON = ("framing", "xray")
WITHOUT_TEST = "xray"
"""The set whose test images are not read here."""
OUTSIDE = "nih"
"""The second hospital, on which the networks of `WITHOUT_TEST` are judged."""
FRAMING = ("tighter", "looser", "higher", "lower")
"""The views that move framing alone; joint views (`LIKE`) move it with what else tells the classes apart."""
PAGE = networks.ROOT / "docs" / "evidence" / "crops.md"
DECISION = """
## What follows

The space offers crops from half of the image, beside shape jitter, and no smaller ones. Where framing was planted, both
together have the best robust score under either head, and on the misleading test images 0.01 to 0.02 of ROC AUC more
than shape jitter alone; crops from 30 % or 8 % are nowhere better. On the X-rays, in ten epochs, shape jitter alone has
the best score over the views, so a search is offered both and its trials decide. Flattened heads stay: on the X-rays
they are better in every arm, and with crops they are no worse where framing was planted. No arm has any skill at the
other hospital (ROC AUC below 0.5), where the differences between arms change their sign with the head.
"""
KEPT = PAGE.with_suffix(".jsonl")


@dataclass(frozen=True)
class Part:
    """One network."""

    set: str
    arm: str
    head: str
    seed: int

    @property
    def values(self) -> dict[str, Any]:
        """Its point of the space."""
        return {
            "family": "cnn", "cnn/image_size": EDGE, "cnn/blocks": 4, "cnn/width": 16, "cnn/batch_norm": True,
            "head/pool": HEADS[self.head], "head/layers": 0, "batch_size": 32, "learning_rate": 2e-3, "epochs": 10,
            "augmentation": "light", **dict.fromkeys(COUNTERMEASURES, "none"),
            **ARMS[self.arm],
        }  # fmt: skip


def parts(name: str, arms: Iterable[str] = ARMS) -> list[Part]:
    """All networks of a set."""
    return [Part(name, arm, head, seed) for seed in range(SEEDS) for arm in arms for head in HEADS]


def folds_of(place: networks.Workshop) -> tuple[TrialData, list[tuple[NDArray[np.int64], NDArray[np.int64]]]]:
    """All training and validation images of a set, and a fold by patient for each seed: trained on, held out."""
    whole = TrialData.of(
        place.dataset, place.data.pools, refit=True, cache=cache.folder(), crop_size=place.data.crop_size
    )
    dealt = data.folds(whole.labels.tolist(), np.asarray(whole.patients).tolist(), SEEDS, 0)
    return whole, [(np.asarray(fitted), np.asarray(held)) for fitted, held in dealt]


def train(name: str, missing: list[Part]) -> None:
    """Train these networks of a set, one after another; opened test images stand in the set's access log."""
    from search.retraining.records import TrainingSetup
    from search.retraining.workers.tasks import FoldTask

    place = networks.workshop(name)
    whole, dealt = folds_of(place)
    labels = np.asarray(whole.labels)
    folder = networks.RESULTS / "crops" / name
    folder.mkdir(parents=True, exist_ok=True)
    for part in missing:
        fitted, held = dealt[part.seed]
        own = dataclasses.replace(whole, train=fitted, validation=held)
        recipe = TrainingSetup(place.job.space, place.job.context, own, "robust", BETA, part.values["epochs"])
        point = config(place.space, seed=100 + part.seed, **part.values)
        target = folder / f"{list(ARMS).index(part.arm)}-{HEADS[part.head]}-{part.seed}.fold"
        FoldTask(recipe, point, 0, part.seed, SEEDS, 0, target, keep_model=True)(_silent)
        with np.load(target, allow_pickle=False) as fold:
            kept = {k: fold[k] for k in fold.files if k.startswith("view:") or k == "probabilities"}
            kept |= {"labels": labels[fold["indices"]], "view_labels": labels[fold["view_indices"]]}
        kept["positive"] = np.array(1 if whole.positive is None else whole.positive)
        if name != WITHOUT_TEST:
            kept |= _on_test(place, part, target.with_suffix(".keras"))
        network = target.with_suffix(".keras")
        keep(part, figures(kept), _outside(place, network) if name == WITHOUT_TEST else ())
        for used in (target, target.with_suffix(".keras")):
            used.unlink(missing_ok=True)
        print(f"{name}: {part.arm}, {part.head}, seed {part.seed}", flush=True)


def keep(part: Part, found: tuple[float, ...], outside: Answers = (), to: Path | None = None) -> None:
    """Append a network's figures, in one write: several processes append at once.

    Args:
        part: the network.
        found: in the order of `COLUMNS`.
        outside: label (1: positive) and probability of each image of the second hospital.
        to: the file; `KEPT` if not given.
    """
    rounded = [None if np.isnan(value) else round(value, 5) for value in found]
    line: dict[str, Any] = dataclasses.asdict(part) | dict(zip(COLUMNS, rounded, strict=True))
    if outside:
        line["outside"] = {
            "labels": "".join(str(n) for n, _ in outside),
            "per mille": [round(1000 * p) for _, p in outside],
        }
    with (to or KEPT).open("a", encoding="utf-8") as out:
        out.write(json.dumps(line) + "\n")


def _lines(kept: Path | None = None) -> dict[Part, dict[str, Any]]:
    """What was kept of every network that was trained."""
    kept = kept or KEPT
    lines = [json.loads(text) for text in kept.read_text(encoding="utf-8").splitlines()] if kept.exists() else []
    return {Part(*(line[field.name] for field in dataclasses.fields(Part))): line for line in lines}


def known(kept: Path | None = None) -> dict[Part, tuple[float, ...]]:
    """The figures of every network that was trained, in the order of `COLUMNS`; NaN where one does not exist."""
    return {
        part: tuple(np.nan if line[column] is None else line[column] for column in COLUMNS)
        for part, line in _lines(kept).items()
    }


def _on_test(place: networks.Workshop, part: Part, network: Path) -> dict[str, NDArray[Any]]:
    """What a network answers on a planted set's test images, and their labels."""
    from search.study import access_log
    from xraytune.inference.networks import load_network, predict_network

    what = f"evidence, {part.arm}, {part.head}, seed {part.seed}"
    access_log.append(network.parent, {"what": what, "test_fingerprint": place.dataset.test_fingerprint})
    images = np.load(arrays.test(place.dataset, EDGE))
    labels = np.array([image.label for image in place.dataset.select("test")], np.int32)
    return {"test": predict_network(load_network(network), images), "test_labels": labels}


def _outside(place: networks.Workshop, network: Path) -> Answers:
    """A network's answers on all images of the second hospital, read as those that it was trained on."""
    from xraytune.inference.networks import load_network, predict_network

    own = place.dataset
    other = data.load(str(real_data(OUTSIDE)), fit=own.fit, channels=own.channels)
    if other.classes != own.classes:
        raise ValueError(f"{OUTSIDE} has the classes {other.classes}, not {own.classes}")
    images = np.concatenate([np.load(arrays.pool(other, EDGE)), np.load(arrays.test(other, EDGE))])
    labels = [image.label for split in ("train", "val", "test") for image in other.select(split)]
    return list(zip(labels, predict_network(load_network(network), images)[:, 1].tolist(), strict=True))


def _silent(_event: Any) -> None:
    """No progress of epochs."""


def make(workers: int, names: tuple[str, ...] = ON, limit: int = 0) -> None:
    """Train what is missing, in `workers` processes of one thread each, and write the page.

    Args:
        workers: processes.
        names: of sets.
        limit: networks of each set at most; 0: all.
    """
    done = known()
    for name in names:
        wanted = parts(name)[: limit or None]
        networks.spread(train, name, [part for part in wanted if part not in done], workers)
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    artifacts.write_text(PAGE, page())


# ── judging ──────────────────────────────────────────────────────────────────────────────────────────────────────────

COLUMNS = (
    "held-out ROC AUC", "mean over framing views", "worst framing view", "joint views", "robust F2, all views",
    "test ROC AUC",
)  # fmt: skip


def figures(kept: Mapping[str, NDArray[Any]]) -> tuple[float, ...]:
    """One network's figures in the order of `COLUMNS`; NaN where there is no such view or no test image was read.

    Args:
        kept: what `train` left of it.
    """
    positive = int(kept["positive"])
    views = {n.removeprefix("view:"): np.asarray(p) for n, p in kept.items() if n.startswith("view:")}

    def auc(labels: NDArray[Any], answers: NDArray[Any]) -> float:
        return float(metrics.roc_auc(labels == positive, answers[:, positive])[0])

    framed = [auc(kept["view_labels"], views[n]) for n in FRAMING if n in views]
    joint = [auc(kept["view_labels"], p) for n, p in views.items() if n.startswith(LIKE)]
    return (
        auc(kept["labels"], kept["probabilities"]),
        mean(framed) if framed else np.nan,
        min(framed, default=np.nan),
        mean(joint) if joint else np.nan,
        robust_score.score(kept["view_labels"], views, positive, beta=BETA).value,
        auc(kept["test_labels"], kept["test"]) if "test" in kept else np.nan,
    )


def table(name: str, arms: Iterable[str] = ARMS, kept: Path | None = None, what: str = "augmentation") -> str:
    """A line an arm and head of a set: means of the seeds ± their deviation; empty where no network was trained."""
    done = known(kept)
    lines = [f"| {what} | head | seeds | {' | '.join(COLUMNS)} |", "|---" * (3 + len(COLUMNS)) + "|"]
    for arm in arms:
        for head in HEADS:
            found = [done[p] for p in parts(name, arms) if (p.arm, p.head) == (arm, head) and p in done]
            if found:
                cells = [_cell(column) for column in zip(*found, strict=True)]
                lines.append(f"| {arm} | {head} | {len(found)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n" if len(lines) > 2 else ""


def outside_table() -> str:
    """A line an arm, head and seed: ROC AUC at the second hospital, and what the arm adds to training without it."""
    kept = {part: line["outside"] for part, line in _lines().items() if "outside" in line}
    lines = ["| augmentation | head | seed | ROC AUC | difference to none (95 %) |", "|---|---|---|---|---|"]
    for arm in ARMS:
        for part in (p for head in HEADS for p in parts(WITHOUT_TEST) if (p.arm, p.head) == (arm, head) and p in kept):
            base, own = kept.get(dataclasses.replace(part, arm="none")), kept[part]
            truth = [int(digit) for digit in own["labels"]]
            found = intervals.delong(truth, own["per mille"], (base or own)["per mille"])
            margin = 1.96 * found.standard_error
            added = f"{found.difference:+.3f} ({found.difference - margin:+.3f} to {found.difference + margin:+.3f})"
            cell = "–" if arm == "none" or base is None else added
            lines.append(f"| {arm} | {part.head} | {part.seed} | {found.first:.3f} | {cell} |")
    return "\n".join(lines) + "\n" if len(lines) > 2 else ""


def _cell(values: tuple[float, ...]) -> str:
    if any(np.isnan(values)):
        return "–"
    return f"{mean(values):.3f} ± {stdev(values) if len(values) > 1 else 0.0:.3f}"


def page() -> str:
    """What there is, as a page."""
    intro = (
        "# Random resized crops and shape jitter against framing\n\n"
        "A convolutional network (four blocks, 64 px, ten epochs, light augmentation) is trained with each "
        "augmentation and head, three seeds, each of which holds out another patient-grouped fold. Framing views are "
        f"{', '.join(FRAMING)}; joint views move all properties that tell the classes apart. In `framing` the "
        "shortcut is planted and misleads on the test images. Of the chest X-rays (`xray`) only training and "
        "validation images are used. Values are means of the seeds ± their standard deviation; columns without another "
        "name are ROC AUC. Made by `make evidence PART=crops`.\n"
    )
    tables = {name: table(name) for name in ON}
    if outside := outside_table():
        tables[f"{WITHOUT_TEST}, judged at another hospital ({OUTSIDE})"] = (
            "No image of that hospital was trained on. Differences are between two networks of the same head and seed, "
            "with DeLong's interval, which takes images as independent. These figures decide nothing but ties.\n\n"
            + outside
        )
    return intro + "".join(f"\n## {name}\n\n{text}" for name, text in tables.items() if text) + DECISION
