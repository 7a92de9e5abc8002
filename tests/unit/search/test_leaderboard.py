"""How many trials the leaderboard lists, and where it says that there are more."""

from __future__ import annotations

import io
import json
import re

import pytest

from search import leaderboard
from search.cli import console
from search.cli.screen import Screen
from tests.inputs.made_studies import result


@pytest.fixture
def listed(make, tmp_path, monkeypatch, capsys):
    study = make()
    for number in range(5):
        asked = study.ask()
        study.complete(asked.number, result(0.1 * number))
    study.close()
    monkeypatch.setattr(leaderboard, "SCREENFUL", 3)

    def once(*, terminal=False, as_json=False, top=None):
        written = io.StringIO()
        monkeypatch.setattr(console, "out", Screen(file=written, width=160, force_terminal=terminal, no_color=True))
        leaderboard.main("mine", as_json, top, tmp_path, None)
        return written.getvalue() + capsys.readouterr().out

    return once


def trials(said):
    """The numbers of the trials in the table's rows."""
    return [int(number) for number in re.findall(r"^ +\d+ +(\d+)  ", said, re.MULTILINE)]


def test_a_terminal_gets_a_screenful_and_is_told_of_the_rest(listed):
    said = listed(terminal=True)
    assert trials(said) == [4, 3, 2]
    assert "2 more trials: --top 5 lists all" in said


@pytest.mark.parametrize("how", [{}, {"terminal": True, "top": 5}])
def test_a_pipe_and_whoever_asks_get_all_trials(listed, how):
    said = listed(**how)
    assert trials(said) == [4, 3, 2, 1, 0]
    assert "more trials" not in said


def test_json_has_all_trials(listed):
    assert len(json.loads(listed(as_json=True, terminal=True))["trials"]) == 5
    assert len(json.loads(listed(as_json=True, top=2))["trials"]) == 2
