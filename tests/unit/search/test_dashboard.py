"""The dashboard shows and changes nothing, to this machine alone."""

from __future__ import annotations

import http.client
import threading

import optuna
import pytest
from optuna.artifacts import get_all_artifact_meta

from search.dashboard import HIDDEN, serve
from search.study.database import open_database
from search.study.pages import write_picture
from xraytune.errors import InputError, StudyError


@pytest.fixture
def server(tmp_path):
    optuna.create_study(study_name="mine", storage=open_database(tmp_path))
    server = serve(tmp_path, port=0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def ask(server, method, path, host="127.0.0.1", origin=None):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    headers = {"Host": f"{host}:{server.server_port}", **({"Origin": origin} if origin else {})}
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content


def test_studies_are_shown(server):
    status, content = ask(server, "GET", "/api/studies")
    assert status == 200
    assert b"mine" in content
    assert ask(server, "HEAD", "/dashboard/")[0] == 200


@pytest.mark.parametrize("method", ["DELETE", "POST", "PUT", "PATCH"])
def test_nothing_can_be_changed(server, method):
    assert ask(server, method, "/api/studies/1")[0] == 405
    assert b"mine" in ask(server, "GET", "/api/studies")[1]


def test_its_pages_hide_what_would_be_refused_and_other_answers_are_passed_on(server):
    page = ask(server, "GET", "/dashboard/studies/1")[1].decode()
    head, _, body = page.partition("</head>")
    assert head.count("<style>") == 2
    assert all(selector in head for selector in HIDDEN)
    assert 'id="dashboard"' in body
    assert page.rstrip().endswith("</html>")
    assert b"<style>" not in ask(server, "GET", "/api/studies")[1]


def test_pictures_of_trials_are_served(tmp_path, server):
    storage = open_database(tmp_path)
    study = optuna.load_study(study_name="mine", storage=storage)
    trial = study.ask()
    write_picture(storage, tmp_path / "mine", trial._trial_id, "roc.svg", "<svg/>")
    [meta] = get_all_artifact_meta(study_or_trial=trial, storage=storage)
    status, content = ask(server, "GET", f"/artifacts/{study._study_id}/{trial._trial_id}/{meta.artifact_id}")
    assert (status, content) == (200, b"<svg/>")
    assert ask(server, "DELETE", f"/api/artifacts/{study._study_id}/{trial._trial_id}/{meta.artifact_id}")[0] == 405


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", ""])
def test_foreign_names_are_refused(server, host):
    assert ask(server, "GET", "/api/studies", host=host)[0] == 421


def test_it_listens_on_this_machine_alone(server):
    assert server.server_address[0] == "127.0.0.1"


def test_a_taken_port_and_a_missing_study_are_said(server, tmp_path):
    with pytest.raises(InputError, match="--port"):
        serve(tmp_path, port=server.server_port)
    with pytest.raises(StudyError, match="There is no study"):
        serve(tmp_path / "none")
