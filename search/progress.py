"""The live view of a search: one block that redraws itself on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from search import console
from xraytune.records import EpochReport, TrialConfig

REFRESH = 0.5
"""Seconds between two drawings on a terminal."""
STEP_LINE = 10.0
"""Seconds between two plain lines about the same preparation."""
LATEST = 6
"""Ended trials shown on a terminal; all of them are in the leaderboard."""


@dataclass
class _Row:
    family: str
    epoch: int = 0
    value: float | None = None
    began: float = field(default_factory=time.monotonic)


class Progress:
    """Shows a search while it runs.

    Args:
        label: the objective's short name, e.g. `F2`.
        trials: trials in all, None without such a bound.
        end: when the time is up, in seconds since 1970; None without such a bound.
        demonstration: drawn phantoms, no X-rays: said in every title.
        target: where to draw.
    """

    def __init__(
        self,
        label: str,
        *,
        trials: int | None = None,
        end: float | None = None,
        demonstration: bool = False,
        target: Console = console.out,
    ) -> None:
        self.label, self.trials, self.end, self.demonstration = label, trials, end, demonstration
        self._console = target
        self._live: Live | None = None
        self._running: dict[int, _Row] = {}
        self._counts: Counter[str] = Counter()
        self._latest: list[Text] = []
        self._best: tuple[int, str, float] | None = None
        self._step = ""
        self._step_line = 0.0
        self._drawn = 0.0

    def __enter__(self) -> Progress:
        """Begin to draw."""
        if self._console.is_terminal:
            self._live = Live(self._block(), console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Draw no more; the last block is taken away, the summary says it all."""
        if self._live:
            self._live.stop()
            self._live = None

    def start_from(self, counts: Counter[str], best: tuple[int, str, float] | None) -> None:
        """What earlier sessions of the study did."""
        self._counts.update(counts)
        self._best = best

    # -- preparation -------------------------------------------------------------------------------------------------

    def step(self, done: int, total: int, what: str) -> None:
        """The callback of long work in the library."""
        share = f" {done}/{total}" if total > 1 else ""
        self._step = f"{what}{share}" if done < total or total <= 1 else ""
        if self._live:
            self._draw()
        elif done >= total or time.monotonic() - self._step_line > STEP_LINE:
            self._step_line = time.monotonic()
            self._say(f"{what}{share}")

    def note(self, message: str) -> None:
        """Something worth a line that stays."""
        self._step = ""
        self._console.print(Text(message) if self._live else Text(f"{console.now()} {message}"))

    # -- trials ------------------------------------------------------------------------------------------------------

    def started(self, number: int, config: TrialConfig) -> None:
        """A trial began."""
        self._running[number] = _Row(config.family)
        self._step = ""
        self._draw()

    def epoch(self, number: int, report: EpochReport) -> None:
        """A trial reported."""
        row = self._running.setdefault(number, _Row("-"))
        row.epoch, row.value = report.epoch, report.value
        self._draw()

    def ended(self, number: int, state: str, value: float | None, cause: str, message: str) -> None:
        """A trial ended."""
        row = self._running.pop(number, _Row("-"))
        self._counts[state] += 1
        better = state == "COMPLETE" and value is not None and (self._best is None or value > self._best[2])
        if better and value is not None:
            self._best = number, row.family, value
        line = Text(f"trial {number:>3}  {row.family:<14} ")
        colour = {"COMPLETE": "green", "PRUNED": "yellow", "FAIL": "red"}.get(state, "dim")
        line.append(f"{state.lower():<11}", style=colour)
        shown = value if value is not None else row.value
        line.append(f" {self.label} {shown:.4f}" if shown is not None else "")
        line.append(f"  {row.epoch} epochs  {console.clock(time.monotonic() - row.began)}")
        line.append("  best so far" if better else "", style="bold green")
        line.append(f"  {cause}: {message.splitlines()[0] if message else ''}" if cause else "", style=colour)
        self._latest = [*self._latest, line][-LATEST:]
        if self._live:
            self._draw()
        else:
            self._say(f"{line.plain.rstrip()}  [{self._totals()}{self._left()}]")

    def tick(self) -> None:
        """Time passed."""
        if self._live and time.monotonic() - self._drawn > REFRESH:
            self._draw()

    # -- drawing -----------------------------------------------------------------------------------------------------

    def _totals(self) -> str:
        ended = self._counts["COMPLETE"] + self._counts["PRUNED"] + self._counts["FAIL"]
        of = f"/{self.trials}" if self.trials else ""
        parts = [f"{ended}{of} trials", f"{self._counts['PRUNED']} pruned", f"{self._counts['FAIL']} failed"]
        if self._best:
            parts.append(f"best {self.label} {self._best[2]:.4f} ({self._best[1]}, trial {self._best[0]})")
        return ", ".join(parts)

    def _left(self) -> str:
        return f", {console.clock(self.end - time.time())} left" if self.end else ""

    def _say(self, line: str) -> None:
        self._console.print(Text(f"{console.now()} {line}"), soft_wrap=True)

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        if self._live:
            self._live.update(self._block(), refresh=True)

    def _block(self) -> Group:
        title = Text("DEMONSTRATION, NOT X-RAYS  ", style="bold yellow") if self.demonstration else Text()
        title.append(self._totals() + self._left(), style="bold")
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=bool(self._running))
        for column in ("running", "family", "epoch", self.label, "time"):
            table.add_column(column, justify="left" if column in {"running", "family"} else "right", style="cyan")
        for number, row in sorted(self._running.items()):
            value = f"{row.value:.4f}" if row.value is not None else "-"
            spent = console.clock(time.monotonic() - row.began)
            table.add_row(f"trial {number}", row.family, str(row.epoch) if row.epoch else "-", value, spent)
        return Group(*([Text(self._step, style="dim")] if self._step else []), *self._latest, title, table)
