"""What a family of networks declares of itself; its hyperparameters are declared by a space."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from xraytune.framework import keras
from xraytune.records import Value

Network = Callable[[Mapping[str, Value], int, int, Mapping[str, str | Path]], keras.Model]
"""The uncompiled network of active values, of images with so many channels and classes, with weights by backbone."""


@dataclass(frozen=True)
class Family:
    """One family; all but its hyperparameters."""

    sizes: tuple[int, ...]
    """Image sizes that a space may offer, pixels, ascending."""

    network: Network

    efficiency: float
    """Share of the machine's matrix-multiplication rate that a training step reaches, measured on one core."""

    trace_seconds: float
    """Seconds until the first step runs."""

    operations: Callable[[Mapping[str, Value]], float] | None = None
    """Operations an image of one training step, forward and backward; None for a family that may begin with a frozen
    backbone, which `models.cost` counts."""

    grace: int = 2
    """Epochs before a trial may be stopped early. Trained from random weights, a network needs longest to leave the
    trivial answer."""
