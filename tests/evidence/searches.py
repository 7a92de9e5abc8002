"""Whole searches, objective clean against robust: `search.run`, then `search.retrain best`, as a user calls them.

Each leaves its study under `results/evidence/searches`. What was searched is resumed, what was retrained is not done
again; the test set is opened once a study, by `search.retrain`, and stands in its ledger.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.evidence import networks
from tests.evidence.sets import SETS
from xraytune import artifacts

FIGURES = ("accuracy", "balanced_accuracy", "specificity", "f_beta", "auc")
OBJECTIVES = ("clean", "robust")


@dataclass(frozen=True)
class Search:
    """One search and its retraining."""

    set: str
    objective: str
    seed: int
    time: str
    """As `--time` takes it; a retraining gets half as much."""

    @property
    def name(self) -> str:
        """The study's."""
        return f"{self.set}-{self.objective}-{self.time}-{self.seed}"

    @property
    def results(self) -> Path:
        """The results folder, its own: two searches never share a database."""
        return networks.RESULTS / "searches" / self.name

    def figures(self) -> dict[str, Any] | None:
        """The winner's `metrics.json`; None before it was retrained."""
        path = self.results / self.name / "winner" / "metrics.json"
        return artifacts.read_json(path) if path.exists() else None

    def run(self) -> None:
        """Search and retrain, what of it is not done."""
        if self.figures():
            return
        place = SETS[self.set].place(networks.RESULTS / "sets")
        study = ["--study", self.name, "--results", str(self.results)]
        options = ["--data", str(place), "--time", self.time, "--objective", self.objective, "--seed", str(self.seed)]
        began = (self.results / self.name / "study.json").exists()
        _call("search.run", *options, *study, *(["--resume"] if began else []))
        _call("search.retrain", "best", *study, "--time", f"{int(self.time.removesuffix('m')) // 2}m")


def _call(module: str, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=networks.ROOT, env=os.environ.copy(), check=False
    )
    if done.returncode:
        sys.exit(f"{module} {' '.join(arguments)} ended with {done.returncode}; what is done is kept, call it again")
