"""Example test images: most certain, closest to the threshold, and wrong predictions, each with its Grad-CAM."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.cli import console
from search.retraining.workers.worker_pool import Report, Workers
from xraytune import artifacts
from xraytune.data.dataset import Dataset
from xraytune.evaluation import metrics
from xraytune.inference.model_card import read_card

EACH = 4
"""Images a row of the report."""

EDGE = 300
"""Pixels of an image in the report: enough to see where the map is high, small enough for one file."""

KINDS = {
    "surest": "The surest right answers",
    "doubtful": "The most doubtful, nearest to another answer",
    "wrong": "The wrong answers, the surest first",
}


@dataclass(frozen=True)
class Case:
    """One image of the test set, and why it is shown."""

    kind: str
    row: int
    """Its place in the test set."""


def choose(
    labels: NDArray[Any], p: NDArray[Any], decided: NDArray[Any], positive: int | None, threshold: float
) -> list[Case]:
    """Up to `EACH` images of each kind; every class is among the most certain, however many there are.

    Args:
        labels: `(n,)`.
        p: calibrated probabilities `(n, k)`.
        decided: class indices `(n,)`.
        positive: the positive class or None.
        threshold: operating threshold.
    """
    n, k = p.shape
    right = decided == labels
    certainty = p[np.arange(n), decided]
    ordered = np.sort(p, axis=1)
    doubt = np.abs(p[:, positive] - threshold) if positive is not None else ordered[:, -1] - ordered[:, -2]
    surest: list[int] = []
    for c in range(k):
        rows = np.flatnonzero(right & (labels == c))
        surest += rows[np.argsort(-certainty[rows], kind="stable")][: max(1, EACH // k)].tolist()
    wrong = np.flatnonzero(~right)
    # with a threshold far from a half the certainty of a wrong answer is its distance from the threshold
    badness = np.abs(p[wrong, positive] - threshold) if positive is not None else certainty[wrong]
    chosen = [Case("surest", row) for row in surest]
    chosen += [Case("doubtful", int(row)) for row in np.argsort(doubt, kind="stable")[:EACH]]
    return chosen + [Case("wrong", int(row)) for row in wrong[np.argsort(-badness, kind="stable")][:EACH]]


@dataclass(frozen=True)
class HeatTask:
    """Image and Grad-CAM side by side, as JPEG."""

    folder: Path
    """The model's."""
    arrays: Mapping[int, Path]
    """Decoded test images by edge, for the networks."""
    files: Sequence[Path]
    """The images' files, shown beside the maps."""
    rows: Sequence[int]
    classes: Sequence[int]
    """Which class is explained, by row."""

    def __call__(self, report: Report) -> tuple[str, list[tuple[bytes, bool]]]:
        """What the maps are called; one JPEG a row, and whether its map is blank. Runs in a worker."""
        from PIL import Image

        from xraytune.data.decoding.reading import read_image
        from xraytune.inference import grad_cam
        from xraytune.inference.classifier import load_model

        model = load_model(self.folder)
        rows = np.asarray(self.rows)
        squares = {size: np.asarray(np.load(self.arrays[size], mmap_mode="r")[rows]) for size in model.sizes}
        out = []
        heats = model.heat_maps(squares, np.asarray(self.classes), EDGE)
        for path, heat, answer in zip(self.files, heats, self.classes, strict=True):
            image = read_image(path, EDGE, fit=model.card.fit)
            pair = np.concatenate([image.repeat(3, axis=-1), grad_cam.overlay(image, heat)], axis=1)
            empty = grad_cam.blank(heat)
            if empty:
                pair = grad_cam.captioned(pair, [grad_cam.caption(heat, model.card.classes[answer], model.heat_method)])
            stream = io.BytesIO()
            Image.fromarray(pair).save(stream, "JPEG", quality=82)
            out.append((stream.getvalue(), empty))
        return model.heat_method, out


def write(
    folder: Path,
    pool: Workers,
    arrays: Mapping[int, Path],
    dataset: Dataset,
    labels: NDArray[Any],
    p: NDArray[Any],
) -> None:
    """Choose the images and write them with their Grad-CAM maps, as JPEGs beside the model.

    Args:
        folder: the model's.
        pool: in whose processes the networks run.
        arrays: decoded test images by edge.
        dataset: the data.
        labels: of the test images.
        p: calibrated probabilities `(n, k)`.
    """
    card = read_card(folder)
    decided = metrics.decide(p, card.positive, card.threshold)
    chosen = choose(labels, p, decided, card.positive, card.threshold)
    rows = [c.row for c in chosen]
    images = dataset.select("test")
    files = [dataset.path(images[row]) for row in rows]
    outcome = next(pool.run([HeatTask(folder, arrays, files, rows, [int(decided[r]) for r in rows])]))
    if outcome.error:
        console.err.say(f"No Grad-CAM in the report: {outcome.error}", style="yellow")
        return
    method, pictures = outcome.value
    listing = []
    for i, (case, (jpeg, empty)) in enumerate(zip(chosen, pictures, strict=True)):
        artifacts.write_bytes(folder / "gradcam" / f"{i:02d}.jpg", jpeg)
        answer = int(decided[case.row])
        listing.append(
            {
                "title": KINDS[case.kind],
                "file": f"{i:02d}.jpg",
                "key": images[case.row].key,
                "truth": dataset.classes[images[case.row].label],
                "decision": dataset.classes[answer],
                "probability": float(p[case.row, answer]),
                "probability_of": dataset.classes[answer],
                "blank": empty,
                "method": method,
            }
        )
    artifacts.write_json(folder / "gradcam" / "cases.json", listing)
