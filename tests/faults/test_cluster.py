"""A cluster of several Ray nodes, each with processes of its own on this machine."""

from __future__ import annotations

import http.server
import os
import secrets
import shutil
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.timeout(1200)


class Nodes:
    """`ray start`, as docs/cluster.md has it."""

    def __init__(self, folder: str, port: int) -> None:
        self.folder, self.address = folder, f"127.0.0.1:{port}"
        self.environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        self.raylets: list[psutil.Process] = []
        self.start("--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={folder}")
        self.start(f"--address={self.address}")

    def start(self, *arguments: str) -> None:
        before = self._raylets()
        subprocess.run(
            [str(Path(sys.executable).with_name("ray")), "start", "--num-cpus=1", *arguments],
            env={**os.environ, **self.environment, "XRAYTUNE_NODES": self.folder},
            capture_output=True,
            check=True,
        )
        self.raylets += [p for p in self._raylets() if p not in before]

    def _raylets(self) -> list[psutil.Process]:
        return [p for p in self._all() if p.name() == "raylet"]

    def _all(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("XRAYTUNE_NODES") == self.folder:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def lose(self, raylet: psutil.Process) -> None:
        """What a machine that loses its power looks like: its raylet and all below are gone at once."""
        for process in [raylet, *raylet.children(recursive=True)]:
            process.kill()

    def end(self) -> None:
        known = self._all()
        for process in known + [c for p in known if p.is_running() for c in p.children(recursive=True)]:
            try:
                process.kill()
            except psutil.Error:
                continue
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    some = Nodes(tempfile.mkdtemp(prefix="xn", dir="/tmp"), port)
    yield some
    some.end()


def test_a_node_lost_in_mid_search_costs_no_trial(search, nodes):
    search.start("--trials", "8", "--address", nodes.address, XRAYTUNE_EPOCH_SECONDS="1", **nodes.environment)
    search.until_said(" complete ")
    nodes.lose(nodes.raylets[1])
    assert search.wait() == 0, search.text
    trials = search.trials()
    assert sum(t["state"] in {"COMPLETE", "PRUNED"} for t in trials) == 8
    assert nodes.raylets[0].is_running(), "a joined cluster is left as it was"


def test_images_travel_to_the_workers_of_a_joined_cluster(search, nodes):
    arguments = ["--data", "demo", "--trials", "2", "--address", nodes.address]
    search.start(*arguments, space="smoke", **nodes.environment)
    assert search.wait() == 0, search.text
    assert [t["state"] for t in search.trials()] == ["COMPLETE"] * 2


def test_an_address_where_nobody_answers_is_said_and_leaves_nothing(search):
    assert search.run("--trials", "2", "--address", "127.0.0.1:1") == 2
    assert "no Ray cluster answers" in search.text
    assert not search.results.exists()


class Stranger(socketserver.BaseRequestHandler):
    """Takes a call and says nothing until it is told to hang up."""

    def handle(self) -> None:
        self.server.called.append(time.monotonic())
        self.server.over.wait()


class WebServer(http.server.BaseHTTPRequestHandler):
    def setup(self) -> None:
        super().setup()
        self.server.called.append(time.monotonic())

    def log_message(self, *arguments) -> None:
        pass


@pytest.mark.parametrize("handler", [Stranger, WebServer])
def test_an_address_where_something_else_than_ray_answers_is_said_soon_and_leaves_nothing(search, handler):
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        server.called, server.over = [], threading.Event()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        search.start("--trials", "2", "--address", f"127.0.0.1:{server.server_address[1]}")
        search.until(lambda: search.watchdogs() or server.called)
        folders = [watchdog.cmdline()[-1] for watchdog in search.watchdogs()]
        code = search.wait()
        ended = time.monotonic()
        server.over.set()
        server.shutdown()
    assert code == 2, search.text
    assert ended - server.called[0] < 10
    assert search.text.count("error: ") == 1
    assert "no Ray cluster answers" in search.text
    assert "Traceback" not in search.text
    assert not search.results.exists()
    assert not [folder for folder in folders if Path(folder).exists()]
