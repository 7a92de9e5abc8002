"""The test images worth looking at: the most certain, the least certain and the wrong ones, with their Grad-CAM."""

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
"""Images of each kind."""

EDGE = 512
"""Pixels of an image in the report: enough to judge a radiograph's large findings, small enough for one file."""

KINDS = {
    "surest": "Most certain correct decisions",
    "doubtful": "Least certain decisions",
    "wrong": "Wrong decisions, the most certain first",
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
    """Up to `EACH` images of each kind, every class among the surest, however many there are.

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
    """Test images and their Grad-CAM overlays, as JPEG."""

    folder: Path
    """The model's."""
    arrays: Mapping[int, Path]
    """Decoded test images by edge, for the networks."""
    images: Sequence[Path]
    """The files themselves, for the eye."""
    rows: Sequence[int]
    classes: Sequence[int]
    """Which class is explained, by row."""

    def __call__(self, report: Report) -> tuple[str, list[tuple[bytes, bytes, bool]]]:
        """What the maps are called; by row the image, its overlay, and whether the map is blank. Runs in a worker."""
        from xraytune.data.decoding.reading import read_image
        from xraytune.inference import grad_cam
        from xraytune.inference.classifier import load_model

        model = load_model(self.folder)
        rows = np.asarray(self.rows)
        squares = {size: np.asarray(np.load(self.arrays[size], mmap_mode="r")[rows]) for size in model.sizes}
        out = []
        heats = model.heat_maps(squares, np.asarray(self.classes), EDGE)
        for path, heat in zip(self.images, heats, strict=True):
            image = read_image(path, EDGE, fit=model.card.fit)
            out.append((_jpeg(image[..., 0]), _jpeg(grad_cam.overlay(image, heat)), grad_cam.blank(heat)))
        return model.heat_method, out


def _jpeg(pixels: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=82)
    return stream.getvalue()


def write(
    folder: Path,
    pool: Workers,
    arrays: Mapping[int, Path],
    dataset: Dataset,
    labels: NDArray[Any],
    p: NDArray[Any],
) -> None:
    """Choose the images and write them and their overlays, as JPEGs beside the model.

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
    for i, (case, (image, overlay, blank)) in enumerate(zip(chosen, pictures, strict=True)):
        artifacts.write_bytes(folder / "gradcam" / f"{i:02d}.jpg", image)
        artifacts.write_bytes(folder / "gradcam" / f"{i:02d}-overlay.jpg", overlay)
        listing.append(
            {
                "title": KINDS[case.kind],
                "file": f"{i:02d}.jpg",
                "overlay": f"{i:02d}-overlay.jpg",
                "image": case.row + 1,
                "truth": dataset.classes[images[case.row].label],
                "decision": dataset.classes[int(decided[case.row])],
                "probabilities": [float(v) for v in p[case.row]],
                "blank": blank,
                "method": method,
            }
        )
    artifacts.write_json(folder / "gradcam" / "cases.json", listing)
