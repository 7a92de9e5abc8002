"""A command under a pseudo-terminal: what a person would see on the screen and in the scrollback."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyte

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 280.0  # seconds; generous, since it only bounds a failure


@dataclass(frozen=True)
class Seen:
    """What is on the terminal when the command has ended."""

    code: int
    lines: list[str]
    """Scrollback and screen, without blanks at the ends."""
    raw: str
    """Everything that was written, with its control sequences."""
    columns: int

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def words(self) -> str:
        """The text without its line breaks."""
        return " ".join(self.text.split())

    @property
    def last(self) -> str:
        return next(line for line in reversed(self.lines) if line.strip())

    def check(self, code: int = 0) -> Seen:
        """The exit code, no traceback, and no cell that was cut or wrapped by the terminal."""
        assert self.code == code, self.text
        assert "Traceback" not in self.raw, self.text
        cut = [line for line in self.lines if re.search(r"\w…(\s|$)", line)]
        assert not cut, cut
        return self

    def row(self, *begins: str) -> list[str]:
        """The cells of the first line that begins so."""
        line = next((one for one in self.lines if one.split()[: len(begins)] == list(begins)), None)
        assert line is not None, f"no line begins with {begins}:\n{self.text}"
        return re.split(r"\s{2,}", line.strip())


def seen(
    module: str,
    *arguments: object,
    home: Path,
    columns: int = 80,
    lines: int = 24,
    interrupt_at: str = "",
    watch: Callable[[list[str]], None] | None = None,
    **environment: str,
) -> Seen:
    """`python -m module` at a terminal of that size, to its end.

    Args:
        interrupt_at: Ctrl-C is typed when this has been written.
        watch: shown the screen's lines after everything that is written.
    """
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    inherited = {k: v for k, v in os.environ.items() if k not in {"COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"}}
    process = subprocess.Popen(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=ROOT, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
        env={**inherited, "TERM": "xterm-256color", "XRAYTUNE_CACHE": str(home / "cache"), **environment},
    )  # fmt: skip
    os.close(slave)
    screen = pyte.HistoryScreen(columns, lines, history=10_000, ratio=1.0)
    stream = pyte.ByteStream(screen)
    raw, end = b"", time.monotonic() + PATIENCE
    try:
        while time.monotonic() < end:
            if select.select([master], [], [], 0.2)[0]:
                try:
                    read = os.read(master, 65536)
                except OSError:  # the other side is closed: all processes ended
                    break
                if not read:
                    break
                raw += read
                stream.feed(read)
                if watch:
                    watch(list(screen.display))
                if interrupt_at and interrupt_at.encode() in raw:
                    interrupt_at = ""
                    os.killpg(process.pid, signal.SIGINT)
            elif process.poll() is not None:
                break
        code = process.wait(max(1.0, end - time.monotonic()))
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        os.close(master)
    before = ["".join(line[i].data for i in range(columns)) for line in screen.history.top]
    shown = [line.rstrip() for line in [*before, *screen.display]]
    return Seen(code, shown, raw.decode(errors="replace"), columns)
