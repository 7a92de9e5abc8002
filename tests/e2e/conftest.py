"""What the retraining's and the terminal's tests share: one study made, one retraining of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.searching import command

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with a study, made in a process of its own."""
    home = tmp_path_factory.mktemp("retraining")
    environment = {**os.environ, "XRAYTUNE_CACHE": str(home / "cache"), "PYTHONPATH": str(ROOT)}
    subprocess.run(
        [sys.executable, str(HERE / "retraining" / "made_study.py"), str(home)],
        env=environment, check=True, capture_output=True,
    )  # fmt: skip
    return home


@pytest.fixture(scope="session")
def retrained(home: Path) -> tuple[Path, subprocess.CompletedProcess[str]]:
    done = command(
        "search.retrain", "best", "--results", home / "results", "--folds", 3, "--seeds", 1, "--time", "5m",
        "--refits", 1, "--compare-recipes", "--refer", "--refer-sensitivity", 0.3, "--refer-specificity", 0.3,
        "--refer-risk", 0.5, home=home,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return home / "results" / "made" / "winner", done


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """On two cores: what uses the shared study in one process, every other file in any."""
    for item in items:
        shared = {"retraining", "terminal"} & set(item.path.parts)
        item.add_marker(pytest.mark.xdist_group("study" if shared else item.path.name))
