"""Specifications, results and studies for the tests of what owns them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from search.driver.prepared import Prepared
from search.study.view import TrialRecord, open_study
from search.testing.synthetic_space import Branches
from xraytune.records import EpochReport, StudySpec, TrialConfig, TrialResult

SPACE = Branches()


def spec(name="mine", **changes):
    fields = {
        "name": name,
        "data": "none",
        "train_fingerprint": "a",
        "test_fingerprint": "b",
        "classes": ("low", "high"),
        "positive": 1,
        "space": "branches",
        "space_signature": "s",
        "families": SPACE.families,
    }
    return StudySpec(**{**fields, **changes})


def result(value, epochs=1, **changes):
    curve = tuple({"epoch": float(i + 1), "value": value} for i in range(epochs))
    fields = {
        "value": value,
        "best_epoch": 1,
        "epochs": epochs,
        "metrics": {"f_beta": value},
        "curve": curve,
        "seconds": {"train": 1.0},
        "parameters": 10,
        "peak_memory_mb": 1.0,
        "versions": {},
        "device": "cpu",
        "host": "here",
    }
    return TrialResult(**{**fields, **changes})


def prepared(space=SPACE, **changes):
    return Prepared(spec(**changes), space.declare_hyperparameters, space.families, (), (), None, ())


class Silent:
    def __getattr__(self, name):
        return lambda *arguments: None


def report(epoch, value):
    return EpochReport(epoch=epoch, value=value, metrics={}, seconds={})


def trials(tmp_path):
    return open_study("mine", tmp_path).trials()


def trial(
    number: int, value: float | None = 0.9, state: str = "COMPLETE", seconds: float = 10.0, **attributes: Any
) -> Any:
    """A trial of one width, with only what plans and finalists read of its result."""
    config = TrialConfig("cnn", {"family": "cnn", "cnn/width": number}, seed=1)
    curve = attributes.pop("curve", {})
    result = SimpleNamespace(seconds={"train": seconds}, value=value, epochs=max(curve, default=1))
    values = () if value is None else (value,)
    return TrialRecord(number, state, values, config, result, "", "", curve, None, None, attributes)  # type: ignore[arg-type]
