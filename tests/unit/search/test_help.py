"""`--help` of every command at a terminal of 80 columns, and the one command that has them all."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib

import pytest

import xraytune
from search.cli import commands, console, options
from search.cli.options import PANELS
from search.driver.options import SessionOptions, StudyOptions
from tests.terminals import ROOT, seen


def words(shown):
    """The text of a help page without frames and line breaks."""
    return " ".join(re.sub(r"[│╭╮╰╯─]", " ", shown.text).split())


def panels(shown):
    return [found[1].strip() for line in shown.lines if (found := re.match(r"╭─ (.+?) ─", line))]


@pytest.mark.parametrize("name", commands.names())
def test_the_help_of_every_command_is_whole_at_80_columns(name, tmp_path):
    shown = seen(commands.names()[name], "-h", home=tmp_path, lines=200).check()
    assert max(map(len, shown.lines)) <= 80
    assert not [line for line in shown.lines if line.startswith("│") and not line.endswith("│")]
    at = next(i for i, line in enumerate(shown.lines) if line.strip() == "Examples:")
    examples = [line.strip() for line in shown.lines[at + 1 :] if line.strip()]
    given = [line.strip() for line in commands.load(name).EXAMPLES.strip().splitlines()]
    assert examples == given, "one line each, nothing between"
    assert shown.lines[at + len(given)].strip()
    in_order = [p for p in dict.fromkeys(panels(shown)) if p not in {"Arguments", "Options"}]
    assert in_order == sorted(in_order, key=PANELS.index)
    assert len(panels(shown)) == len(set(panels(shown)))
    assert commands.summary(name) in words(shown)


def test_the_help_of_the_search_has_every_panel_default_and_environment_variable(tmp_path):
    shown = seen("search.run", "--help", home=tmp_path, lines=200).check()
    text = words(shown)
    for cls in (StudyOptions, SessionOptions):
        for name, one in options.declared(cls).items():
            default = options.default_of(cls, name)
            expected = one.shown or ("off" if default is False else default)
            expected = ",".join(expected) if isinstance(expected, tuple) else expected
            assert re.search(rf"{one.flag(name)} .*?\[default: {re.escape(str(expected))}\]", text), name
            assert one.panel in panels(shown)
            assert not one.envvar or f"[env: {one.envvar}]" in text
    for panel in ("Data", "Budget", "Search space", "Objective", "Hardware", "Storage", "Reproducibility", "Advanced"):
        assert panel in panels(shown)


def test_the_hyperparameters_of_a_space_are_a_table_that_fits(tmp_path):
    shown = seen("search.run", "--show-space", home=tmp_path, lines=300).check()
    assert max(map(len, shown.lines)) <= 80
    assert shown.row("hyperparameter") == ["hyperparameter", "default", "values"]
    assert shown.row("cnn/blocks") == ["cnn/blocks", "3", "1, 2, 3, 4, 5"]
    assert shown.row("densenet/cut") == ["densenet/cut", "pool4", "pool3, pool4, top"]
    assert "active when densenet/mode is frozen" in shown.text
    assert "families cnn, vgg_frozen, vgg_finetuned, densenet" in shown.text


def test_an_unknown_space_has_no_table(tmp_path):
    shown = seen("search.run", "--show-space", "--space", "chest", home=tmp_path).check(2)
    assert "unknown space 'chest'" in shown.words


def test_a_paragraph_of_help_is_wrapped_once(tmp_path):
    shown = seen("search.retrain", "-h", home=tmp_path, lines=200).check()
    at = next(i for i, line in enumerate(shown.lines) if "The best trials are compared" in line)
    paragraph = shown.lines[at : at + 6]
    assert all(len(line) > 60 for line in paragraph[:-1]), paragraph


def test_the_one_command_lists_all_others_and_loads_none(tmp_path):
    shown = seen("search", "--help", home=tmp_path, lines=100).check()
    for name in commands.names():
        assert re.search(rf"│ {name} ", shown.text)
    heavy = ["tensorflow", "keras", "ray", "optuna", "scipy", "pandas", "search.run", "search.retrain"]
    code = "import sys, search.__main__ as m; m.group()(['-h'], standalone_mode=False); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not set(heavy) & set(done.stdout.splitlines()[-1].split())


def test_a_sub_command_is_the_command(tmp_path):
    alone = seen("search.leaderboard", "-h", home=tmp_path, lines=100).check()
    below = seen("search", "leaderboard", "-h", home=tmp_path, lines=100).check()
    assert panels(alone) == panels(below)
    assert "xraytune leaderboard mine --top 10" in below.text


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--version"], 0, f"xraytune {xraytune.__version__}"),
        (["search", "--trials", "0"], 2, "--trials must be 1 or more, not 0."),
        (["search", "--sampler", "gp"], 2, "--sampler gp was removed. Use --sampler bo"),
        (["search", "--xla"], 2, "--xla was removed."),
        (["search", "--time", "soon"], 2, "--time 'soon' is not a duration"),
        (["leaderboard", "--results", "/nowhere/at/all"], 2, "There is no study in /nowhere/at/all yet"),
        (["dashboard", "--port", "70000"], 2, "--port must be 0 or more and at most 65535, not 70000."),
        (["serve", "nowhere", "--port", "-1"], 2, "--port must be 0 or more and at most 65535, not -1."),
        (["serve", "nowhere", "--port", "0"], 2, "nowhere does not exist."),
        (["serach"], 2, "No such command 'serach'"),
        (["search", "--no-such-option"], 2, "--no-such-option"),
    ],
)
def test_the_one_command_ends_as_its_sub_command_does(arguments, code, says):
    done = subprocess.run(
        [sys.executable, "-m", "search", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    assert says in " ".join((done.stdout + done.stderr).split())
    assert done.stderr.count("error: ") == (code != 0)
    assert "Traceback" not in done.stderr


def test_the_shell_completes_commands_options_and_choices():
    def completed(line):
        words = line.split(" ")
        done = subprocess.run(
            [sys.executable, "-c", "import sys; sys.argv = ['xraytune']; from search.__main__ import app; app()"],
            cwd=ROOT, capture_output=True, text=True, check=False,
            env={"PATH": "/usr/bin:/bin", "_XRAYTUNE_COMPLETE": "complete_bash", "COMP_WORDS": line,
                 "COMP_CWORD": str(len(words) - 1)},
        )  # fmt: skip
        return done.stdout.split()

    assert completed("xraytune sea") == ["search"]
    assert completed("xraytune search --trial-m") == ["--trial-memory"]
    assert completed("xraytune search --pruner m") == ["median"]


def test_the_installed_command_is_this_one_and_no_other_module_is_a_command():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["scripts"] == {"xraytune": "search.__main__:app"}
    contract = next(c for c in project["tool"]["importlinter"]["contracts"] if c["type"] == "protected")
    assert set(contract["protected_modules"]) == set(commands.names().values())
    assert contract["allowed_importers"] == ["search.__main__"]
    assert console.HELP_NAMES["help_option_names"] == ["-h", "--help"]
