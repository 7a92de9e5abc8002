"""The figures that trackers record, by the same names in each of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xraytune.records import EpochReport, TrialConfig, TrialResult


def parameters(config: TrialConfig) -> dict[str, Any]:
    """Family and hyperparameters, and `site` where the trial is validated on a site that it holds out."""
    return {"family": config.family, **config.values, **({"site": config.site} if config.site else {})}


def of_epoch(report: EpochReport) -> dict[str, float]:
    """Metrics of an epoch, and `objective` where it was measured."""
    return {**report.metrics, **({"objective": report.value} if report.judged else {})}


def of_result(result: TrialResult) -> dict[str, float]:
    """`value`, a trial's objective; its epochs, parameters and seconds; each metric at the best epoch as `best/…`."""
    return {
        "value": result.value,
        "best_epoch": result.best_epoch,
        "epochs": result.epochs,
        "parameters": result.parameters,
        "seconds": sum(result.seconds.values()),
        **{f"best/{name}": value for name, value in result.metrics.items()},
    }


def of_final_model(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Metrics on the test set as `test/…`, with the ends of their 95 % intervals as `…_low` and `…_high`.

    Args:
        metrics: those of `metrics.json`.
    """
    found = {}
    for name, figures in metrics["test"]["overall"].items():
        for end, value in zip(("", "_low", "_high"), figures, strict=True):
            if value is not None:
                found[f"test/{name}{end}"] = float(value)
    return found
