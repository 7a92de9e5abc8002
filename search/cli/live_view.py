"""The live view of a search: a block that redraws itself on a terminal, plain lines elsewhere, and a log file."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from search.cli import clock, console, quantities
from search.cli.screen import Screen, escaped, name, styled
from xraytune.records import EpochReport, TrialConfig, TrialResult

PER_SECOND = 2
"""Drawings on a terminal; a thread makes them, so that the time left runs on while the search is busy."""
STEP_LINE = 10.0
"""Seconds between two plain lines about the same preparation."""
LOG = "search.log"
"""The file in the study's folder that has every line, those that the terminal does not show among them."""
COLOURS = {"COMPLETE": "green", "PRUNED": "yellow", "FAIL": "red"}
WORDS = {"FAIL": "failed"}
"""States that are called otherwise than by Optuna."""


def word(state: str) -> str:
    """A trial's state for people: `complete`, `pruned`, `failed`, `interrupted`."""
    return WORDS.get(state, state.lower())


class Ranked(Protocol):
    """A complete trial, as a study ranks it."""

    @property
    def number(self) -> int:
        """The trial's."""

    @property
    def family(self) -> str:
        """Of its configuration."""

    @property
    def site(self) -> str:
        """The one that it holds out, or empty."""

    @property
    def compared(self) -> float | None:
        """Its objective, without what is due to its held-out site."""


@dataclass
class _Row:
    family: str
    epochs: int = 0
    """How many it may run at most; 0 where that is not known."""
    site: str = ""
    """The one that it holds out, at which its score is measured; empty where validation is by patient."""
    epoch: int = 0
    value: float | None = None
    began: float = field(default_factory=time.monotonic)

    @property
    def share(self) -> str:
        """`3/10`."""
        of = f"/{self.epochs}" if self.epochs else ""
        return f"{self.epoch or '–'}{of}"


