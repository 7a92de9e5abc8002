"""Options of trackers: what is refused, where they come from, and that no password is shown."""

from __future__ import annotations

import importlib.util

import pytest

from search.cli import options
from search.driver.options import SessionOptions, StudyOptions
from search.driver.options import check as check_search
from search.retraining.options import RetrainingOptions
from search.retraining.options import check as check_retraining
from search.tracking.callbacks import Callback
from search.tracking.options import ENVIRONMENT, Tracking
from tests.inputs.made_events import session
from xraytune.errors import InputError

URI = "https://me:s3cret@mlflow.hospital:5000/at?token=t0ken"


@pytest.fixture
def installed(monkeypatch):
    """Say whether MLflow is installed."""
    found = importlib.util.find_spec

    def say(there):
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name: (there or None) if name == "mlflow" else found(name)
        )

    monkeypatch.delenv(ENVIRONMENT, raising=False)
    return say


def test_without_mlflow_the_option_is_refused_before_anything_begins(installed):
    installed(False)
    for check in (
        lambda: check_search(StudyOptions(), SessionOptions(mlflow=URI)),
        lambda: check_retraining(RetrainingOptions(mlflow=URI)),
    ):
        with pytest.raises(InputError, match="make setup EXTRAS=mlflow") as error:
            check()
        assert "s3cret" not in str(error.value)
    installed(True)
    check_search(StudyOptions(), SessionOptions(mlflow=URI))
    check_retraining(RetrainingOptions(mlflow=URI))


def test_the_environment_variable_counts_where_the_option_is_not_given_and_mlflow_is_there(
    installed, monkeypatch, tmp_path
):
    installed(True)
    assert (Tracking().mlflow_uri, Tracking().followed_at(tmp_path)) == ("", [])
    monkeypatch.setenv(ENVIRONMENT, "http://elsewhere")
    assert Tracking().mlflow_uri == "http://elsewhere"
    assert Tracking(mlflow="http://here").mlflow_uri == "http://here"
    assert Tracking(mlflow="").mlflow_uri == ""
    installed(False)
    Tracking().check_tracking()
    assert Tracking().mlflow_uri == ""
    (line,) = Tracking().followed_at(tmp_path)
    assert line.startswith("MLflow is not installed")


def test_the_lines_at_the_start_say_where_to_look_without_a_password(installed, tmp_path):
    installed(True)
    lines = Tracking(tensorboard=True, mlflow=URI).followed_at(tmp_path / "a b")
    assert lines[0] == f"TensorBoard: tensorboard --logdir '{tmp_path / 'a b' / 'tensorboard'}'"
    assert lines[1] == "MLflow: https://me:***@mlflow.hospital:5000/at?token=***"


def test_a_password_of_the_uri_is_in_no_report_of_an_error(monkeypatch, tmp_path):
    class Leaking(Callback):
        def on_trial_start(self, event):
            raise ConnectionError(f"{URI} does not answer me:s3cret")

    monkeypatch.setattr("search.tracking.mlflow_tracker.MLflow", lambda uri: Callback())
    reported = []
    one = Tracking(mlflow=URI).dispatcher([Leaking()], lambda line, details: reported.append(f"{line} {details}"))
    for event in session(tmp_path):
        one.send(event)
    one.close(30)
    assert "Leaking raised ConnectionError: https://me:***@mlflow.hospital" in reported[0]
    assert "Traceback" in reported[0]
    assert not [text for text in reported if "s3cret" in text or "t0ken" in text]


def test_trackers_are_options_of_a_session_and_of_a_retraining_and_not_of_a_study():
    for name in options.declared(Tracking):
        assert name in options.declared(SessionOptions)
        assert name in options.declared(RetrainingOptions)
        assert name not in options.declared(StudyOptions)
