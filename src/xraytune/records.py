"""The frozen records that cross a boundary: driver to worker, worker to driver, session to session.

Each validates itself when it is made and turns into plain JSON and back, so that a record that exists can be trusted
and a record that was stored can be compared.
"""

from __future__ import annotations

import builtins
import collections.abc
import dataclasses
import enum
import json
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

Value = int | float | str | bool
"""What a hyperparameter may be."""


class FailureCause(enum.StrEnum):
    """Why a trial ended without a value. `interrupted` is no failure: it counts nowhere and is queued again."""

    NAN = "nan"
    OOM = "oom"
    TIMEOUT = "timeout"
    WORKER_LOST = "worker_lost"
    BAD_CONFIG = "bad_config"
    ERROR = "error"
    INTERRUPTED = "interrupted"


class Objective(enum.StrEnum):
    """What a trial is judged by: its clean validation images, or those and their shifted views together."""

    CLEAN = "clean"
    ROBUST = "robust"


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


class Record:
    """JSON there and back for the frozen dataclasses below."""

    def to_json(self) -> dict[str, Any]:
        """The record as plain JSON values (tuples as lists, enums as their strings)."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self), default=dict))  # type: ignore[call-overload]
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        """The record that `to_json` wrote; unknown keys are refused.

        Raises:
            ValueError: a key is unknown or a value is out of its range.
            TypeError: it is no mapping, a required key is missing or a value is of another type.
        """
        if not isinstance(plain, Mapping):
            raise TypeError(f"{cls.__name__}: {plain!r:.40} is no record")
        names = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
        unknown = sorted(set(plain) - names)
        _require(not unknown, f"{cls.__name__}: unknown keys {unknown}")
        kinds = typing.get_type_hints(cls)
        for name, value in plain.items():
            if not _fits(value, kinds[name]):
                raise TypeError(f"{cls.__name__}: {name} can't be {value!r:.40}")
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in plain.items()})


def _fits(value: Any, kind: Any) -> bool:
    """Whether a JSON value is what a field of that type is stored as."""
    arguments = typing.get_args(kind)
    match typing.get_origin(kind) or kind:
        case types.UnionType | typing.Union:
            return any(_fits(value, one) for one in arguments)
        case builtins.tuple:
            return isinstance(value, list | tuple) and all(_fits(one, arguments[0]) for one in value)
        case collections.abc.Mapping:
            return isinstance(value, Mapping) and all(_fits(one, arguments[1]) for one in value.values())
        case builtins.float:
            return isinstance(value, int | float) and not isinstance(value, bool)
        case builtins.int:
            return isinstance(value, int) and not isinstance(value, bool)
        case simple:
            return simple is Any or isinstance(
                value, Mapping if isinstance(simple, type) and issubclass(simple, Record) else simple
            )


@dataclass(frozen=True)
class TrialConfig(Record):
    """One point of a space, ready to be trained."""

    family: str
    """The architecture family, e.g. `cnn`; for a foreign HyperModel, the space's name."""

    values: Mapping[str, Value]
    """Every *active* hyperparameter by its declared name."""

    seed: int
    """Seeds initial weights, shuffling, dropout and augmentation."""

    site: str = ""
    """The site that is held out to validate on; empty where validation is by patient."""

    def __post_init__(self) -> None:
        _require(bool(self.family), "a trial needs a family")
        _require(self.seed >= 0, f"seed {self.seed} is negative")
        for name, value in self.values.items():
            _require(isinstance(value, int | float | str | bool), f"{name}: {value!r} is no plain value")


@dataclass(frozen=True)
class EpochReport(Record):
    """What one epoch achieved on the validation images."""

    epoch: int
    """Epochs finished so far, from 1."""

    value: float
    """The objective after this epoch: F-beta, or the robust score as it was last measured; NaN is refused: a NaN is a
    TrialError."""

    metrics: Mapping[str, float]
    """loss, val_loss, val_auc, val_f_beta, val_sensitivity, val_specificity, robust, … whatever was measured."""

    seconds: Mapping[str, float]
    """Seconds by phase since the last report: build, prefix, train, validate, views."""

    best_value: float = field(default=math.nan)
    """The value a trial that stopped here would have: that of the epoch whose weights it would restore; NaN where no
    epoch is preferred to another."""

    done: bool = False
    """Whether the trial has ended by itself (epochs spent, or early stopping)."""

    judged: bool = True
    """Whether the objective was measured after this very epoch: only then trials are compared. The robust score is
    measured at rungs (`course.is_rung`)."""

    def __post_init__(self) -> None:
        _require(self.epoch >= 1, f"epoch {self.epoch} is not counted from 1")
        _require(math.isfinite(self.value), "an objective must be finite")

    @property
    def standing(self) -> float:
        """What ASHA compares: the best epoch's value, this epoch's own where none is preferred."""
        return self.value if math.isnan(self.best_value) else self.best_value


