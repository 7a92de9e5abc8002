"""On a real MLflow server on 127.0.0.1: what a search and a retraining leave there."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from search.tracking.dispatcher import Dispatcher
from search.tracking.options import Tracking
from tests.inputs.made_events import retrained, session, spec, trial

PROGRAM = os.environ.get("XRAYTUNE_MLFLOW") or shutil.which("mlflow") or ""
"""The program `mlflow` of an environment that has all of MLflow, its server included."""

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("mlflow") is None, reason="MLflow is not installed: make setup EXTRAS=mlflow"
    ),
    pytest.mark.skipif(
        not PROGRAM, reason="no MLflow server is installed: XRAYTUNE_MLFLOW names its program (make test-servers)"
    ),
    pytest.mark.timeout(600),
]


class Server:
    """A tracking server in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        store = ["--backend-store-uri", f"sqlite:///{self.folder / 'runs.db'}"]
        store += ["--artifacts-destination", str(self.folder / "artifacts")]
        with (self.folder / "server.txt").open("ab") as output:
            self.process = subprocess.Popen(
                [PROGRAM, "server", *options, *store],
                cwd=self.folder, stdout=output, stderr=output, start_new_session=True,
                env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            )  # fmt: skip
        end = time.monotonic() + 180
        while not self._answers():
            assert self.process.poll() is None, (self.folder / "server.txt").read_text()
            assert time.monotonic() < end, (self.folder / "server.txt").read_text()
            time.sleep(0.2)

    def _answers(self) -> bool:
        try:
            return urllib.request.urlopen(f"{self.uri}/health", timeout=5).status == 200
        except OSError:
            return False

    def stop(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, 9)
            self.process.wait()
            self.process = None


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    one = Server(tmp_path_factory.mktemp("mlflow"))
    one.start()
    yield one
    one.stop()


@pytest.fixture
def client(server, monkeypatch, request):
    """MLflow's own client, in an experiment of the test's own."""
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", request.node.name)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=server.uri)


@pytest.fixture
def runs(client, request):
    """The runs of the test's experiment by name; two of one name are an error."""

    def found():
        experiment = client.get_experiment_by_name(request.node.name)
        names = {}
        for run in client.search_runs([experiment.experiment_id]) if experiment else ():
            assert run.info.run_name not in names
            names[run.info.run_name] = run
        return names

    return found


def tell(uri, events, seconds=120.0):
    """Tell MLflow of these events; what was reported meanwhile."""
    reported: list[tuple[str, str]] = []
    one = Tracking(mlflow=uri).dispatcher((), lambda line, details: reported.append((line, details)))
    assert isinstance(one, Dispatcher)
    for event in events:
        one.send(event)
    one.close(seconds)
    return reported


def test_a_study_is_a_run_with_a_run_for_each_trial_below_it(server, client, runs, tmp_path):
    assert tell(server.uri, session(tmp_path)) == []
    found = runs()
    assert set(found) == {"mine", "trial 0", "trial 1"}
    study, first, second = found["mine"], found["trial 0"], found["trial 1"]
    assert {first.data.tags["mlflow.parentRunId"], second.data.tags["mlflow.parentRunId"]} == {study.info.run_id}
    assert [one.info.status for one in (study, first, second)] == ["FINISHED", "FINISHED", "FAILED"]
    assert first.data.params == {"family": "cnn", "cnn/blocks": "3", "learning_rate": "0.01", "seed": "5"}
    assert study.data.params["space"] == spec().space
    assert study.data.params["train_fingerprint"] == spec().train_fingerprint
    history = client.get_metric_history(first.info.run_id, "val_auc")
    assert [(point.step, point.value) for point in history] == [(1, 0.5), (2, 0.6), (3, 0.7)]
    objective = client.get_metric_history(first.info.run_id, "objective")
    assert [(point.step, point.value) for point in objective] == [(1, 0.5), (3, 0.7)]
    assert first.data.metrics["value"] == first.data.metrics["best/val_auc"] == 0.7
    assert "loss" not in first.data.metrics  # it is not finite
    assert second.data.tags["xraytune.state"] == "FAIL"
    assert second.data.tags["xraytune.message"] == "no memory"
    assert (study.data.metrics["best_value"], study.data.metrics["best_trial"]) == (0.7, 0.0)
    assert study.data.tags["xraytune.ended"] == "all 2 trials are done"


