"""How a search is run: options of one session, which may differ when it goes on."""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search.tuner.resources import Resources


PASSWORD_NOTE = "Instead of --storage with ***, put the URL with its password into the environment: XRAYTUNE_STORAGE."
"""Said under printed commands whose `--storage` hides a password."""


def with_note(commands: str) -> str:
    """Commands as they are printed, with the note about a hidden password where they need it."""
    return f"{commands}\n{PASSWORD_NOTE}" if "***" in commands else commands


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