@dataclass(frozen=True)
class TrialResult(Record):
    """What a finished (or pruned) trial leaves behind; kept in its folder."""

    value: float
    """The objective at the epoch whose weights were restored."""

    best_epoch: int
    """That epoch, from 1."""

    epochs: int
    """Epochs run."""

    metrics: Mapping[str, float]
    """The metrics at `best_epoch`, and `f_beta_best_threshold` with its `best_threshold`."""

    curve: tuple[Mapping[str, float], ...]
    """One mapping an epoch: every metric, `epoch`, and `value`, by which the best epoch is chosen: F-beta; under the
    robust objective that of equally frequent classes at the best threshold."""

    seconds: Mapping[str, float]
    """Seconds by phase, summed."""

    parameters: int
    """Weights of the network, frozen ones included."""

    peak_memory_mb: float
    """The worker's peak resident memory, MiB."""

    versions: Mapping[str, str]
    """python, keras, backend, tensorflow or jax, numpy, xraytune."""

    device: str
    """`cpu` or the accelerator's name."""

    host: str
    """The machine that trained it."""

    def __post_init__(self) -> None:
        _require(math.isfinite(self.value), "an objective must be finite")
        _require(1 <= self.best_epoch <= self.epochs, f"best epoch {self.best_epoch} of {self.epochs}")

    @property
    def by_view(self) -> dict[str, float]:
        """F-beta under every view by the view's name, as it was measured; empty where no views were looked at."""
        return {name.removeprefix("view_"): v for name, v in self.metrics.items() if name.startswith("view_")}

    @property
    def weakest_view(self) -> tuple[str, float] | None:
        """The shifted view where the network falls and its F-beta there; None where no views were looked at."""
        return min(self.by_view.items(), key=lambda view: view[1], default=None)


LAYOUT = 3
"""Of a study: raised when the form that it is stored in changes, or its shifted views or the properties behind them, so
that scores of before and after can't be compared."""


def objective_label(objective: str, beta: float) -> str:
    """An objective's short name."""
    return f"robust F{beta:g}" if objective == Objective.ROBUST else f"F{beta:g}"


@dataclass(frozen=True)
class StudySpec(Record):
    """What a study was asked to do; stored with it, compared on resume, refused on conflict."""

    name: str
    """The study's name: letters, digits, `-`, `_` and `.`."""

    data: str
    """The data set as the user named it (absolute path or `demo`)."""

    train_fingerprint: str
    """sha256 over everything the search may see."""

    test_fingerprint: str
    """sha256 over the held-out test images; nothing of the search derives from it."""

    classes: tuple[str, ...]
    """Class names; labels index them."""

    positive: int | None
    """The positive class, None where there are three or more and none was named."""

    space: str
    """The space as the user named it."""

    space_signature: str
    """sha256 of the declared hyperparameters: names, ranges and conditions."""

    families: tuple[str, ...]
    """The families that take part."""

    fixed: Mapping[str, Value] = field(default_factory=dict)
    """Hyperparameters held at one value by `--fix`."""

    narrowed: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    """Choices left after those were dropped that this machine, these weights or TIME can't afford."""

    objective: str = Objective.CLEAN
    """`clean` or `robust`."""

    objectives: tuple[str, ...] = ("f_beta",)
    """What is optimised: `f_beta` first (by `objective`), then at most one figure of a result."""

    beta: float = 2.0
    """F-beta's beta: how many times recall counts against precision."""

    fit: str = "crop"
    """How an image becomes a square: crop, pad or squash."""

    sampler: str = "bo"
    pruner: str = "asha"
    seed: int = 0
    max_epochs: int = 0
    """The most epochs a trial may run; 0 leaves it to the space."""

    weights: Mapping[str, str] = field(default_factory=dict)
    """sha256 of each pretrained backbone in use, by name."""

    backbones: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The user's own backbones in use, each a `FileBackbone` as JSON, by name."""

    options: Mapping[str, Value] = field(default_factory=dict)
    """Whatever else must not change over a resume (quarantine, the patients' pattern)."""

    demonstration: bool = False
    """Drawn synthetic images, no X-rays."""

    sites: tuple[str, ...] = ()
    """The sites of which each trial holds out one to validate on; empty where validation is by patient."""

    layout: int = LAYOUT
    """Of the form that it is stored in and of the views that its trials are judged on."""

    def __post_init__(self) -> None:
        # JSON knows no tuples: made equal here, so that a stored spec compares with a new one
        object.__setattr__(self, "narrowed", {k: tuple(v) for k, v in self.narrowed.items()})
        _require(bool(self.objectives), "a study needs an objective")
        _require(self.beta > 0, f"beta must be above 0, not {self.beta}")
        _require(len(self.classes) >= 2, "a study needs two classes or more")
        _require(self.objective in set(Objective), f"unknown objective {self.objective!r}")
        _require(self.fit in {"crop", "pad", "squash"}, f"unknown fit {self.fit!r}")

    @property
    def label(self) -> str:
        """What its trials are compared by, in tables and on axes: `F2`, `robust F2`."""
        return objective_label(self.objective, self.beta)

    def differences(self, other: StudySpec) -> list[str]:
        """One line a field in which `other` differs, `name` left out: `beta: 2.0 in the study, 1.0 now`."""
        mine, theirs = self.to_json(), other.to_json()
        return [f"{k}: {mine[k]} in the study, {theirs[k]} now" for k in mine if k != "name" and mine[k] != theirs[k]]
