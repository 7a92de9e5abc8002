"""How far a call is: one line that is drawn anew at a terminal or in a notebook, nothing elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from html import escape
from typing import Any

from rich.live import Live

from search.cli.live_view import PER_SECOND, Progress
from search.cli.progress_bars import Bars, shown_by
from search.cli.screen import Screen, name, styled


@contextmanager
def line(text: Callable[[], str], *, wanted: bool) -> Iterator[None]:
    """Draw one line while something is done; it is taken away afterwards.

    Args:
        text: called a few times a second, from another thread.
        wanted: False draws nothing.
    """
    screen = Screen(stderr=True)
    with ExitStack() as drawing:
        if wanted and screen.is_jupyter:
            drawing.enter_context(_in_notebook(text))
        elif wanted and screen.is_terminal:
            drawing.enter_context(_at_terminal(text, screen))
        yield


def _at_terminal(text: Callable[[], str], screen: Screen) -> AbstractContextManager[Any]:
    def drawn() -> Any:
        shown = styled(name(text()))
        shown.no_wrap, shown.overflow = True, "crop"
        return shown

    return Live(get_renderable=drawn, console=screen, refresh_per_second=PER_SECOND, transient=True)


@contextmanager
def _in_notebook(text: Callable[[], str]) -> Iterator[None]:
    from IPython.display import display

    def drawn(shown: str) -> dict[str, str]:
        return {"text/plain": name(shown), "text/html": f"<code>{escape(name(shown))}</code>" if shown else ""}

    handle = display(drawn(text()), raw=True, display_id=True)
    over = threading.Event()

    def draw() -> None:
        while not over.wait(1 / PER_SECOND):
            handle.update(drawn(text()), raw=True)

    thread = threading.Thread(target=draw, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        handle.update(drawn(""), raw=True)


class SearchLine(Progress):
    """A search while it runs, in one line; its log is the command's.

    Args:
        wanted: False draws nothing.
        begun: when the time budget began to run, in seconds since 1970.
    """

    def __init__(self, *, wanted: bool, begun: float) -> None:
        super().__init__(begun=begun, target=Screen(quiet=True, force_terminal=False, force_jupyter=False))
        self._drawing = line(self.in_one_line, wanted=wanted)

    def __enter__(self) -> SearchLine:
        """Begin to draw."""
        self._drawing.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        """Draw no more."""
        self._drawing.__exit__(None, None, None)


class _BarsLine(Bars):
    """What all bars of a call tell, in one line."""

    def __init__(self) -> None:
        self.text = "starting …"

    def show(self, done: int, total: int, what: str, *, left: str = "", note: str = "") -> None:
        """Keep what is to be drawn."""
        share = f" {done}/{total}" if total > 1 else ""
        self.text = f"{what}{share}" + "".join(f" · {part}" for part in (left, note) if part)


@contextmanager
def bars_line(*, wanted: bool) -> Iterator[None]:
    """Draw what all bars of the block tell, in one line.

    Args:
        wanted: False draws nothing.
    """
    told = _BarsLine()
    with shown_by(told), line(lambda: told.text, wanted=wanted):
        yield