class Progress:
    """Shows a search while it runs.

    Args:
        begun: when the time budget began to run, in seconds since 1970.
        verbose: also print what otherwise stands in the log alone.
        target: where to draw.
    """

    label = ""
    """The objective's short name, e.g. `F2`."""
    trials: int | None = None
    """Maximum number of trials."""
    end: float | None = None
    """When the time budget ends."""
    max_epochs = 0
    """The most epochs that any trial may run; 0 leaves it to each trial's own `epochs`."""
    demonstration = False
    """Synthetic images: said above the running trials."""

    def __init__(self, begun: float | None = None, *, verbose: bool = False, target: Screen = console.out) -> None:
        self.begun = clock.now() if begun is None else begun
        self._verbose = verbose
        self._console = target
        self._live: Live | None = None
        self._lock = threading.RLock()
        self._running: dict[int, _Row] = {}
        self._counts: Counter[str] = Counter()
        self._families: Counter[str] = Counter()
        self._best: Callable[[], Ranked | None] = lambda: None
        self._step = ""
        self._step_line = 0.0
        self._log: Path | None = None
        self._unlogged: list[str] = []

    def __enter__(self) -> Progress:
        """Begin to draw."""
        if self._console.is_terminal:
            self._live = Live(
                get_renderable=self._block, console=self._console, refresh_per_second=PER_SECOND, transient=True
            )
            self._live.start(refresh=True)
        return self

    def __exit__(self, *error: object) -> None:
        """Draw no more; the last block is taken away, the lines of the ended trials stay."""
        if self._live:
            self._live.stop()
            self._live = None

    def start_from(self, counts: Counter[str], families: Counter[str], best: Callable[[], Ranked | None]) -> None:
        """What earlier sessions of the study did.

        Args:
            counts: ended trials by state.
            families: ended trials by family.
            best: the study's best trial at any time; called from the drawing thread too.
        """
        with self._lock:
            self._counts.update(counts)
            self._families.update(families)
            self._best = best

    def log_to(self, folder: Path) -> None:
        """Keep all lines, the earlier ones too, in a file of the study's folder."""
        self._log = folder / LOG
        lines, self._unlogged = self._unlogged, []
        self._write(lines)

    # -- preparation -------------------------------------------------------------------------------------------------

    def step(self, done: int, total: int, what: str) -> None:
        """The callback of long work in the library."""
        share = f" {done}/{total}" if total > 1 else ""
        self._step = f"{what}{share}"
        ended = done >= total
        if ended:
            self._record(f"{what}{share}")
        if not self._live and (ended or time.monotonic() - self._step_line > STEP_LINE):
            self._step_line = time.monotonic()
            self._say(f"{what}{share}{self._left(', ')}")

    def note(self, message: str, style: str = "") -> None:
        """Something worth a line that stays."""
        self._record(message)
        if self._live:
            self._console.say(message, style=style)
        else:
            self._say(message)

    def detail(self, message: str) -> None:
        """Something for the log, and for the terminal where that was asked for."""
        if self._verbose:
            self.note(message, style="dim")
        else:
            self._record(message)

    def warn(self, message: str, details: str = "") -> None:
        """A line that something went wrong, and its details for the log; either may be empty."""
        if message:
            self.note(message, style="yellow")
        for line in details.splitlines():
            self.detail(line)

    # -- trials ------------------------------------------------------------------------------------------------------

    def started(self, number: int, config: TrialConfig) -> None:
        """A trial began."""
        epochs = [int(config.values["epochs"])] if "epochs" in config.values else []
        most = min([*epochs, *([self.max_epochs] if self.max_epochs else [])], default=0)
        with self._lock:
            self._running[number] = _Row(config.family, most, config.site)
            self._step = ""

    def epoch(self, number: int, report: EpochReport) -> None:
        """A trial reported."""
        with self._lock:
            row = self._running.setdefault(number, _Row("-"))
            row.epoch, row.value = report.epoch, report.value

    def ended(self, number: int, state: str, result: TrialResult | None, cause: str, message: str) -> None:
        """A trial ended."""
        value = result.value if result else None
        with self._lock:
            row = self._running.pop(number, _Row("-"))
            self._counts[state] += 1
            if state != "INTERRUPTED":
                self._families[row.family] += 1
            best = self._best()
            better = best is not None and best.number == number
        shown = value if value is not None else row.value
        score = "" if shown is None else f"{self.label} {shown:.4f}"
        spent = quantities.clock(time.monotonic() - row.began)
        why = f"{cause}: {message.splitlines()[0] if message else ''}" if cause else ""
        plain = f"trial {number:>3}  {name(row.family):<14} {word(state):<11} {score}  {row.epoch} epochs  {spent}"
        plain += f"{f'  at {name(row.site)}' if row.site else ''}"
        plain += f"{'  best so far' if better else ''}{f'  {why}' if why else ''}"
        self._record(plain)
        if self._live:
            self._console.print(self._ended_line(number, row, state, shown, spent, better=better))
            if state == "FAIL":
                self._console.say(f"           {name(why)}", style=COLOURS[state])
        else:
            self._say(f"{plain.rstrip()}  [{self._totals()}{self._left(', ')}]")

    def tick(self) -> None:
        """Time passed; the terminal's own thread draws."""

    def in_one_line(self) -> str:
        """What is being done, or how far the trials are, and the time left."""
        with self._lock:
            doing = f"{self._step} …" if self._step and not self._running else self._totals()
            running = f", {len(self._running)} running" if self._running else ""
            mark = "DEMONSTRATION, NOT X-RAYS: " if self.demonstration else ""
            return f"{mark}{doing}{running}{self._left(', ')}"

    # -- drawing -----------------------------------------------------------------------------------------------------

    def _ended_line(self, number: int, row: _Row, state: str, value: float | None, spent: str, *, better: bool) -> Text:
        """`trial  3  cnn  complete  0.882  10 epochs  1m05s  ★ best so far  at Leeds`, in one line of the terminal."""
        line = styled(
            f"trial {number:>3}  {name(row.family):<14} ",
            (f"{word(state):<11}", COLOURS.get(state, "dim")),
            f" {'–' if value is None else f'{value:.3f}':>5}  {row.epoch:>3} epochs  {spent:>6}",
            ("  ★ best so far" if better else "", "bold green"),
            f"  at {name(row.site)}" if row.site else "",
        )
        line.truncate(self._console.width, overflow="ellipsis")
        line.no_wrap = True
        return line

    def _ended(self) -> int:
        return self._counts["COMPLETE"] + self._counts["PRUNED"] + self._counts["FAIL"]

    def _totals(self) -> str:
        of = f"/{self.trials}" if self.trials else ""
        parts = [f"{self._ended()}{of} trials", f"{self._counts['PRUNED']} pruned", f"{self._counts['FAIL']} failed"]
        if best := self._best():
            parts.append(f"best {self._ranking(best)} {best.compared:.4f} ({best.family}, trial {best.number})")
        return ", ".join(parts)

    def _ranking(self, best: Ranked) -> str:
        """What trials are ranked by: the objective, where they hold out sites without the site's effect."""
        return f"site-adjusted {self.label}" if best.site else self.label

    def _left(self, before: str = "") -> str:
        return f"{before}{quantities.clock(self.end - clock.now())} left" if self.end else ""

    def _say(self, line: str) -> None:
        self._console.print(styled(f"{quantities.now()} {line}"), soft_wrap=True)

    def _record(self, line: str) -> None:
        """One line of the log; kept until there is a file for it."""
        text = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {escaped(line, keep='')}\n"
        if self._log is None:
            self._unlogged.append(text)
        else:
            self._write([text])

    def _write(self, lines: list[str]) -> None:
        """Append to the log. That it can't be written ends no search: the study is the record."""
        if self._log is not None:
            with contextlib.suppress(OSError), self._log.open("a", encoding="utf-8") as file:
                file.writelines(lines)

    def _block(self) -> RenderableType:
        """What is drawn: running trials, the best so far, trials by family, the bar; complete at 80 columns."""
        with self._lock:
            parts: list[RenderableType] = []
            if self.demonstration:
                parts.append(styled("DEMONSTRATION, NOT X-RAYS", style="bold yellow"))
            if self._step:
                parts.append(styled(f"{name(self._step)} …", style="dim"))
            if self._running:
                parts.append(self._trials())
            if self._families:
                parts.append(self._so_far())
            parts.append(self._bar())
        for part in parts:
            if isinstance(part, Text):
                part.no_wrap, part.overflow = True, "crop"
        return Group(*parts)

    def _trials(self) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
        sites = any(row.site for row in self._running.values())
        for column in ("trial", "family", "epoch", self.label, "time", *(["held-out site"] if sites else [])):
            left = column in {"family", "held-out site"}
            table.add_column(column, justify="left" if left else "right", style="cyan", no_wrap=True)
        room = max(1, self._console.height - 6)
        for number, row in sorted(self._running.items())[:room]:
            value = f"{row.value:.3f}" if row.value is not None else "–"
            spent = quantities.clock(time.monotonic() - row.began)
            table.add_row(str(number), name(row.family), row.share, value, spent, *([name(row.site)] if sites else []))
        return table

    def _so_far(self) -> Text:
        best = "No trial is complete yet. "
        if found := self._best():
            best = f"Best {self._ranking(found)} {found.compared:.3f} ({name(found.family)}, trial {found.number}). "
        families = ", ".join(f"{name(family)} {count}" for family, count in self._families.most_common())
        return styled((best, "bold"), f"Ended: {families}")

    def _bar(self) -> RenderableType:
        """How much of the budget is spent: the larger share of time and trials."""
        ended, now = self._ended(), clock.now()
        words, shares = [], []
        if self.end and self.end > self.begun:
            shares.append((now - self.begun) / (self.end - self.begun))
            words.append(f"{quantities.clock(self.end - now)} of {quantities.clock(self.end - self.begun)} left")
        if self.trials:
            shares.append(ended / self.trials)
        words.append(f"{ended}/{self.trials} trials" if self.trials else f"{ended} trial{'s' if ended != 1 else ''}")
        words += [f"{self._counts[state]} {word(state)}" for state in ("PRUNED", "FAIL") if self._counts[state]]
        line = styled(" · ".join(words), style="bold")
        if not shares:
            return line
        table = Table.grid(padding=(0, 1, 0, 0))
        table.add_column(width=20)
        table.add_column(no_wrap=True, overflow="crop")
        table.add_row(ProgressBar(total=1.0, completed=min(1.0, max(shares)), width=20), line)
        return table
