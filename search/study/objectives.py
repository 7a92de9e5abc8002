"""Objectives by name, their directions, and the value of a trial."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from xraytune.errors import TrialError
from xraytune.records import FailureCause, TrialResult


def objective_value(name: str, result: TrialResult) -> float:
    """A further objective by name: `parameters`, `inference_ms`, or any other metric a result holds.

    Raises:
        TrialError: the result does not hold it.
    """
    if name == "parameters":
        return float(result.parameters)
    if name not in result.metrics:
        known = ", ".join(["parameters", *result.metrics])
        raise TrialError(FailureCause.BAD_CONFIG, f"the result has no {name!r}; it has {known}")
    return float(result.metrics[name])


SMALLER_IS_BETTER = frozenset({"parameters", "inference_ms", "loss", "brier", "calibration_error"})
"""Objectives that are minimised, by their name without `val_`; every other figure is better where it is larger."""


def directions(objectives: Sequence[str]) -> list[Literal["minimize", "maximize"]]:
    """`maximize` or `minimize` for each objective by its name."""
    return ["minimize" if name.removeprefix("val_") in SMALLER_IS_BETTER else "maximize" for name in objectives]
