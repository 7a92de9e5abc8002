"""optuna-dashboard, read-only and on this machine alone: `python -m search.dashboard`.

By itself optuna-dashboard answers anyone who can reach it, any Host name and every method; a web page open in the same
browser could delete a study. Here only GET and HEAD are passed on, and only with a Host that names this machine. What
would be refused is hidden from its pages.
"""

from __future__ import annotations

import socketserver
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from search.cli import console
from search.cli.local_pages import FOREIGN, HOSTS, is_local, unavailable
from search.cli.shared import Port, Results, Storage
from xraytune.errors import StudyError

EXAMPLES = """
python -m search.dashboard
python -m search.dashboard --port 9000 --results other/results
"""

METHODS = ("GET", "HEAD")

HIDDEN = (
    'button:has([data-testid="AddBoxIcon"])',  # create a study
    'button[aria-label="rename study"]',
    'button[aria-label="delete study"]',
    'button[aria-label="delete artifact"]',
    'button:has([data-testid="EditIcon"])',  # a note
    "button.MuiButton-outlinedError",  # fail a running trial
    '.MuiCard-root:has([data-testid="UploadFileIcon"])',
)
"""What would be refused, in optuna-dashboard's pages."""

STYLE = f"""
{", ".join(HIDDEN)} {{ display: none; }}
.MuiAppBar-root .MuiToolbar-root::after {{ content: "read-only"; margin-left: auto; white-space: nowrap; }}
.MuiTypography-root {{ overflow-wrap: anywhere; }}
table:not([class]) :is(th, td) {{ padding: 2px 12px; text-align: right; }}
.MuiCard-root:has(> .MuiBox-root > img[src^="/artifacts/"]) {{ width: 345px !important; }}
.MuiBox-root:has(> img[src^="/artifacts/"]) {{ height: 260px !important; }}
"""
"""For each of its pages: a long word does not widen it, tables of notes have room, pictures can be read."""

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def read_only(application: Application, hosts: Iterable[str] = HOSTS) -> Application:
    """`application` behind an allow-list of Host names and of methods that change nothing.

    Args:
        application: any WSGI application.
        hosts: names (without port) by which it may be addressed; a foreign one is how DNS rebinding looks.
    """
    allowed = frozenset(hosts)

    def guarded(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if not is_local(environ.get("HTTP_HOST", ""), allowed):
            return _refuse(start_response, "421 Misdirected Request", FOREIGN)
        if environ.get("REQUEST_METHOD") not in METHODS:
            return _refuse(start_response, "405 Method Not Allowed", "The dashboard is read-only.\n")
        return application(environ, start_response)

    return guarded


def styled(application: Application) -> Application:
    """`application` with `STYLE` in each of its pages.

    Args:
        application: any WSGI application that answers as it starts, as optuna-dashboard does.
    """

    def with_style(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        begun: list[Any] = []
        # its pages are compressed for a browser that takes that
        content = application({**environ, "HTTP_ACCEPT_ENCODING": "identity"}, lambda *given: begun.extend(given))
        status, headers = begun[0], begun[1]
        if dict(headers).get("Content-Type", "").startswith("text/html"):
            whole = b"".join(content).replace(b"</head>", f"<style>{STYLE}</style></head>".encode())
            getattr(content, "close", lambda: None)()
            headers = [(key, value) for key, value in headers if key != "Content-Length"]
            headers.append(("Content-Length", str(len(whole))))
            content = [whole]
        start_response(status, headers, *begun[2:])
        return content

    return with_style


def _refuse(start_response: Callable[..., Any], status: str, text: str) -> Iterable[bytes]:
    start_response(status, [("Content-Type", "text/plain; charset=utf-8"), ("Allow", ", ".join(METHODS))])
    return [text.encode()]


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
        """No line a request."""


def serve(results: Path, storage: str | None = None, port: int = 8080) -> WSGIServer:
    """A server on 127.0.0.1, not yet running (`serve_forever` runs it).

    Args:
        results: the results folder.
        storage: an Optuna RDB URL; None for SQLite in the results folder.
        port: 0 picks a free one.

    Raises:
        StudyError: there is no study yet.
        InputError: the port is taken.
    """
    from search.study.database import is_there, open_database
    from search.study.pages import picture_store

    if not is_there(results, storage):
        raise StudyError(f"There is no study in {results} yet. Make one: python -m search.run (or: make search)")
    from optuna_dashboard import wsgi

    application = styled(wsgi(open_database(results, storage), picture_store(results)))
    try:
        return make_server("127.0.0.1", port, read_only(application), _Server, handler_class=_Quiet)
    except OSError as error:
        raise unavailable(port, error) from None


def main(
    port: Port = 8080,
    results: Results = Path("results"),
    storage: Storage = None,
) -> None:
    """Show studies in the browser: trials, parameters, learning curves. Read-only; ends with Ctrl-C."""
    with serve(results, storage, port) as server:
        console.out.print(f"http://127.0.0.1:{server.server_port}  (read-only; Ctrl-C ends it)")
        server.serve_forever()


if __name__ == "__main__":
    console.run(main, examples=EXAMPLES)
