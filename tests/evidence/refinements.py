"""Two refinements, each kept only if it is better over the views in three seeds.

Subclasses: does it help to train on bacterial and viral pneumonia as targets of their own, and to add their
probabilities at the end? Networks, folds and views are those of `crops` under shape jitter; both targets are trained
the same way. Of the X-rays only training and validation images are read.

Own folds: is it better to validate each trial on a patient-grouped fold of its own than all trials on one? Answered
from the networks of `crops`, each of which was judged on three folds.

Lines are kept in docs/evidence/refinements.jsonl, from which a run goes on; the page is docs/evidence/refinements.md.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.evidence import crops, networks
from tests.evidence.crops import Part
from tests.inputs.made_networks import config
from xraytune import artifacts
from xraytune.data import arrays
from xraytune.training.inputs import shifted_views
from xraytune.training.inputs.trial_data import with_views

TARGETS = ("two classes", "subclasses")
CLASSES = ("normal", "bacteria", "virus")
PER_CLASS = 100
"""Validation images of each class that are judged under the views."""
PAGE = networks.ROOT / "docs" / "evidence" / "refinements.md"
KEPT = PAGE.with_suffix(".jsonl")
DECISION = ""


def subclasses(names: list[str], labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """Indices into `CLASSES`, from file names of Kermany's kind: `person12_virus_3.jpeg`.

    Args:
        names: of the images.
        labels: 0 normal, 1 pneumonia.
    """
    finer = np.array([0 if not label else 2 if "virus" in n else 1 for n, label in zip(names, labels, strict=True)])
    if set(finer.tolist()) != {0, 1, 2}:
        raise ValueError(f"these names hold {', '.join(CLASSES[i] for i in sorted(set(finer.tolist())))} alone")
    return finer.astype(np.int32)


def train(name: str, missing: list[Part]) -> None:
    """Train these networks of a set, one after another; opened test images stand in the set's access log."""
    import spaces
    from search.study import access_log
    from xraytune.training.trainer import Trainer

    place = networks.workshop(name)
    whole, dealt = crops.folds_of(place)
    images = [image for split in ("train", "val") for image in place.dataset.select(split)]
    finer = subclasses([image.key for image in images], whole.labels)
    for part in missing:
        fitted, held = dealt[part.seed]
        own = dataclasses.replace(whole, train=fitted, validation=held)
        views = with_views(own, 0).views
        if part.arm == "subclasses":
            own = dataclasses.replace(own, labels=finer, classes=CLASSES, positive=None)
        counts = np.bincount(own.labels[fitted])
        context = dataclasses.replace(place.job.context, classes=len(counts), counts=tuple(counts.tolist()))
        point = config(place.space, seed=100 + part.seed, **dataclasses.replace(part, arm="shape jitter").values)
        training = Trainer(spaces.get(place.job.space, context), point, own)
        while not training.step().done:
            pass
        training.finish()

        def answers(pixels: NDArray[np.uint8], training: Any = training) -> NDArray[np.float32]:
            found = np.asarray(training.model.predict(pixels, batch_size=64, verbose=0), np.float32)
            return np.stack([found[:, 0], found[:, 1:].sum(axis=1)], axis=1)

        pool, truth = np.asarray(training.images.pool[held]), whole.labels[held]
        shown = shifted_views.subset(truth, PER_CLASS)
        kept = {f"view:{view.name}": answers(shifted_views.draw(pool[shown], view)) for view in views}
        kept["view:clean"] = answers(pool[shown])
        kept |= {"probabilities": answers(pool), "labels": truth, "view_labels": truth[shown], "positive": np.array(1)}
        if name != crops.WITHOUT_TEST:
            what = f"evidence, {part.arm}, {part.head}, seed {part.seed}"
            opened = {"what": what, "test_fingerprint": place.dataset.test_fingerprint}
            access_log.append(networks.RESULTS / "refinements" / name, opened)
            kept["test"] = answers(np.load(arrays.test(place.dataset, pool.shape[1])))
            kept["test_labels"] = np.array([image.label for image in place.dataset.select("test")], np.int32)
        crops.keep(part, crops.figures(kept), to=KEPT)
        print(f"{name}: {part.arm}, {part.head}, seed {part.seed}", flush=True)


def make(workers: int) -> None:
    """Train what is missing, in `workers` processes of one thread each, and write the page."""
    for name in crops.ON:
        done = crops.known(KEPT)
        networks.spread(train, name, [part for part in crops.parts(name, TARGETS) if part not in done], workers)
    artifacts.write_text(PAGE, page())


def page() -> str:
    """What there is."""
    tables = {name: crops.table(name, TARGETS, KEPT, "targets") for name in crops.ON}
    parts = "".join(f"\n### {name}\n\n{text}" for name, text in tables.items() if text)
    return (
        "# Two refinements: subclasses as targets, a fold for each trial\n\n"
        "Each is kept only if it is better over the views in three seeds. Made by `make evidence PART=refinements`.\n\n"
        "## Bacterial and viral as targets of their own\n\n"
        "The networks of [crops.md](crops.md) under shape jitter are trained on two classes or on three, taken from "
        "the file names; the probabilities of the two kinds of pneumonia are added. Three seeds, each of which holds "
        "out another patient-grouped fold; the best epoch is chosen by the clean score of the targets that are trained "
        "on. Of the chest X-rays (`xray`) only training and validation images are used. Values are means of the seeds "
        f"± their standard deviation; columns without another name are ROC AUC.\n{parts}\n"
        "## One validation fold for all trials, or one for each\n\n"
        "A search that validates all trials on one fold may choose what happens to suit it. Here the candidates are "
        "the networks of [crops.md](crops.md), each of which was judged on three folds. Columns: robust F2, on the "
        "other two folds, of the network that is best on one fold; the mean of these; and the same where each network "
        f"is judged on a fold of its own, drawn at random (the expectation over all draws).\n\n{fold_table()}{DECISION}"
    )


def fold_table() -> str:
    """A line a set: the robust F2 of a network chosen on one fold for all, and on a fold of its own, by other folds.

    The networks are the candidates. With one fold for all, the best on it is taken; with its own, each is judged on a
    fold drawn at random, exactly: every draw counts. What is taken is judged by the mean of its other folds.
    """
    lines = ["| set | networks | fold 1 | fold 2 | fold 3 | mean | own folds |", "|---" * 7 + "|"]
    for name in crops.ON:
        found = {part: values[crops.COLUMNS.index("robust F2, all views")] for part, values in crops.known().items()}
        pairs = [
            (arm, head) for arm in crops.ARMS for head in crops.HEADS if Part(name, arm, head, crops.SEEDS - 1) in found
        ]
        scores = np.array([[found[Part(name, *pair, seed)] for seed in range(crops.SEEDS)] for pair in pairs])
        others = (scores.sum(axis=1, keepdims=True) - scores) / (crops.SEEDS - 1)
        shared = others[scores.argmax(axis=0), np.arange(crops.SEEDS)]
        lower, own = scores[None, None], scores[:, :, None, None]
        beats = ((lower < own) + 0.5 * (lower == own)).mean(axis=-1)
        beats[np.arange(len(pairs)), :, np.arange(len(pairs))] = 1.0
        taken = beats.prod(axis=-1) / crops.SEEDS
        expected = float((taken * others).sum() / taken.sum())
        cells = " | ".join(f"{value:.3f}" for value in (*shared, shared.mean(), expected))
        lines.append(f"| {name} | {len(pairs)} | {cells} |")
    return "\n".join(lines) + "\n"
