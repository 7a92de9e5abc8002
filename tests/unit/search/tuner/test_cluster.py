"""Who answers at a cluster's address: asked before Ray is, which would try for minutes."""

from __future__ import annotations

import http.server
import os
import socket
import threading
import time
from pathlib import Path

import pytest

from search.tuner import cluster
from search.tuner.resources import Resources
from xraytune.errors import FatalError


def test_who_does_not_greet_like_rays_head_is_no_cluster(monkeypatch):
    monkeypatch.setattr(cluster, "ANSWER", 0.5)
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        socket.create_server(("127.0.0.1", 0)) as gone,
        http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as web,
    ):
        gone_port = gone.getsockname()[1]
        gone.close()
        monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *arguments: None)
        thread = threading.Thread(target=web.handle_request)
        thread.start()
        for port, words in (
            (silent.getsockname()[1], "timed out"),
            (gone_port, "refused"),
            (web.server_address[1], "not the head of a Ray cluster"),
            ("port", "invalid"),
        ):
            with pytest.raises(ConnectionError, match=words):
                cluster._knock(f"127.0.0.1:{port}")
        thread.join()


def test_who_greets_like_rays_head_may_be_one():
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet():
            line, _ = server.accept()
            with line:
                line.recv(64)
                line.sendall(bytes([0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100]))

        thread = threading.Thread(target=greet)
        thread.start()
        cluster._knock(f"127.0.0.1:{server.getsockname()[1]}")
        thread.join()


@pytest.fixture
def begun(tmp_path, monkeypatch):
    """A cluster whose Ray is a function that a test gives, begun; stopped at the end."""
    made = []

    def begin(start):
        one = cluster.Cluster(Resources(2, 1.0, 0.0, 2, 0), tmp_path)
        monkeypatch.setattr(one, "_start", start)
        one.begin()
        made.append(one)
        return one

    yield begin
    for one in made:
        one.stop(at_once=True)


def test_ray_starts_beside_other_work_and_its_thread_lives_until_it_is_stopped(begun):
    go, threads = threading.Event(), []

    def start():
        threads.append(threading.current_thread())
        go.wait(10)

    one = begun(start)
    assert os.environ["XRAYTUNE_SESSION"] == one.mark
    go.set()
    one.wait()
    assert threads[0] is not threading.current_thread()
    assert threads[0].is_alive()  # Linux would end Ray's processes with it
    one.begin()  # a second time does nothing
    assert len(threads) == 1
    one.stop(at_once=True)
    threads[0].join(5)
    assert not threads[0].is_alive()
    assert not Path(one.folder).exists()
    assert "XRAYTUNE_SESSION" not in os.environ


def test_what_keeps_ray_from_starting_is_raised_where_it_is_waited_for_and_nothing_is_left(begun):
    def start():
        raise FatalError("Ray could not be started")

    one = begun(start)
    with pytest.raises(FatalError, match="could not be started"):
        one.wait()
    assert not Path(one.folder).exists()


def test_a_cluster_that_never_began_leaves_nothing(tmp_path):
    cluster.Cluster(Resources(2, 1.0, 0.0, 2, 0), tmp_path).stop()
    assert list(tmp_path.iterdir()) == []


def test_a_start_that_is_interrupted_before_its_thread_runs_is_stopped_without_waiting(tmp_path, monkeypatch):
    one = cluster.Cluster(Resources(2, 1.0, 0.0, 2, 0), tmp_path)

    def interrupted(thread):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            one.begin()
    one.stop(at_once=True)
    assert not Path(one.folder).exists()
    assert "XRAYTUNE_SESSION" not in os.environ


def test_an_interrupted_search_does_not_wait_for_a_slow_start_and_the_next_start_does(begun):
    go, order = threading.Event(), []

    def slow():
        go.wait(60)
        order.append("first")

    one = begun(slow)
    before = time.monotonic()
    one.stop(at_once=True)
    assert time.monotonic() - before < cluster.UNSTARTED + 2
    assert Path(one.folder).exists(), "Ray is never killed while it starts: it would end this process a minute later"
    assert "XRAYTUNE_SESSION" not in os.environ
    two = begun(lambda: order.append("second"))
    time.sleep(0.3)
    assert order == []
    go.set()
    two.wait()
    assert order == ["first", "second"]
    assert not Path(one.folder).exists(), "the start that was left alone was ended when it was over"


def test_a_second_interruption_leaves_the_slow_start_to_end_itself_too(begun, monkeypatch):
    go = threading.Event()
    one = begun(lambda: go.wait(60))

    def interrupted(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(one._tried, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        one.stop(at_once=True)
    monkeypatch.undo()
    assert "XRAYTUNE_SESSION" not in os.environ
    go.set()
    end = time.monotonic() + 20
    while Path(one.folder).exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert not Path(one.folder).exists()


class SlowRay:
    """Ray whose every start fails, the first one not before a test lets it."""

    def __init__(self):
        self.tried, self.go = 0, threading.Event()

    def is_initialized(self):
        return False

    def init(self, **options):
        self.tried += 1
        self.go.wait(10)
        raise RuntimeError("its first process is slow")

    def shutdown(self):
        pass


def test_ray_is_not_tried_again_once_the_search_was_ended_and_what_it_started_is_waited_for(tmp_path, monkeypatch):
    ray = SlowRay()
    one = cluster.Cluster(Resources(2, 1.0, 0.0, 2, 0), tmp_path)
    monkeypatch.setattr(one, "_start", lambda: one._start_here(ray, {}))
    one.begin()
    stopping = threading.Thread(target=one.stop, kwargs={"at_once": True})
    stopping.start()
    stopping.join(0.5)
    assert stopping.is_alive()  # Ray may still start processes, which only then can be ended
    ray.go.set()
    stopping.join(10)
    assert not stopping.is_alive()
    assert ray.tried == 1


def test_ray_is_tried_several_times_where_its_first_process_is_slow(tmp_path):
    ray = SlowRay()
    ray.go.set()
    with pytest.raises(RuntimeError):
        cluster.Cluster(Resources(2, 1.0, 0.0, 2, 0), tmp_path)._start_here(ray, {})
    assert ray.tried == cluster.STARTS
