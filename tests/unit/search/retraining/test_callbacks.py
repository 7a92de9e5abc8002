"""Callbacks of a retraining are told of the final model; one that raises takes nothing from it."""

from __future__ import annotations

import pytest

from search.retraining import steps
from search.retraining.options import RetrainingOptions
from search.tracking.callbacks import Callback
from tests.inputs.made_events import FINAL
from tests.inputs.made_studies import result
from xraytune.errors import InputError


class Noting(Callback):
    def __init__(self):
        self.seen = []

    def on_retrain_end(self, event):
        self.seen.append(event)


class Raising(Callback):
    def on_retrain_end(self, event):
        raise ValueError("a mistake of mine")


@pytest.fixture
def retrained(make, monkeypatch, tmp_path):
    """Retrain a study of one trial, the training itself left out."""
    study = make()
    asked = study.ask()
    study.complete(asked.number, result(0.8))
    study.close()
    monkeypatch.setattr(steps.Retraining, "run", lambda self: FINAL)
    return lambda *callbacks, **changes: steps.retrain(
        RetrainingOptions(study="mine", results=tmp_path, **changes), callbacks
    )


def test_a_callback_is_told_of_the_final_model_and_one_that_raises_is_reported(retrained, tmp_path, capsys):
    noting = Noting()
    assert retrained(Raising(), noting) == FINAL
    (event,) = noting.seen
    assert (event.study.name, event.model, event.metrics) == ("mine", tmp_path / "mine" / "winner", FINAL)
    said = capsys.readouterr()
    assert (said.out + said.err).count("Raising raised ValueError: a mistake of mine") == 1
    assert "Traceback" not in said.out + said.err
    assert "Traceback (most recent call last):" in (tmp_path / "mine" / "search.log").read_text()


def test_tensorboard_gets_the_metrics_of_the_test_set(retrained, tmp_path):
    retrained(tensorboard=True)
    assert [run.name for run in (tmp_path / "mine" / "tensorboard").iterdir()] == ["final"]


def test_what_is_no_callback_is_refused_before_the_retraining(retrained):
    with pytest.raises(InputError, match="no object of a subclass"):
        retrained(Noting)
