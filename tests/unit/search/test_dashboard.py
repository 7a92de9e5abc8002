"""The dashboard shows and changes nothing, to this machine alone."""

from __future__ import annotations

import http.client
import threading

import optuna
import pytest

from search.dashboard import serve
from search.study.database import open_database
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
