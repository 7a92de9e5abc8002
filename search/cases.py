"""The films worth looking at: the surest, the most doubtful and the wrong ones, each with its Grad-CAM."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.workers import Report

EACH = 4
"""Films a row of the report."""

EDGE = 200
"""Pixels of a film in the report: enough to see where the heat lies, small enough for one file."""

KINDS = {
    "surest": "The surest right answers",
    "doubtful": "The most doubtful, nearest to the operating threshold",
    "wrong": "The wrong answers, the surest first",
}


@dataclass(frozen=True)
class Case:
    """One film of the test set, and why it is shown."""

    kind: str
    row: int
    """Its place in the test set."""


def choose(
    labels: NDArray[Any], p: NDArray[Any], decided: NDArray[Any], positive: int | None, threshold: float
) -> list[Case]:
    """Up to `EACH` films of each kind, every class among the surest.

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
    chosen = [Case("surest", row) for row in surest[:EACH]]
    chosen += [Case("doubtful", int(row)) for row in np.argsort(doubt, kind="stable")[:EACH]]
    return chosen + [Case("wrong", int(row)) for row in wrong[np.argsort(-badness, kind="stable")][:EACH]]


@dataclass(frozen=True)
class HeatTask:
    """Film and Grad-CAM side by side, as JPEG."""

    folder: Path
    """The model's."""
    arrays: Mapping[int, Path]
    """Decoded test images by edge."""
    rows: Sequence[int]
    classes: Sequence[int]
    """Whose logit is explained, by row."""

    def __call__(self, report: Report) -> list[bytes]:
        """One JPEG a row. Runs in a worker."""
        from PIL import Image

        from xraytune import explain
        from xraytune.model_file import load_model

        model = load_model(self.folder)
        images = np.asarray(np.load(self.arrays[model.members[0].image_size], mmap_mode="r")[np.asarray(self.rows)])
        network: Any = model.networks[0]
        out = []
        for image, heat in zip(images, explain.heat_maps(network.model, images, np.asarray(self.classes)), strict=True):
            film = image if image.shape[-1] == 3 else image.repeat(3, axis=-1)
            pair = np.concatenate([film, explain.overlay(image, heat)], axis=1)
            stream = io.BytesIO()
            Image.fromarray(pair).resize((2 * EDGE, EDGE), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=82)
            out.append(stream.getvalue())
        return out
