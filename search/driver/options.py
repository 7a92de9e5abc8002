"""Options of a search: those kept with the study, those of the session, their checks and default budgets."""

from __future__ import annotations

import dataclasses
import functools
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.cli import clock, options
from search.cli.options import (
    ADVANCED,
    BUDGET,
    DATA,
    HARDWARE,
    OBJECTIVE,
    OUTPUT,
    REPRODUCIBILITY,
    SPACE,
    STORAGE,
    option,
)
from search.cli.shared import Caches, Place, Reading
from search.samplers import SAMPLERS
from search.tracking.options import Tracking
from search.tuner import PRUNERS
from xraytune.errors import InputError
from xraytune.records import Objective

if TYPE_CHECKING:
    from search.study.studies import Studies
    from search.tuner.resources import Resources


@dataclass(frozen=True)
class StudyOptions(Reading, Caches):
    """What is searched; the fields are options of `python -m search.run`, and take its texts (`time="30m"`)."""

    data: str | None = option(
        None, "Folder of labelled images, archive, .npz, .csv manifest, or demo", DATA, metavar="DATA", shown="demo"
    )
    validate_on: str = option(
        "patient", "Validate trials on held-out patients, or each on one held-out site", DATA, metavar="NAME",
        choices=("patient", "site"),
    )  # fmt: skip
    trials: int | None = option(
        None, "Maximum number of trials of the study", BUDGET, metavar="NUMBER", shown="no limit; 24 without --data",
        least=1,
    )  # fmt: skip
    time: float | None = option(
        None, "Time budget of the study, like 90s, 30m, 1h30m", BUDGET, metavar="DURATION", parse=options.duration,
        shown="30m; 4m without --data; none if --trials is given",
    )  # fmt: skip
    max_epochs: int = option(
        0, "Maximum number of epochs of a trial", BUDGET, metavar="NUMBER", shown="set by the space", least=0
    )
    space: str | None = option(
        None, "Search space: chest_xray, smoke, module:name or file.py:name", SPACE, metavar="SPACE", shown="chest_xray"
    )
    families: tuple[str, ...] = option(
        (), "Only these families, like cnn,densenet", SPACE, metavar="LIST", parse=options.listed, shown="all"
    )
    fix: Mapping[str, Any] = option(
        {}, "Fix a hyperparameter at one value; may be repeated", SPACE, metavar="NAME=VALUE",
        parse=options.assignments, repeatable=True, shown="none",
    )  # fmt: skip
    backbone: Mapping[str, str] = option(
        {}, "A family from an ONNX or Keras file of features, like dino=dino.onnx; may be repeated", SPACE,
        metavar="NAME=FILE", parse=options.named_files, repeatable=True, shown="none",
    )  # fmt: skip
    backbone_input: Mapping[str, str] = option(
        {}, "Input of a backbone, like dino=224,rgb,imagenet; may be repeated", SPACE, metavar="NAME=SETTINGS",
        parse=functools.partial(options.assignments, example="dino=224,rgb,imagenet"), repeatable=True,
        shown="from the file",
    )  # fmt: skip
    backbone_licence: Mapping[str, str] = option(
        {}, "Licence of a backbone for the model card, like dino=Apache-2.0; may be repeated", SPACE,
        metavar="NAME=TEXT", parse=functools.partial(options.assignments, example="dino=Apache-2.0"), repeatable=True,
        shown="unknown",
    )  # fmt: skip
    recipes: str = option(
        "none", "Published configurations to try first: none, fitting, all, or names", SPACE, metavar="LIST"
    )
    objective: str = option(
        "robust", "Select by the validation images and their shifted views, or by the unshifted images only", OBJECTIVE,
        metavar="NAME", choices=tuple(Objective),
    )  # fmt: skip
    objectives: tuple[str, ...] = option(
        ("f_beta",), "The objective, optionally with a second one, like f_beta,inference_ms", OBJECTIVE, metavar="LIST",
        parse=options.listed,
    )  # fmt: skip
    beta: float = option(
        2.0, "Beta of F-beta: recall counts this many times as much as precision", OBJECTIVE, metavar="NUMBER", above=0,
        because=": 2 counts recall twice, 1 is plain F1",
    )  # fmt: skip
    sampler: str | None = option(
        None, "Method that proposes configurations", ADVANCED, metavar="NAME", choices=SAMPLERS, shown=SAMPLERS[0]
    )
    """None: as the study that is resumed has it, else the default."""
    pruner: str = option("asha", "Method that stops weak trials early", ADVANCED, metavar="NAME", choices=PRUNERS)
    precision: str = option(
        "auto", "Numeric precision; auto is bfloat16 if the CPU supports it and --time is 10m or more", HARDWARE,
        metavar="NAME", choices=("auto", "float32", "bfloat16"),
    )  # fmt: skip
    study: str | None = option(None, "Name of the study", STORAGE, metavar="NAME", shown="data and date", stored=False)
    resume: bool = option(False, "Continue the study named by --study", STORAGE, stored=False)
    given: frozenset[str] = frozenset()
    """Fields that the user gave by name, a default's own value among them: a resumed study does not fill them in."""

    def to_request(self) -> dict[str, Any]:
        """What belongs to the study, as plain values: kept with it, so that `--resume` alone asks for it again."""
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in self.changed(StudyOptions).items()}
        return {name: value for name, value in plain.items() if options.declared(StudyOptions)[name].stored}

    def completed(self, request: Mapping[str, Any]) -> StudyOptions:
        """These options; where they were not given and are at their defaults, those of an earlier request."""
        own = {*self.given, *self.changed(StudyOptions)}
        if self.trials is not None or self.time is not None:  # a new budget replaces the old one whole
            own |= {"trials", "time"}
        stored = {name for name, one in options.declared(StudyOptions).items() if one.stored}
        earlier: dict[str, Any] = {name: request[name] for name in stored.difference(own).intersection(request)}
        return dataclasses.replace(self, **earlier)


