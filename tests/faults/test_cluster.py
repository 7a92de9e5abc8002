"""A cluster of several Ray nodes, each with processes of its own on this machine."""

from __future__ import annotations

import http.server
import os
import re
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

from tests.searching import counted

pytestmark = pytest.mark.timeout(1200)


class Nodes:
    """`ray start`, as docs/cluster.md has it; synthetic epochs take a second there."""

    def __init__(self, folder: str, port: int, *second: str) -> None:
        self.folder, self.address = folder, f"127.0.0.1:{port}"
        self.environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        self.environment |= {"XRAYTUNE_EPOCH_SECONDS": "1"}
        self.raylets: list[psutil.Process] = []
        self.start("--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={folder}")
        self.start(f"--address={self.address}", *second)

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
        """One a node; what a raylet starts bears its name until it runs its own program."""
        found = [p for p in self._all() if p.name() == "raylet"]
        return [p for p in found if p.ppid() not in {other.pid for other in found}]

    def _all(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("XRAYTUNE_NODES") == self.folder:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def workers(self, node: int) -> list[int]:
        """The processes in which trials run on the first (0) or second node."""
        found = []
        for process in self.raylets[node].children(recursive=True):
            try:
                if "Trainable" in " ".join(process.cmdline()):
                    found.append(process.pid)
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
def nodes(request: pytest.FixtureRequest) -> Iterator[Nodes]:
    """Two; what the second one has beside a core can be given by the test."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    some = Nodes(tempfile.mkdtemp(prefix="xn", dir="/tmp"), port, *getattr(request, "param", ()))
    yield some
    some.end()


def test_a_node_lost_in_mid_search_costs_no_trial(search, nodes):
    # more than one node gets through while the other's first worker imports its framework
    search.start("--trials", "20", "--pruner", "none", "--address", nodes.address, **nodes.environment)
    at_work: list[int] = []
    search.until(lambda: at_work.extend(w for w in nodes.workers(1) if len(search.begun().get(w, [])) > 1) or at_work)
    nodes.lose(nodes.raylets[1])
    assert search.wait() == 0, search.text
    trials = counted(search.trials())
    assert [t["state"] for t in trials] == ["COMPLETE"] * 20
    seed, _ = search.begun()[at_work[0]][-1]
    number = next(t["number"] for t in trials if t["config"]["seed"] == seed)
    assert [line for line in search.text.splitlines() if "its worker was lost" in line and f"trial {number}" in line]
    elsewhere = [w for w, began in search.begun().items() if seed in {s for s, _ in began} and w != at_work[0]]
    assert elsewhere, "another node's worker went on with it"
    assert nodes.raylets[0].is_running(), "a joined cluster is left as it was"


@pytest.mark.long
@pytest.mark.parametrize("nodes", [("--num-gpus=1",)], indirect=True)
def test_the_gpus_of_a_joined_cluster_are_used_by_a_driver_that_has_none(search, nodes):
    """A GPU by name alone, which Ray hands out like a real one."""
    search.start("--trials", "2", "--address", nodes.address, CUDA_VISIBLE_DEVICES="-1", **nodes.environment)
    assert search.wait() == 0, search.text
    assert "1 GPU each" in search.text
    assert [t["result"]["device"] for t in counted(search.trials())] == ["gpu 0"] * 2


SMOKE = """
import os
from spaces.smoke import Smoke

class Told(Smoke):
    def build(self, hp):
        print("deterministic:", os.environ.get("TF_DETERMINISTIC_OPS"), flush=True)
        return super().build(hp)
"""


def test_images_and_how_to_compute_travel_to_the_workers_of_a_joined_cluster(search, nodes, tmp_path):
    (tmp_path / "told.py").write_text(SMOKE)
    arguments = ["--data", "demo", "--trials", "2", "--address", nodes.address, "--deterministic"]
    search.start(*arguments, space=f"{tmp_path / 'told.py'}:Told", **nodes.environment)
    search.until(lambda: nodes.workers(0) or nodes.workers(1))  # each has yet to import its framework
    pools = [path for path in search.cache.rglob("*.npy") if "ray" not in path.relative_to(search.cache).parts]
    assert pools
    for path in pools:  # no worker shares a disk with the driver
        path.unlink()
    assert search.wait() == 0, search.text
    assert [t["state"] for t in counted(search.trials())] == ["COMPLETE"] * 2
    assert set(re.findall(r"deterministic: (\w+)", search.logs)) == {"1"}


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
