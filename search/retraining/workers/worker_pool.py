"""A few processes that train side by side for `search.retrain`, each importing the framework once.

Not Ray: a handful of folds on one machine needs no cluster, and starts in the time of one import. Processes share
nothing with the parent but a pipe, and end when the parent does, however it ends. Not `multiprocessing`'s: it runs the
user's main module again in each of them, and leaves a process of its own with the parent, which may be a notebook's.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from search.cli import streams
from xraytune import hardware
from xraytune.errors import FatalError, TrialError, classify
from xraytune.records import FailureCause

Report = Callable[[Any], None]
"""What a task calls to say how far it is; anything picklable."""

KEPT = "Free disk space (or restore the folder) and call the same command again: finished folds are kept."

_START = "import sys; from search.retraining.workers.worker_pool import work; work(*map(int, sys.argv[1:]))"

Task = Callable[[Report], Any]
"""A picklable callable (a frozen dataclass with `__call__`)."""


@dataclass(frozen=True)
class TaskOutcome:
    """How the task of that index ended: its value, or the error that it raised."""

    index: int
    value: Any = None
    error: TrialError | FatalError | None = None


def work(descriptor: int, parent: int) -> None:
    """The life of one worker: tasks in, reports and outcomes out.

    Args:
        descriptor: of its end of the pipe.
        parent: the process that it ends with.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    streams.settle()
    pipe = Connection(descriptor)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    while True:
        try:
            task: Task | None = pipe.recv()
        except EOFError:
            return
        if task is None:
            return
        try:
            pipe.send(("done", task(lambda event: pipe.send(("event", event)))))
        except (TrialError, FatalError) as error:
            pipe.send(("error", error))
        except Exception as error:
            pipe.send(("error", _failure(error)))


def _failure(error: Exception) -> TrialError | FatalError:
    """What a task's exception means for the retraining."""
    cause, message = classify(error)
    if isinstance(error, OSError) and cause is not FailureCause.OOM:
        # a full disk, a folder that is gone: no other task would fare better
        where = f"{error.filename}: " if error.filename else ""
        return FatalError(f"{where}{error.strerror or error}. {KEPT}")
    place = traceback.extract_tb(error.__traceback__)[-1:]
    return TrialError(cause, message + "".join(f" ({frame.filename}:{frame.lineno}: {frame.line})" for frame in place))


class Workers:
    """Processes that take tasks one after the other.

    Args:
        count: how many.
        threads: CPU threads for each.

    On a machine with GPUs each worker sees one of those that `CUDA_VISIBLE_DEVICES` leaves, by the name it has there,
    in turn.
    """

    def __init__(self, count: int, threads: int) -> None:
        self._threads = threads
        self._gpus = hardware.gpu_names()
        self._slots: list[tuple[subprocess.Popen[bytes], Connection]] = []
        try:
            for slot in range(count):
                self._slots.append(self._start(slot))
        except BaseException:
            self.close()
            raise

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._slots)

    def _start(self, slot: int) -> tuple[subprocess.Popen[bytes], Connection]:
        threads = str(self._threads)
        own = dict.fromkeys(hardware.THREADS, threads) | {"TF_NUM_INTEROP_THREADS": "1"}
        if self._gpus:
            own = {"CUDA_VISIBLE_DEVICES": self._gpus[slot % len(self._gpus)]}
        path = os.pathsep.join(part or str(Path.cwd()) for part in sys.path)
        here, there = Pipe()
        with there:
            process = subprocess.Popen(
                [sys.executable, "-c", _START, str(there.fileno()), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                pass_fds=[there.fileno()],
                env=os.environ | {"PYTHONPATH": path} | own,
            )
        return process, here

    def run(
        self,
        tasks: Sequence[Task],
        on_event: Callable[[int, Any], None] | None = None,
        start: Callable[[int], Task | None] | None = None,
    ) -> Iterator[TaskOutcome]:
        """Do the tasks in their order, as workers become free; yield each outcome as it comes.

        Args:
            tasks: picklable callables.
            on_event: gets a task's index and what it reported.
            start: asked for the task of each index as it starts, which may differ from the one listed (it knows the
                time by then); None leaves it out.

        A worker that dies (killed for memory, mostly) gives its task the outcome `worker_lost`, and is replaced.
        """
        waiting = list(range(len(tasks)))
        running: dict[int, int] = {}
        while waiting or running:
            for slot in range(len(self._slots)):
                while slot not in running and waiting:
                    index = waiting.pop(0)
                    task = start(index) if start else tasks[index]
                    if task is not None:
                        self._send(slot, task)
                        running[slot] = index
            if not running:
                return
            ready = set(wait([self._slots[slot][1] for slot in running], timeout=1.0))
            for slot in [s for s in running if self._slots[s][1] in ready]:
                index = running[slot]
                try:
                    kind, payload = self._slots[slot][1].recv()
                except (EOFError, OSError):
                    process = self._slots[slot][0]
                    _wait(process, 5)
                    self._slots[slot] = self._start(slot)
                    del running[slot]
                    message = f"the process ended with {process.returncode} (out of memory?)"
                    yield TaskOutcome(index, error=TrialError(FailureCause.WORKER_LOST, message))
                    continue
                if kind == "event":
                    if on_event:
                        on_event(index, payload)
                    continue
                del running[slot]
                yield TaskOutcome(index, payload) if kind == "done" else TaskOutcome(index, error=payload)

    def _send(self, slot: int, task: Task) -> None:
        """Give a worker a task; another worker, where it died while it had none."""
        try:
            self._slots[slot][1].send(task)
        except OSError:
            _wait(self._slots[slot][0], 5)
            self._slots[slot] = self._start(slot)
            self._slots[slot][1].send(task)

    def close(self) -> None:
        """End the processes: idle ones at once, busy ones by a kill."""
        for process, pipe in self._slots:
            with suppress(OSError):
                pipe.close()
            _wait(process, 0.2)
            if process.poll() is None:
                process.kill()
                _wait(process, 5)

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Wait so long for its end."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