@dataclass(frozen=True)
class SessionOptions(Tracking, Place):
    """How a search is run, beside what is searched; none of it belongs to the study."""

    patience: int | None = option(
        None, "Stop after this many trials without improvement", BUDGET, metavar="NUMBER", shown="off", least=1
    )
    target: float | None = option(
        None, "Stop when the objective reaches this value", BUDGET, metavar="NUMBER", shown="off"
    )
    failures: float | None = option(
        None, "Stop when this share of at least five trials failed", BUDGET, metavar="SHARE", shown="0.5", above=0,
        most=1, because=": 0.5 is half",
    )  # fmt: skip
    trial_timeout: float | None = option(
        None,
        "A trial that takes longer fails, like 10m",
        BUDGET,
        metavar="DURATION",
        parse=options.duration,
        shown="off",
    )
    concurrency: int | None = option(
        None, "Number of parallel trials", HARDWARE, metavar="NUMBER", shown="as many as fit"
    )
    cpus_per_trial: float | None = option(
        None, "CPU cores per trial", HARDWARE, metavar="NUMBER", shown="an equal share"
    )
    gpus_per_trial: float | None = option(
        None, "GPUs per trial; with 0.25 four share one", HARDWARE, metavar="NUMBER", shown="an equal share"
    )
    trial_memory: int = option(
        0, "Maximum memory of a trial, like 4GB", HARDWARE, metavar="SIZE", parse=options.size, shown="no limit"
    )
    address: str | None = option(
        None, "Join a running Ray cluster: auto or host:6379", HARDWARE, metavar="ADDRESS", shown="this machine only"
    )
    deterministic: bool = option(False, "Repeatable results, with --concurrency 1", REPRODUCIBILITY)
    warm_start: str | None = option(
        None, "Try the best of an earlier study first", ADVANCED, metavar="STUDY", shown="none"
    )
    ray_dashboard: bool = option(False, "Start Ray's own dashboard on 127.0.0.1", ADVANCED)
    verbose: bool = option(False, "Print the full log", OUTPUT, flags=("--verbose", "-v"))
    begun: float = field(default_factory=clock.now)
    own_process: bool = True
    """Whether the search may end this process where it hangs; not where it is called from Python."""

    @property
    def studies(self) -> Studies:
        """The studies of the results folder."""
        from search.study.studies import Studies

        return Studies(self.results, self.storage)

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


def check(asked: StudyOptions, session: SessionOptions) -> None:
    """Refuse what can be refused before anything slow is imported or read.

    Raises:
        InputError: with what to change.
    """
    session.check_tracking()
    if asked.objectives[:1] != ("f_beta",) or len(asked.objectives) > 2 or not all(asked.objectives):
        raise InputError("--objectives: f_beta first, and at most one more: f_beta,parameters.")
    if len(asked.objectives) > 1 and asked.pruner in {"median", "hyperband"}:
        raise InputError(f"--pruner {asked.pruner} can't prune with two objectives. Use asha (on f_beta) or none.")
    if asked.validate_on == "site" and asked.pruner in {"median", "hyperband"}:
        raise InputError(
            f"--pruner {asked.pruner} compares trials of all sites, but some sites may be easier. Use none, or asha, "
            "which compares only trials that hold out the same site."
        )
    if asked.resume and asked.study is None:
        raise InputError("--resume needs the study's name: --study NAME. See: python -m search.leaderboard")
