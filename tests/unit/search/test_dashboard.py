"""The dashboard shows and changes nothing, to this machine alone."""

from __future__ import annotations

import http.client
import logging
import socket
import threading

import optuna
import pytest
from optuna.artifacts import get_all_artifact_meta

from search.dashboard import HIDDEN, answering, serve
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


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/studies/1?after=abc", 400), ("/api/studies/1?after=", 400), ("/api/studies/1?after=-1", 400),
        ("/api/studies/1?after=0&after=x", 400), ("/api/studies/999", 404), ("/csv/999", 404), ("/csv/x", 404),
        ("/api/studies/1?after=0", 200), ("/artifacts/1/2", 404), (f"/csv/{'9' * 40}", 500),
    ],
)  # fmt: skip
def test_what_can_not_be_shown_is_an_answer_and_no_traceback(server, capfd, path, status):
    assert ask(server, "GET", path)[0] == status
    printed = capfd.readouterr()
    assert "Traceback" not in printed.out + printed.err
    assert "File" not in printed.out + printed.err


def test_a_request_without_the_headers_of_a_browser_is_answered(server):
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=20) as line:
        line.sendall(b"GET /dashboard/ HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
        assert line.recv(20).startswith(b"HTTP/1.0 200")


def test_a_failure_is_told_in_one_line_and_once():
    said = []

    def fails(environ, start_response):
        raise ValueError("broken\nsecond line")

    application = answering(fails, said.append)
    answered = []
    for _ in range(3):
        assert list(application({"PATH_INFO": "/x"}, lambda *given: answered.append(given)))
    assert [status[:3] for status, *_ in answered] == ["500"] * 3
    logging.getLogger("optuna_dashboard").error("Exception: gone\n  File x, line 1")
    assert said == ["A request could not be answered: ValueError: broken", "A request could not be answered: gone"]


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
