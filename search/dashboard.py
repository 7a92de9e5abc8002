"""optuna-dashboard, read-only and on this machine alone: `python -m search.dashboard`.

By itself optuna-dashboard answers anyone who can reach it, any Host name and every method; a web page open in the same
browser could delete a study. Here only GET and HEAD are passed on, and only with a Host that names this machine. What
would be refused is hidden from its pages.
"""

from __future__ import annotations

import logging
import socketserver
import urllib.parse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from search.cli import console
from search.cli.local_pages import FOREIGN, HOSTS, is_local, unavailable
from search.cli.shared import Port, Results, Storage
from xraytune.errors import FatalError, StudyError

EXAMPLES = """
python -m search.dashboard
python -m search.dashboard --port 9000 --results other/results
"""

METHODS = ("GET", "HEAD")

MOST_LINES = 20
"""Lines about failed requests that are printed at most."""

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


class _Once(logging.Handler):
    """Says the first line of what goes wrong, each line once, without its traceback."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__()
        self._say = say
        self._told: set[str] = set()

    def tell(self, message: str) -> None:
        """Say the message's first line."""
        line = f"A request could not be answered: {message.partition(chr(10))[0]}"
        if line not in self._told and len(self._told) < MOST_LINES:
            self._told.add(line)
            self._say(line)

    def emit(self, record: logging.LogRecord) -> None:
        self.tell(record.getMessage().removeprefix("Exception: "))


def answering(application: Application, say: Callable[[str], None]) -> Application:
    """`application` whose every failure is an answer and a line, where it would print a traceback.

    Args:
        application: optuna-dashboard's, which lets exceptions through or logs them.
        say: takes the line; the same one comes once.
    """
    from search.study.database import ChangedError

    once = _Once(say)
    log = logging.getLogger("optuna_dashboard")
    log.handlers, log.propagate = [once], False

    def answered(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        asked = urllib.parse.parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
        if not all(number.isdecimal() for number in asked.get("after", ())):
            return _refuse(start_response, "400 Bad Request", "after= takes the number of a trial.\n")
        try:
            return application(environ, start_response)
        except ChangedError:
            return _refuse(start_response, "404 Not Found", "There is no such study or trial.\n")
        except FatalError as error:
            status, why = "503 Service Unavailable", str(error)
        except Exception as error:
            status, why = "500 Internal Server Error", f"{type(error).__name__}: {error}"
        once.tell(why)
        return _refuse(start_response, status, f"{why}\n")

    return answered


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

    bottle: Any = wsgi(open_database(results, storage), picture_store(results))
    bottle.catchall = False
    application = read_only(answering(styled(bottle), console.err.say))
    try:
        return make_server("127.0.0.1", port, application, _Server, handler_class=_Quiet)
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
