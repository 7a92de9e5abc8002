"""The server on 127.0.0.1: a port, and uvicorn without a log of requests."""

from __future__ import annotations

import logging
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from search.cli.local_pages import unavailable
from xraytune.errors import InputError

if TYPE_CHECKING:
    import uvicorn
    from starlette.types import ASGIApp

ENDING = 5
"""Seconds that requests may take to end after Ctrl-C."""


def require() -> None:
    """Check that the packages of the extra are installed.

    Raises:
        InputError: one is missing.
    """
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"The page needs FastAPI and uvicorn ({error.name} is missing). Install the extra: make setup EXTRAS=serve "
            "(or: pip install 'xraytune[serve]')"
        ) from None


def listening(port: int) -> socket.socket:
    """A socket that listens on 127.0.0.1.

    Args:
        port: 0 picks a free one.

    Raises:
        InputError: the port can't be had.
    """
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(("127.0.0.1", port))
        made.listen()
    except OSError as error:
        made.close()
        raise unavailable(port, error) from None
    return made


def server(app: ASGIApp) -> uvicorn.Server:
    """A server of an application, not yet running. It writes no line a request and tells nobody what it is."""
    import uvicorn

    for name in ("uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return uvicorn.Server(
        uvicorn.Config(
            app, loop="asyncio", http="h11", ws="none", lifespan="off", log_config=None, access_log=False,
            server_header=False, proxy_headers=False, limit_concurrency=64, timeout_graceful_shutdown=ENDING,
        )
    )  # fmt: skip


def serve(app: ASGIApp, at: socket.socket) -> None:
    """Serve until Ctrl-C, which ends it in order."""
    with suppress(KeyboardInterrupt):  # uvicorn ends requests first, then raises the signal again
        server(app).run(sockets=[at])