def test_a_resumed_search_and_a_retraining_go_on_with_the_same_runs(server, client, runs, tmp_path):
    first, second = list(trial(tmp_path, 0, [0.5])), list(trial(tmp_path, 1, [0.6, 0.8]))
    over = list(session(tmp_path))[-1]
    assert tell(server.uri, first[:2]) == []  # killed: neither trial nor search was ended
    assert [runs()[name].info.status for name in ("mine", "trial 0")] == ["RUNNING", "RUNNING"]
    assert tell(server.uri, second[:1]) == []
    assert [runs()[name].info.status for name in ("mine", "trial 0", "trial 1")] == ["RUNNING", "KILLED", "RUNNING"]
    before = runs()["mine"].info.run_id
    assert tell(server.uri, [over]) == []
    assert tell(server.uri, [retrained(tmp_path)]) == []
    found = runs()
    assert set(found) == {"mine", "trial 0", "trial 1"}
    study = found["mine"]
    assert (study.info.run_id, study.info.status) == (before, "FINISHED")
    assert {k: v for k, v in study.data.metrics.items() if k.startswith("test/")} == {
        "test/auc": 0.9,
        "test/auc_low": 0.8,
        "test/auc_high": 0.95,
    }
    listed = {file.path: file.file_size for file in client.list_artifacts(before, "winner")}
    assert listed == {"winner/model.keras": 7, "winner/report.html": 13}
    assert Path(client.download_artifacts(before, "winner/report.html", str(tmp_path))).read_text() == "<p>report</p>"


def test_a_study_whose_run_was_deleted_gets_a_new_one(server, client, runs, tmp_path):
    tell(server.uri, session(tmp_path))
    before = runs()["mine"].info.run_id
    client.delete_run(before)
    assert tell(server.uri, list(session(tmp_path))[-1:]) == []
    assert runs()["mine"].info.run_id != before


def test_what_the_server_refuses_is_reported_once_and_the_rest_is_recorded(server, client, runs, tmp_path):
    reported: list[tuple[str, str]] = []
    one = Tracking(mlflow=server.uri).dispatcher((), lambda line, details: reported.append((line, details)))
    events = list(trial(tmp_path, 0, [0.5, 0.6, 0.7]))
    one.send(events[0])
    deadline = time.monotonic() + 60
    while "trial 0" not in runs():
        assert time.monotonic() < deadline
    client.delete_run(runs()["trial 0"].info.run_id)
    for event in [*events[1:], *trial(tmp_path, 1, [0.6])]:
        one.send(event)
    one.close(120)
    assert "trial 0" not in runs()
    assert runs()["trial 1"].data.metrics["value"] == 0.6
    lines = [line for line, _ in reported if line]
    assert len(lines) == 1
    assert "must be in the 'active' state" in lines[0]


def test_events_of_a_time_in_which_the_server_is_down_are_sent_when_it_is_back(runs, server, tmp_path, client):
    reported: list[tuple[str, str]] = []
    one = Tracking(mlflow=server.uri).dispatcher((), lambda line, details: reported.append((line, details)))
    events = list(trial(tmp_path, 0, [0.5, 0.6, 0.7]))
    try:
        one.send(events[0])
        deadline = time.monotonic() + 60
        while "trial 0" not in runs():
            assert time.monotonic() < deadline
        server.stop()
        for event in events[1:3]:
            one.send(event)
        while not reported:
            time.sleep(0.1)
    finally:
        server.stop()
        server.start()
    for event in [*events[3:], list(session(tmp_path))[-1]]:
        one.send(event)
    one.close(120)
    found = runs()["trial 0"]
    assert [m.step for m in client.get_metric_history(found.info.run_id, "val_auc")] == [1, 2, 3]
    assert found.info.status == "FINISHED"
    assert reported[0][0].startswith("MLflow raised MlflowException")
    assert len([line for line, _ in reported if line]) == 1


def test_a_search_records_itself_and_its_resumption(server, client, runs, search, monkeypatch):
    assert search.run("--trials", "2", "--mlflow", server.uri) == 0, search.text
    assert f"MLflow: {server.uri}" in search.text
    before = runs()["broken"].info.run_id
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    assert search.run("--trials", "3", "--resume") == 0, search.text
    found = runs()
    assert set(found) == {"broken", "trial 0", "trial 1", "trial 2"}
    assert found["broken"].info.run_id == before
    kept = {f"trial {t['number']}": t["value"] for t in search.trials() if t["state"] == "COMPLETE"}
    assert kept == {name: found[name].data.metrics["value"] for name in kept}
    assert found["broken"].data.metrics["best_value"] == max(kept.values())
    assert all(run.info.status == "FINISHED" for run in found.values())
