"""Who answers at a cluster's address: asked before Ray is, which would try for minutes."""

from __future__ import annotations

import http.server
import socket
import threading

import pytest

from search.tuner import cluster


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
            (web.server_address[1], "no head of a cluster"),
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
