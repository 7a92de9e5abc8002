"""The page and the one request that it makes, as an ASGI application.

The image is the body of that request. So nothing is parsed before it is decoded, no file name leaves the browser, no
temporary file is written, and the body's type (`application/octet-stream`) is none that a page of another site may send
without being asked for leave.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from search.cli.local_pages import FOREIGN, is_local, is_own
from search.serving.page import Page
from xraytune.data.decoding.reading import Unreadable
from xraytune.errors import out_of_memory

WAITING = 4
"""Requests that may wait while one is answered."""

PATIENCE = 60.0
"""Seconds within which the body of a request must arrive."""

BODY = "application/octet-stream"

HEADERS = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
"""Of every response that does not set its own."""


class RefusedError(Exception):
    """A request that is not answered.

    Args:
        status: of HTTP.
        message: for a person.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Turns:
    """One request after the other, and few that wait."""

    def __init__(self, waiting: int = WAITING) -> None:
        self._most = waiting + 1
        self._here = 0
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for the turn.

        Raises:
            RefusedError: too many wait.
        """
        if self._here >= self._most:
            raise RefusedError(503, f"{self._here} images are being classified or waiting. Try again in a moment.")
        self._here += 1
        try:
            async with self._lock:
                yield
        finally:
            self._here -= 1


def application(
    page: Page,
    answered: Callable[[bytes], dict[str, Any]],
    *,
    largest: int,
    waiting: int = WAITING,
    patience: float = PATIENCE,
) -> ASGIApp:
    """The application.

    Args:
        page: what is at `/`.
        answered: of a file's content; called in a thread, never twice at once; raises `Unreadable`.
        largest: bytes that a file may have.
        waiting: requests that may wait while one is answered.
        patience: seconds within which a body must arrive.
    """
    app = FastAPI(
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        telemetry={"auto_configure": False, "tracing": False, "metrics": False, "logs": False},
    )
    turns = Turns(waiting)

    @app.get("/")
    def show() -> HTMLResponse:
        return HTMLResponse(page.text, headers={"content-security-policy": page.policy})

    @app.post("/answer")
    async def answer(request: Request) -> JSONResponse:
        _check(request.headers, largest)
        async with turns.turn():
            content = await _body(request, largest, patience)
            try:
                return JSONResponse(await run_in_threadpool(answered, content))
            except Unreadable as error:
                raise RefusedError(422, f"This file can't be used: {error}.") from None
            except Exception as error:
                if not out_of_memory(error):
                    raise
                raise RefusedError(507, "There is not enough memory for this image.") from None

    @app.exception_handler(RefusedError)
    async def refuse(request: Request, error: RefusedError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, error.status, {"connection": "close"})

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, error: ClientDisconnect) -> PlainTextResponse:
        return PlainTextResponse("")  # nobody reads it

    return Guarded(app)


def _check(headers: Headers, largest: int) -> None:
    """Refuse a request by its headers, before a byte of its body is read.

    Raises:
        RefusedError: the body is not the bare content of a file, or too large.
    """
    if headers.get("content-type", "") != BODY:
        raise RefusedError(415, f"Send the content of one image file as the body, as {BODY}.")
    length = headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > largest:
        raise _too_large(largest)


def _too_large(largest: int) -> RefusedError:
    return RefusedError(413, f"This file can't be used: it is larger than {largest >> 20} MiB.")


async def _body(request: Request, largest: int, patience: float) -> bytes:
    """The whole body, refused as soon as it is larger than `largest` bytes.

    Raises:
        RefusedError: it is, or does not arrive in time.
    """
    parts: list[bytes] = []
    left = largest
    try:
        async with asyncio.timeout(patience):
            async for part in request.stream():
                left -= len(part)
                if left < 0:
                    raise _too_large(largest)
                parts.append(part)
    except TimeoutError:
        raise RefusedError(408, f"The file did not arrive within {patience:g} seconds.") from None
    return b"".join(parts)


class Guarded:
    """An application that answers this machine's names and its own page alone, with the headers of every response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        app = self._app
        if not is_local(host):
            app = PlainTextResponse(FOREIGN, 421)
        elif not is_own(headers.get("origin"), host):
            app = PlainTextResponse(FOREIGN, 403)

        async def sending(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                own = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    own.setdefault(name, value)
            await send(message)

        await app(scope, receive, sending)
