"""The one kind of progress bar that commands show on a terminal; elsewhere nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rich.console import RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TaskID, TimeElapsedColumn
from rich.text import Text

from search import console
from search.screen import name, styled


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


@contextmanager
def bars() -> Iterator[Bars]:
    """Bars while something is done; they are taken away afterwards."""
    made = Bars()
    with made._shown:
        yield made
