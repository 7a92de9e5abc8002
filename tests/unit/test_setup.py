"""The set-up: make passes options on, and a command outside the environment says what to run."""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from search.cli.console import refuse_removed
from search.run import REMOVED
from xraytune.errors import InputError

ROOT = Path(__file__).resolve().parents[2]


def make(*arguments, **environment):
    return subprocess.run(
        ["make", *arguments],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("variables", "option"),
    [
        (("DATA=a folder/with spaces",), "--data 'a folder/with spaces'"),
        (("TRIALS=0",), "--trials '0'"),
        (("GPUS_PER_TRIAL=0.25",), "--gpus-per-trial '0.25'"),
        (("RESUME=1", "STUDY=mine"), "--resume"),
        (("FIX=cnn/blocks=3 dropout=0.2",), "--fix 'cnn/blocks=3' --fix 'dropout=0.2'"),
    ],
)
def test_make_passes_its_variables_on(variables, option):
    assert option in make("-n", "search", *variables).stdout


def test_make_passes_nothing_that_was_not_asked_for():
    command = next(line for line in make("-n", "search").stdout.splitlines() if "-m search.run" in line)
    assert command.strip() == "exec .venv/bin/python -m search.run"


def test_a_switch_set_to_zero_is_off():
    assert "--resume" not in make("-n", "search", "RESUME=0").stdout


def test_make_passes_a_removed_switch_on_so_that_the_command_refuses_it():
    command = make("-n", "search", "XLA=1").stdout.partition("-m search.run")[2]
    with pytest.raises(InputError, match=r"^--xla was removed"):
        refuse_removed(shlex.split(command), REMOVED)
    assert "--xla" not in make("-n", "search", "XLA=0").stdout


@pytest.mark.parametrize(
    ("target", "variables", "arguments"),
    [
        ("leaderboard", ("STUDY=mine", "RESULTS=other"), "leaderboard mine --results other"),
        ("retrain", ("STUDY=mine", "FINAL=ensemble", "TTA=1"), "retrain best --study mine --final ensemble --tta"),
        ("retrain", ("TTA=crops", "COMPARE_RECIPES=1"), "retrain best --compare-recipes --tta crops"),
        ("retrain", ("TTA=0",), "retrain best"),
        ("verify", ("DATA=my films", "POSITIVE=ill", "QUARANTINE=1"), "verify 'my films' --positive ill --quarantine"),
        ("dashboard", ("RESULTS=other", "STORAGE=sqlite:///x"), "dashboard --results other --storage sqlite:///x"),
    ],
)
def test_make_passes_on_what_every_command_of_the_work_takes(target, variables, arguments):
    command = make("-n", target, *variables).stdout.strip().splitlines()[-1]
    assert shlex.split(command.partition(" -m search.")[2]) == shlex.split(arguments)


@pytest.mark.parametrize("target", ["search", "verify", "leaderboard", "retrain", "dashboard"])
def test_whatever_make_passes_on_is_an_option_of_its_command(target):
    text = (ROOT / "Makefile").read_text()
    variables = set(re.findall(r"\b([A-Z_]+):[a-z]", text)) | {"FIX"}
    command = make("-n", target, *(f"{name}=1" for name in variables)).stdout.strip().splitlines()[-1]
    passed = {word for word in shlex.split(command) if word.startswith("--")}
    module = importlib.import_module(f"search.{'run' if target == 'search' else target}")
    app = typer.Typer()
    app.command()(module.main)
    known = {name for option in typer.main.get_command(app).params for name in option.opts}
    assert passed, command
    assert passed <= known | set(REMOVED)
    if target == "search":
        assert {o for o in known if o.startswith("--") and "completion" not in o} <= passed


def test_make_help_lists_every_target():
    shown = make("help").stdout
    for target in ("search", "test", "dashboard", "retrain", "verify", "bench", "test-faults", "test-real"):
        assert f"make {target} " in shown


@pytest.mark.parametrize("command", ["run", "retrain", "leaderboard"])
def test_a_command_outside_the_environment_ends_with_the_one_command_to_run(command):
    # -S leaves site-packages out: an interpreter in which nothing of ours is installed
    result = subprocess.run(
        [sys.executable, "-S", "-m", f"search.{command}", "best"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert result.stderr.strip().splitlines()[-1].endswith(f".venv/bin/python -m search.{command} best")


def test_make_says_which_pythons_fit_where_none_does(tmp_path):
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    (tmp_path / "pyproject.toml").write_text("")
    fake = tmp_path / "bin"
    fake.mkdir()
    for name in ("python3", "python3.11", "python3.12", "python3.13"):
        (fake / name).write_text("#!/bin/sh\nexit 1\n")
        (fake / name).chmod(0o755)
    result = subprocess.run(
        ["make", "setup"],
        cwd=tmp_path,
        env={"PATH": f"{fake}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert "3.11, 3.12 or 3.13" in result.stderr
    assert not (tmp_path / ".venv").exists()
