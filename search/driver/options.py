"""Options of a search: those kept with the study, those of the session, their checks and default budgets."""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search.tuner.resources import Resources
from typing import TYPE_CHECKING

from search.samplers import SAMPLERS
from search.tuner import PRUNERS
from xraytune.errors import InputError
from xraytune.records import Objective

if TYPE_CHECKING:
    from search.tuner.resources import Resources
import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class SessionOptions:
    """How a search is run, beside what is searched; none of it belongs to the study."""

    results: Path = Path("results")
    storage: str | None = None
    concurrency: int | None = None
    gpus_per_trial: float | None = None
    cpus_per_trial: float | None = None
    trial_timeout: float | None = None
    trial_memory: int = 0
    deterministic: bool = False
    address: str | None = None
    ray_dashboard: bool = False
    warm_start: str | None = None
    patience: int | None = None
    target: float | None = None
    failures: float | None = None
    verbose: bool = False
    """Whether the terminal is told all that `search.log` says."""
    begun: float = field(default_factory=time.time)

    @property
    def where(self) -> str:
        """The options by which other commands find the study, with a space before; empty for the usual place.

        A password is shown as `***`: `PASSWORD_NOTE` says what to do.
        """
        from search.study.database import shown_url

        parts = [f" --results {shlex.quote(str(self.results))}"] if self.results != Path("results") else []
        return "".join([*parts, *([f" --storage {shlex.quote(shown_url(self.storage))}"] if self.storage else [])])

    def settings(self, plan: Resources) -> dict[str, Any]:
        """What the trials of a session run with and no configuration of theirs says; kept with the study."""
        from xraytune.training.machine import versions

        return {
            "deterministic": self.deterministic,
            "concurrency": plan.concurrency,
            "cpus_per_trial": plan.cpus,
            "gpus_per_trial": plan.gpus,
            "trial_memory": self.trial_memory,
            "trial_timeout": self.trial_timeout,
            "address": self.address,
            "versions": versions() | {package: version(package) for package in ("optuna", "ray")},
        }


DEMONSTRATION_TRIALS, DEMONSTRATION_SECONDS = 24, 240.0
"""The demonstration's budget: over within five minutes on two cores."""


DEFAULT_SECONDS = 1800.0
"""TIME where the user gave data but no budget."""


def budget(trials: int | None, seconds: float | None, *, demonstration: bool) -> tuple[int | None, float | None]:
    """TRIALS and TIME, with the defaults where neither was given."""
    if trials is not None or seconds is not None:
        return trials, seconds
    return (DEMONSTRATION_TRIALS, DEMONSTRATION_SECONDS) if demonstration else (None, DEFAULT_SECONDS)


def reckoned(seconds: float | None, *, demonstration: bool) -> tuple[float, tuple[str, ...]]:
    """What the space and the recipes are measured by, and a line where it is not TIME.

    TRIALS alone bound no trial: one whose network takes hours to train would be as welcome as any.
    """
    if seconds is not None:
        return seconds, ()
    usual = DEMONSTRATION_SECONDS if demonstration else DEFAULT_SECONDS
    line = f"TRIALS without TIME: networks and recipes are chosen as for a search of {usual / 60:.0f} minutes."
    return usual, (line,)


def check(options: StudyOptions, running: SessionOptions) -> None:
    """Refuse what can be refused before anything slow is imported or read.

    Raises:
        InputError: with what to change.
    """
    for option, number in (("--trials", options.trials), ("--patience", running.patience)):
        if number is not None and number < 1:
            raise InputError(f"{option} must be 1 or more, not {number}.")
    if running.failures is not None and not 0 < running.failures <= 1:
        raise InputError(f"--failures must be a share above 0 and up to 1, not {running.failures:g}: 0.5 is half.")
    if not options.beta > 0:
        raise InputError(f"--beta must be above 0, not {options.beta:g}: 2 counts recall twice, 1 is plain F1.")
    if options.seed < 0 or options.max_epochs < 0:
        raise InputError("--seed and --max-epochs can't be negative.")
    for option, chosen, known in (
        ("--objective", options.objective, tuple(Objective)),
        ("--fit", options.fit, ("crop", "pad", "squash")),
        ("--sampler", options.sampler or SAMPLERS[0], SAMPLERS),
        ("--precision", options.precision, ("auto", "float32", "bfloat16")),
        ("--pruner", options.pruner, PRUNERS),
    ):
        if chosen not in known:
            raise InputError(f"{option} {chosen!r} is not known. There are: {', '.join(known)}.")
    if options.objectives[0] != "f_beta" or len(options.objectives) > 2 or not all(options.objectives):
        raise InputError("--objectives: f_beta first, and at most one more: f_beta,parameters.")
    if len(options.objectives) > 1 and options.pruner in {"median", "hyperband"}:
        raise InputError(
            f"--pruner {options.pruner} is Optuna's and can't prune with two objectives. Use asha (on f_beta) or none."
        )
    if options.resume and options.study is None:
        raise InputError("--resume needs the study's name: --study NAME. See: python -m search.leaderboard")


@dataclass(frozen=True)
class StudyOptions:
    """What the user asked for; the fields are the options of `python -m search.run`."""

    data: str | None = None
    space: str | None = None
    trials: int | None = None
    seconds: float | None = None
    study: str | None = None
    beta: float = 2.0
    seed: int = 0
    resume: bool = False
    families: tuple[str, ...] = ()
    fix: Mapping[str, str] = field(default_factory=dict)
    objective: str = "robust"
    objectives: tuple[str, ...] = ("f_beta",)
    positive: str | None = None
    fit: str = "crop"
    sampler: str | None = None
    """None: as the study that is resumed has it, else the default."""
    pruner: str = "asha"
    recipes: str = "none"
    quarantine: bool = False
    patient_regex: str | None = None
    max_epochs: int = 0
    weights_dir: Path | None = None
    cache: Path | None = None
    precision: str = "auto"
    """What networks compute in: float32, bfloat16, or whichever is faster here."""
    cache_limit: int = 0
    """Bytes that kept prefixes may take on disk; 0 leaves it to the library."""
    given: frozenset[str] = frozenset()
    """Fields that the user gave by name, a default's own value among them: a resumed study does not fill them in."""

    def to_request(self) -> dict[str, Any]:
        """What belongs to the study, as plain values: kept with it, so that `--resume` alone asks for it again."""
        left_out = {"study", "resume", "weights_dir", "cache", "cache_limit", "given"}
        plain = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in left_out}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in plain.items() if v != _DEFAULTS[k]}

    def completed(self, request: Mapping[str, Any]) -> StudyOptions:
        """These options; where they were not given and are at their defaults, those of an earlier request."""
        known: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in request.items() if k in _DEFAULTS
        }
        if self.trials is not None or self.seconds is not None:  # a new budget replaces the old one whole
            known = {k: v for k, v in known.items() if k not in {"trials", "seconds"}}
        earlier: dict[str, Any] = {
            k: v for k, v in known.items() if k not in self.given and getattr(self, k) == _DEFAULTS[k]
        }
        return dataclasses.replace(self, **earlier)


_DEFAULTS = {f.name: getattr(StudyOptions(), f.name) for f in dataclasses.fields(StudyOptions)}
