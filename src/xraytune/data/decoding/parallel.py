"""Work on many files, spread over processes.

Processes, not threads: a small image costs 0.25 ms, half of it in Python, and two threads that pass the interpreter's
lock to each other at every call finish no sooner than one. Not `multiprocessing`: where it starts a fresh interpreter,
it runs the caller's main module again, which breaks every script without a guard and costs a search its imports.

This process works from the first moment on. When the first piece shows that there is enough to do, helpers are started,
and all of them take pieces from one pipe as they are free, so that nobody waits for a slower one. A helper that dies
costs time only: what it did not hand in is done here, and whatever is wrong with it raises here.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Any

from xraytune import hardware
from xraytune.data.decoding import reading
from xraytune.data.problems import Progress

MOST = 32
"""Files a piece at most: enough that numpy's calls are amortised, few enough that progress moves."""

HIRE = 0.4
"""Seconds of work left for each process from which a helper is worth its start (0.2 s, imports of numpy and Pillow)."""

_CLAIM = 4  # bytes
_CLAIMS = 4000  # pieces at most: what fits into a pipe before anyone reads it (16 KiB on some systems)
_START = "import sys; from xraytune.data.decoding.parallel import help_out; help_out(*map(int, sys.argv[1:]))"


def spread(
    work: Callable[[range], Any],
    count: int,
    what: str,
    progress: Progress | None,
    take: Callable[[range, Any], None] = lambda piece, result: None,
    files: Sequence[int] = (),
) -> None:
    """Call `work` on consecutive ranges below `count`, with progress. An exception, Ctrl-C included, ends the helpers.

    Args:
        work: picklable where `count` is large; what it changes must lie in files.
        count: how many there are.
        what: is being done, for the progress.
        progress: told about what is done.
        take: called here with each range and what `work` returned for it, as they come.
        files: open file descriptors that `work` needs, under the same numbers.
    """
    size = max(min(MOST, count // 64), 4, -(-count // _CLAIMS))
    left = {start: range(start, min(start + size, count)) for start in range(0, count, size)}
    finished = 0

    def done(start: int, result: Any) -> None:
        nonlocal finished
        piece = left.pop(start)
        finished += len(piece)
        take(piece, result)
        if progress:
            progress(finished, count, what)

    if progress:
        progress(0, count, what)
    if not left:
        return
    with ExitStack() as stack:
        stack.enter_context(reading.silenced())
        began = time.perf_counter()
        done(0, work(left[0]))
        hired = min(hardware.cores() - 1, int((time.perf_counter() - began) * len(left) / HIRE), len(left) - 1)
        if hired > 0 and os.name == "posix" and sys.executable:
            claims, pipe = os.pipe()
            stack.callback(os.close, claims)
            os.write(pipe, b"".join(start.to_bytes(_CLAIM, "big") for start in left))
            os.close(pipe)
            helpers = _hire(hired, work, (claims, *files), (claims, size, count), stack)
            while claim := os.read(claims, _CLAIM):
                start = int.from_bytes(claim, "big")
                done(start, work(left[start]))
                for start, result in _handed_in(helpers, block=False):
                    done(start, result)
            while helpers:
                for start, result in _handed_in(helpers, block=True):
                    done(start, result)
        for start in sorted(left):  # all of them, or what a helper that died had taken
            done(start, work(left[start]))


def _hire(
    many: int, work: Callable[[range], Any], files: Sequence[int], arguments: Sequence[int], stack: ExitStack
) -> list[Connection]:
    """Start helpers; what they hand in comes from these connections."""
    path = os.pathsep.join(part for part in sys.path if part)
    environment = os.environ | {"PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    found = []
    with tempfile.TemporaryFile() as order:  # a pipe would wait until they are awake
        pickle.dump(work, order)
        order.flush()
        for _ in range(many):
            ours, theirs = Pipe(duplex=False)
            stack.callback(ours.close)
            said = theirs.fileno()
            helper = subprocess.Popen(
                [sys.executable, "-c", _START, str(said), str(os.getpid()), *map(str, arguments)],
                stdin=order,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(said, *files),
                env=environment,
            )
            stack.callback(_dismiss, helper)
            theirs.close()
            found.append(ours)
    return found


def _dismiss(helper: subprocess.Popen[bytes]) -> None:
    helper.kill()  # it has handed in everything, or nobody wants it
    helper.wait()


def _handed_in(helpers: list[Connection], *, block: bool) -> Iterator[tuple[int, Any]]:
    """What helpers have finished; those that ended leave the list."""
    for helper in wait(helpers, None if block else 0):
        assert isinstance(helper, Connection)
        try:
            yield helper.recv()
        except (EOFError, OSError, pickle.UnpicklingError):  # it ended, in the middle of a result if it was killed
            helpers.remove(helper)


def help_out(said: int, employer: int, claims: int, size: int, count: int) -> None:
    """What a helper does: take pieces until there is none, or until nobody is there to take the results."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C reaches it too; whom it helps ends it
    # all helpers read one file, which has one position; the process that they help wrote it
    work = pickle.loads(os.pread(0, os.fstat(0).st_size, 0))  # noqa: S301
    with Connection(said, readable=False) as out, reading.silenced(), suppress(BrokenPipeError):
        while (claim := os.read(claims, _CLAIM)) and os.getppid() == employer:
            start = int.from_bytes(claim, "big")
            out.send((start, work(range(start, min(start + size, count)))))
