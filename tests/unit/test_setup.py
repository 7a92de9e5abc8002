"""The set-up: make passes options on, and a command outside the environment says what to run."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from search.cli import make_variables

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


@pytest.fixture
def passed(tmp_path):
    """Runs a target whose interpreter only shows the command line that it would have become."""
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    code = (
        "import json, os, runpy, sys\n"
        "os.execv = lambda path, line: print(json.dumps(line[2:]))\n"
        "sys.argv = sys.argv[2:]\n"
        "runpy.run_module(sys.argv[0], run_name='__main__')"
    )
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c {shlex.quote(code)} "$@"\n')
    python.chmod(0o755)
    stamp = tmp_path / ".ready"
    stamp.touch()
    os.utime(stamp, (2**32, 2**32))

    def run(*arguments, code=0, **environment):
        done = make(*arguments, f"VENV={tmp_path}", **environment)
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout) if code == 0 else done.stderr

    return run


HARD = 'o\'brien "x" $HOME $(touch pwned) `touch pwned` a  b\\c #d'


def test_a_value_arrives_as_it_was_typed(passed):
    assert passed("search", f"DATA={HARD}") == ["search.run", f"--data={HARD}"]
    assert passed("search", DATA=HARD) == ["search.run", f"--data={HARD}"]
    regex = r"^(?P<patient>P\d+)$"
    assert passed("verify", f"DATA={HARD}", f"PATIENT_REGEX={regex}") == [
        "search.verify", f"--patient-regex={regex}", "--", HARD,
    ]  # fmt: skip
    assert not (ROOT / "pwned").exists()


def test_what_make_would_run_is_not_run(passed):
    assert passed("leaderboard", "STUDY=$(shell touch pwned)") == ["search.leaderboard", "--", "$(shell touch pwned)"]
    assert not (ROOT / "pwned").exists()


@pytest.mark.parametrize(
    ("target", "variables", "line"),
    [
        ("search", (), ["search.run"]),
        ("search", ("TRIALS=0", "TIME="), ["search.run", "--trials=0"]),
        ("search", ("GPUS_PER_TRIAL=0.25",), ["search.run", "--gpus-per-trial=0.25"]),
        ("search", ("RESUME=1", "QUARANTINE=0", "VERBOSE=no"), ["search.run", "--resume"]),
        ("search", ("FIX=cnn/blocks=3 dropout=0.2",), ["search.run", "--fix=cnn/blocks=3", "--fix=dropout=0.2"]),
        ("search", ("FIX= a=b  c d/e=f ",), ["search.run", "--fix=a=b  c", "--fix=d/e=f"]),
        ("search", ("FIX=nothing",), ["search.run", "--fix=nothing"]),
        (
            "search",
            (f"BACKBONE=dino=/my {HARD}.onnx x=y",),
            ["search.run", f"--backbone=dino=/my {HARD}.onnx", "--backbone=x=y"],
        ),
        ("search", (f"BACKBONE_LICENCE=dino={HARD}",), ["search.run", f"--backbone-licence=dino={HARD}"]),
        (
            "evaluate",
            ("MAP=no finding=NORMAL mass=SICK", "MODEL=m", "DATA=my data"),
            ["search.evaluate", "--map=no finding=NORMAL", "--map=mass=SICK", "--", "m", "my data"],
        ),
        ("search", ("XLA=1",), ["search.run", "--xla"]),
        ("search", ("XLA=0",), ["search.run"]),
        ("search", ("ARGS=--trials 4 --study 'a b'",), ["search.run", "--trials", "4", "--study", "a b"]),
        ("retrain", ("STUDY=mine", "TTA=1"), ["search.retrain", "--study=mine", "--tta=1"]),
        ("retrain", ("WHICH=top:3", "FINAL=ensemble"), ["search.retrain", "--final=ensemble", "--", "top:3"]),
        ("verify", (), ["search.verify", "--", "demo"]),
        ("leaderboard", ("STUDY=-mine", "JSON=1"), ["search.leaderboard", "--json", "--", "-mine"]),
        ("dashboard", ("STORAGE=sqlite:///x",), ["search.dashboard", "--storage=sqlite:///x"]),
        ("report", ("STUDY=mine",), ["search.report", "--", "mine"]),
        ("predict", ("IMAGES=my folder", "MODEL=m"), ["search.predict", "--", "m", "my folder"]),
        ("evaluate", ("MODEL=m", "DATA=my data"), ["search.evaluate", "--", "m", "my data"]),
        ("shift", ("MODEL=m", "FOLDER=my data"), ["search.shift", "--", "m", "my data"]),
        ("serve", ("MODEL=m", "PORT=0"), ["search.serve", "--port=0", "--", "m"]),
        ("export", ("MODEL=m",), ["search.export", "--", "m"]),
        ("show-augmentation", ("DATA=demo", "SIZE=64"), ["search.show_augmentation", "--size=64", "--", "demo"]),
    ],
)
def test_a_target_becomes_its_command(passed, target, variables, line):
    found, at = passed(target, *variables), line.index("--") if "--" in line else len(line)
    assert (found[0], sorted(found[1:at]), found[at:]) == (line[0], sorted(line[1:at]), line[at:])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("search", "TRAILS=4"), "make search has no variable TRAILS. Did you mean TRIALS?"),
        (("verify", "FAMILIES=cnn"), "make verify has no variable FAMILIES."),
        (("search", "ARGS=--study 'a"), "ARGS=--study 'a: No closing quotation."),
    ],
)
def test_a_variable_that_can_not_be_is_one_error_of_the_command_line(passed, arguments, words):
    said = passed(*arguments, code=2)
    assert said.count("error: ") == 1
    assert words in said
    assert "Traceback" not in said


def test_a_variable_of_the_environment_that_is_no_option_is_left_alone(passed):
    assert passed("search", TRAILS="4", TRIALS="3") == ["search.run", "--trials=3"]


def test_a_setting_of_a_library_on_makes_line_is_left_to_the_environment(passed):
    assert passed("search", "KERAS_BACKEND=jax", "CUDA_VISIBLE_DEVICES=0", "TRIALS=3") == ["search.run", "--trials=3"]


def test_targets_that_are_made_together_know_each_others_variables():
    line = {
        make_variables.ON_LINE: "FINAL TIME",
        make_variables.GOALS: "search retrain",
        "FINAL": "folds",
        "TIME": "5m",
    }
    assert make_variables.arguments("search", line) == ["--time=5m"]
    assert make_variables.arguments("retrain", line) == ["--time=5m", "--final=folds"]


def test_make_help_lists_every_target():
    shown = make("help").stdout
    for target in (
        "search",
        "predict",
        "serve",
        "report",
        "export",
        "test",
        "dashboard",
        "retrain",
        "verify",
        "bench",
        "test-faults",
        "test-databases",
        "test-fuzz",
        "test-real",
    ):
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
