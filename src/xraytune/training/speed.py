"""How fast networks train on this host, by the trials of earlier searches; nothing is timed for it.

A rate is operations a second of one core, as `models.cost` counts them, of the family whose estimate is the most exact.
Each search adds the median of its trials. The fastest search counts: other work on the machine makes a search slower,
never faster.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from xraytune import artifacts, hardware
from xraytune.errors import ArtifactError
from xraytune.models.cost import EFFICIENCY, STEP_SECONDS, cost
from xraytune.records import TrialConfig, TrialResult
from xraytune.training.inputs.batches import epoch_size
from xraytune.training.optimization.settings import TrainingSettings

FAMILY = "cnn"
LEAST_SECONDS = 5.0
"""Of training, below which a trial says nothing: starting up counts for too much."""

BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16")
"""Instructions that compute in bfloat16."""

CLEARLY = 1.05
"""How many times as fast bfloat16 must be: below, two measurements of the same thing differ as much."""


@dataclass(frozen=True)
class Trained:
    """One trial of a search."""

    config: TrialConfig
    result: TrialResult


def rates(folder: Path) -> dict[str, float]:
    """Operations a second of one core by precision (`float32`, `bfloat16`); only those that were measured.

    Args:
        folder: where they are kept, by host and backend.
    """
    try:
        return {str(name): float(rate) for name, rate in artifacts.read_json(_file(folder)).items() if rate > 0}
    except (ArtifactError, TypeError, ValueError, AttributeError):  # not there, or no longer what was written
        return {}


def bfloat16_is_faster(known: dict[str, float]) -> bool:
    """Whether networks train clearly faster in bfloat16 here: as measured, else where the processor computes in it."""
    if len(known) == 2:
        return known["bfloat16"] >= CLEARLY * known["float32"]
    return bool(hardware.instructions().intersection(BFLOAT16))


def remember(trials: Iterable[Trained], images: int, threads: int, folder: Path) -> None:
    """Keep the rates of a search's trials, where they are higher than what is known.

    Args:
        trials: complete ones, on this host's cores.
        images: training images.
        threads: of each trial.
        folder: as for `rates`.
    """
    found: dict[str, list[float]] = {}
    for trial in trials:
        if trial.config.family == FAMILY and (rate := _rate(trial, images, threads)):
            found.setdefault(str(trial.config.values.get("precision", "float32")), []).append(rate)
    known = rates(folder)
    better = {name: median(of) for name, of in found.items() if median(of) > known.get(name, 0.0)}
    if better:
        artifacts.write_json(_file(folder), known | better)


def _rate(trial: Trained, images: int, threads: int) -> float | None:
    try:
        each = cost(trial.config.values)
    except (KeyError, ValueError):  # of a space of the user's own whose family has the same name
        return None
    plan = TrainingSettings.of(trial.config.values)
    epoch = epoch_size(images, plan.epoch_images)
    steps = trial.result.epochs * max(epoch // plan.batch_size, 1)
    seconds = trial.result.seconds.get("train", 0.0) - each.trace - steps * STEP_SECONDS
    if seconds < LEAST_SECONDS:
        return None
    return trial.result.epochs * epoch * each.train / (EFFICIENCY[FAMILY] * seconds * threads)


def _file(folder: Path) -> Path:
    return folder / f"rates-{platform.node()}-{os.environ.get('KERAS_BACKEND', 'tensorflow')}.json"
