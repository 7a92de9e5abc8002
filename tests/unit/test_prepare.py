"""What a resumed study fills in of the options, and what it leaves to the user."""

import pytest
import typer
from typer.testing import CliRunner

from search import run
from search.prepare import Options


def test_what_was_not_asked_is_as_the_study_was_made():
    made = Options(beta=1.0, recipes="none", families=("cnn",), objectives=("f_beta", "parameters")).to_request()
    now = Options(study="mine", resume=True).completed(made)
    assert (now.beta, now.recipes, now.families) == (1.0, "none", ("cnn",))
    assert now.objectives == ("f_beta", "parameters")


def test_what_the_user_gives_stays_also_where_it_is_the_default():
    made = Options(beta=1.0, objective="clean").to_request()
    now = Options(beta=2.0, given=frozenset({"beta"})).completed(made)
    assert (now.beta, now.objective) == (2.0, "clean")


def test_a_new_budget_replaces_the_old_one_whole():
    assert Options(seconds=60.0).completed(Options(trials=9).to_request()).trials is None


@pytest.mark.parametrize(("arguments", "given"), [([], set()), (["--beta", "2", "--study", "s"], {"beta", "study"})])
def test_the_command_knows_what_stood_on_its_line(monkeypatch, arguments, given):
    seen = []
    monkeypatch.setattr(run, "search", lambda options, running: seen.append(options))
    command = typer.Typer()
    command.command()(run.main)
    assert CliRunner().invoke(command, arguments).exit_code == 0
    assert seen[0].given == given
