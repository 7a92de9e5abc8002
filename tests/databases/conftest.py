"""A server of each kind for all tests of it; each test has a results folder and a study's name of its own."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import pytest

from tests.databases.servers import KINDS, Server


@pytest.fixture(scope="session", params=KINDS, ids=lambda kind: kind.name)
def kept_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    kind: type[Server] = request.param
    if lacking := kind.missing():
        pytest.skip(f"this machine lacks {lacking} (Debian: apt install {kind.package})")
    if importlib.util.find_spec(kind.driver) is None:
        pytest.skip(f"{kind.driver} is not installed: make setup EXTRAS=postgres,mysql")
    one = kind()
    yield one
    one.remove()


@pytest.fixture
def server(kept_server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """It runs, and every command finds it by the environment."""
    if kept_server.process is None:
        kept_server.start()
    monkeypatch.setenv("XRAYTUNE_STORAGE", kept_server.url())
    return kept_server
