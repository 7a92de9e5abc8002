"""Whole searches, objective clean against robust: `search.run`, then `search.retrain best`, as a user calls them.

What a retraining tells of the test images is a line of docs/evidence/searches.jsonl, from which a run goes on, on any
machine. The studies lie under `results/evidence/searches`: what was searched is resumed. The test set is opened once a
retraining, by `search.retrain`, and stands in its access log.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from tests.evidence import networks
from tests.evidence.sets import SETS
from xraytune import artifacts

FIGURES = ("accuracy", "balanced_accuracy", "specificity", "f_beta", "auc")
OBJECTIVES = ("clean", "robust")
FOLDER = networks.RESULTS / "searches"
KEPT = networks.ROOT / "docs" / "evidence" / "searches.jsonl"
EARLIER = "earlier"
"""The version of a search that was made with another checkout."""


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
    final: str = ""
    """As `--final` takes it; "": the default."""
    version: str = ""
    """"": this one; `EARLIER`."""

    @property
    def name(self) -> str:
        """The study's."""
        return "-".join(filter(None, (self.set, self.objective, self.time, str(self.seed), self.version)))

    @property
    def results(self) -> Path:
        """The results folder, its own: two searches never share a database."""
        return FOLDER / self.name

    def run(self, code: Path = networks.ROOT) -> None:
        """Search and retrain, what of it is not done.

        Args:
            code: the checkout that searches.
        """
        if self in done():
            return
        place = SETS[self.set].place(networks.RESULTS / "sets")
        study = ["--study", self.name, "--results", str(self.results)]
        if not (self.results / "searched").exists():
            options = ["--data", str(place), "--time", self.time, "--objective", self.objective]
            options += ["--seed", str(self.seed)]
            began = (self.results / self.name / "study.json").exists()
            _call(code, "search.run", *options, *study, *(["--resume"] if began else []))
            (self.results / "searched").touch()
        former, folds = self.results / "retraining", self.results / self.name / "confirmation"
        if former.exists() and former.read_text() != self.retraining:  # a retraining of another length shares nothing
            shutil.rmtree(folds, ignore_errors=True)
        former.write_text(self.retraining)
        final = ["--final", self.final] if self.final else []
        _call(code, "search.retrain", "best", *study, "--time", self.retraining, *final)
        keep(self, self.results / self.name / "winner")


def keep(search: Search, winner: Path) -> None:
    """Append what a retraining told of the test images to `KEPT`."""
    metrics, table = artifacts.read_json(winner / "metrics.json"), pd.read_csv(winner / "predictions.csv")
    columns = [name for name in table if name.startswith("probability_")]
    classes = [name.removeprefix("probability_") for name in columns]
    line = dataclasses.asdict(search) | {
        "model": metrics["model"]["final"],
        "positive": metrics["test"]["positive"],
        "figures": {name: metrics["test"]["overall"][name][:3] for name in FIGURES},
        "thresholds": {one["name"]: round(one["threshold"], 5) for one in metrics["policies"]},
        "policy": metrics["model"]["policy"],
        "classes": classes,
        "patients": pd.factorize(table["patient"])[0].tolist(),
        "truth": table["truth"].map(classes.index).tolist(),
        "decision": table["decision"].map(classes.index).tolist(),
        "per 10,000": np.rint(1e4 * table[columns].to_numpy()).astype(int).tolist(),
    }
    with KEPT.open("a", encoding="utf-8") as out:
        out.write(json.dumps(line) + "\n")


@dataclass(frozen=True)
class Outcome:
    """What a retraining told of the test images."""

    positive: int | None
    """The positive class's index, None without one."""
    figures: dict[str, list[float]]
    """Of `FIGURES` each: value, low, high."""
    answers: pd.DataFrame
    """A row each image, with the columns of `predictions.csv`."""


def done() -> dict[Search, Outcome]:
    """Every search that was retrained."""
    found = {}
    for text in KEPT.read_text(encoding="utf-8").splitlines() if KEPT.exists() else []:
        line = json.loads(text)
        names = np.array(line["classes"])
        answers = {"patient": line["patients"], "truth": names[line["truth"]], "decision": names[line["decision"]]}
        answers |= {f"probability_{n}": np.array(line["per 10,000"])[:, i] / 1e4 for i, n in enumerate(names)}
        search = Search(*(line[field.name] for field in dataclasses.fields(Search)))
        found[search] = Outcome(line["positive"], line["figures"], pd.DataFrame(answers))
    return found


def _call(code: Path, module: str, *arguments: str) -> None:
    environment = os.environ | {"PYTHONPATH": f"{code / 'src'}{os.pathsep}{code}"}
    done = subprocess.run([sys.executable, "-m", module, *arguments], cwd=code, env=environment, check=False)
    if done.returncode:
        sys.exit(f"{module} {' '.join(arguments)} ended with {done.returncode}; what is done is kept, call it again")
