"""The one kind of progress bar that commands show on a terminal; elsewhere nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar

from rich.console import RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TaskID, TimeElapsedColumn
from rich.text import Text

from search.cli import console, quantities
from search.cli.screen import name, styled


class _What(ProgressColumn):
    """What is being done."""

    def render(self, task: Task) -> Text:
        return styled(name(task.description))


class _Left(ProgressColumn):
    """How long it still takes, where that is known."""

    def render(self, task: Task) -> Text:
        return styled(str(task.fields.get("left", "")))


class _Progress(Progress):
    """Rich's bars with a line below them."""

    note = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        if self.note:
            note = styled(name(self.note), style="dim")
            note.no_wrap, note.overflow = True, "crop"
            yield note


class Bars:
    """Bars by what is being done; each appears when it is first told of."""

    def __init__(self) -> None:
        self._shown = _Progress(
            _What(), BarColumn(bar_width=24), MofNCompleteColumn(), TimeElapsedColumn(), _Left(),
            console=console.err, transient=True, disable=not console.err.is_terminal,
        )  # fmt: skip
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, done: int, total: int, what: str) -> None:
        """The library's `progress(done, total, what)`."""
        self.show(done, total, what)

    def show(self, done: int, total: int, what: str, *, left: str = "", note: str = "") -> None:
        """Draw.

        Args:
            done: of `total`.
            total: steps.
            what: is being done; each has a bar of its own.
            left: how long it still takes.
            note: a line below all bars.
        """
        if what not in self._tasks:
            self._tasks[what] = self._shown.add_task(what, total=total)
        self._shown.note = note
        self._shown.update(self._tasks[what], completed=done, total=total, left=left)


_elsewhere: ContextVar[Bars | None] = ContextVar("elsewhere", default=None)


@contextmanager
def shown_by(other: Bars) -> Iterator[None]:
    """Hand what all bars of the block tell to another instead, which draws it in its own way."""
    token = _elsewhere.set(other)
    try:
        yield
    finally:
        _elsewhere.reset(token)


@contextmanager
def bars() -> Iterator[Bars]:
    """Bars while something is done; they are taken away afterwards."""
    if (other := _elsewhere.get()) is not None:
        yield other
        return
    made = Bars()
    with made._shown:
        yield made


FEW = 4
"""Trainings done before their own pace is believed."""


def progress() -> AbstractContextManager[Callable[[int, int, str], None]]:
    """A bar for the library's `progress(done, total, what)`; silent where there is no terminal."""
    return bars()


class Trainings:
    """Trainings done and running, with the time left; a plain line each where there is no terminal."""

    def __init__(self, bar: Bars, total: int, what: str, seconds: float) -> None:
        self._bar = bar
        self._total = total
        self._what = what
        self._done = self._fresh = 0
        self._begun = time.monotonic()
        self._expected = seconds
        self._running: dict[str, str] = {}
        self._show()

    def event(self, name: str, event: tuple[int, float]) -> None:
        """An epoch ended: (epoch, value), the value 0 where a training has no validation images."""
        self._running[name] = f"{name}, epoch {event[0]}{f': {event[1]:.3f}' if event[1] else ''}"
        self._show()

    def done(self, name: str, text: str, *, failed: bool) -> None:
        """A training ended, or was found finished: then no epoch of it was told."""
        self._done += 1
        self._total = max(self._total, self._done)
        trained = self._running.pop(name, None) is not None
        self._fresh += trained
        word = ("failed", "red") if failed else "done" if trained else "kept"
        if not console.err.is_terminal or failed:
            line = styled(
                f"{quantities.now()}  {self._done}/{self._total}  {name} ", word, f": {text}{self._left(', ')}"
            )
            console.err.print(line, soft_wrap=True)
        self._show()

    def left_out(self) -> None:
        """One of them does not fit the time any more."""
        self._total = max(self._total - 1, self._done)
        self._show()

    def _left(self, before: str = "") -> str:
        if self._done >= self._total:
            return ""
        spent = time.monotonic() - self._begun
        if self._fresh < FEW:  # the first trainings hold the start of the workers: the plan knows better
            kept = (self._done - self._fresh) / self._total
            left = max(0.0, (1 - kept) * self._expected - spent)
        else:
            left = spent / self._fresh * (self._total - self._done)
        return f"{before}about {quantities.clock(left)} left" if left >= 1 else ""

    def _show(self) -> None:
        running = "; ".join(list(self._running.values())[-2:])
        self._bar.show(self._done, self._total, self._what, left=self._left(), note=running)


@contextmanager
def trainings(total: int, what: str, seconds: float) -> Iterator[Trainings]:
    """The live view of so many trainings, expected to take so many seconds."""
    with bars() as bar:
        yield Trainings(bar, total, what, seconds)
