"""Whole searches, objective clean against robust: `search.run`, then `search.retrain best`, as a user calls them.

Each leaves its study under `results/evidence/searches`. What was searched is resumed, what was retrained is not done
again; the test set is opened once a retraining, by `search.retrain`, and stands in its ledger.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from tests.evidence import networks
from tests.evidence.sets import SETS
from xraytune import artifacts

FIGURES = ("accuracy", "balanced_accuracy", "specificity", "f_beta", "auc")
OBJECTIVES = ("clean", "robust")
FOLDER = networks.RESULTS / "searches"


@dataclass(frozen=True)
class Search:
    """One search and its retraining."""

    set: str
    objective: str
    seed: int
    time: str
    """As `--time` takes it, in minutes."""
    retraining: str
    """The same of its retraining."""

    @property
    def name(self) -> str:
        """The study's."""
        return f"{self.set}-{self.objective}-{self.time}-{self.seed}"

    @property
    def results(self) -> Path:
        """The results folder, its own: two searches never share a database."""
        return FOLDER / self.name

    @property
    def kept(self) -> Path:
        """What the retraining told of the test films; `winner/` is replaced by the next one."""
        return self.results / f"retrained-{self.retraining}"

    def figures(self) -> dict[str, Any] | None:
        """The winner's `metrics.json`; None before it was retrained."""
        path = self.kept / "metrics.json"
        return artifacts.read_json(path) if path.exists() else None

    @property
    def positive(self) -> int | None:
        """The positive class's index, None without one or before it was retrained."""
        figures = self.figures()
        return figures["test"]["positive"] if figures else None

    def answers(self) -> pd.DataFrame:
        """The winner's `predictions.csv`: a row each test film."""
        return pd.read_csv(self.kept / "predictions.csv")

    def run(self) -> None:
        """Search and retrain, what of it is not done."""
        if self.figures():
            return
        place = SETS[self.set].place(networks.RESULTS / "sets")
        study = ["--study", self.name, "--results", str(self.results)]
        if not list(self.results.glob("retrained-*")):
            options = ["--data", str(place), "--time", self.time, "--objective", self.objective]
            options += ["--seed", str(self.seed)]
            began = (self.results / self.name / "study.json").exists()
            _call("search.run", *options, *study, *(["--resume"] if began else []))
        _call("search.retrain", "best", *study, "--time", self.retraining)
        self.kept.mkdir(exist_ok=True)
        study = self.results / self.name
        shutil.copy(study / "winner" / "predictions.csv", self.kept)
        shutil.copy(study / "winner" / "metrics.json", self.kept)  # after these: they say that it is done
        shutil.move(study / "confirmation", self.kept / "confirmation")  # another retraining trains all of its own


def half(time: str) -> str:
    """Half of a search's minutes, one at least."""
    return f"{max(int(time.removesuffix('m')) // 2, 1)}m"


def done() -> Iterator[Search]:
    """Every search that was retrained."""
    for path in sorted(FOLDER.glob("*/retrained-*/metrics.json")):
        if found := re.fullmatch(r"(\w+)-(clean|robust)-(\d+m)-(\d+)", path.parent.parent.name):
            retraining = path.parent.name.removeprefix("retrained-")
            yield Search(found[1], found[2], int(found[4]), found[3], retraining)


def _call(module: str, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=networks.ROOT, env=os.environ.copy(), check=False
    )
    if done.returncode:
        sys.exit(f"{module} {' '.join(arguments)} ended with {done.returncode}; what is done is kept, call it again")
