"""A small process that ends Ray when the driver ends, however the driver ends.

It is started by `search.tuner.cluster` in a session of its own (Ctrl-C does not reach it) with a pipe to the driver as
standard input. When the driver closes the pipe, or is killed, everything the driver started is killed and Ray's folder
is removed. Stock Ray leaves its processes 20 to 100 s after a SIGKILL of the driver, and its folder for ever.

Run as a file, so that it imports nothing but psutil:  python watchdog.py DRIVER_PID MARK FOLDER
"""

import contextlib
import os
import select
import shutil
import sys
import time

import psutil

SNAPSHOT = 1.0
"""Seconds between looks at the driver's descendants; a process that was reparented is still known by its last look."""

LIMIT = 5.0
"""Seconds given to killing everything."""

SETTLED = 1.0
"""Seconds in which nothing new may appear after a driver was cut off: a process that it was just starting can be told
only once it runs, and makes its folders again."""

GOODBYE = b"."
"""What a driver writes into the pipe that starts nothing any more."""


def descendants(pids: list[int]) -> dict[int, float]:
    """Every process below `pids`, by pid, with its time of creation (a pid alone may be another's later)."""
    found: dict[int, float] = {}
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process(pid).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    found[child.pid] = child.create_time()
    return found


def marked(mark: str, below: int | None = None) -> dict[int, float]:
    """Processes whose environment or command line names this session.

    Args:
        mark: the session's name.
        below: look only at this process's children; None for every process.
    """
    found: dict[int, float] = {}
    with contextlib.suppress(psutil.Error):
        for process in psutil.process_iter() if below is None else psutil.Process(below).children():
            with contextlib.suppress(psutil.Error, OSError):
                if process.environ().get("XRAYTUNE_SESSION") == mark or any(mark in word for word in process.cmdline()):
                    found[process.pid] = process.create_time()
    return found


def end(known: dict[int, float], mark: str) -> None:
    """Kill what is known, what is marked and what those started, until nothing is left."""
    me, limit = os.getpid(), time.monotonic() + LIMIT
    while time.monotonic() < limit:
        now = {**known, **marked(mark)}
        now.update(descendants(list(now)))
        alive = 0
        for pid, created in now.items():
            if pid == me:
                continue
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(pid)
                if process.create_time() == created and process.status() != psutil.STATUS_ZOMBIE:
                    process.kill()
                    alive += 1
        if not alive:
            return
        time.sleep(0.05)


def main() -> None:
    """Watch until the pipe closes, then clean up."""
    driver, mark, folder = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    known: dict[int, float] = {}
    while True:
        ready, _, _ = select.select([sys.stdin], [], [], SNAPSHOT)
        said = os.read(sys.stdin.fileno(), 64) if ready else None
        if said is not None:
            break
        ours = marked(mark, below=driver)
        known.update(ours | descendants(list(ours)))
    end(known, mark)
    shutil.rmtree(folder, ignore_errors=True)
    if not said:
        settle(mark, folder)


def settle(mark: str, folder: str) -> None:
    """End and remove what appears late, until nothing has for `SETTLED` seconds, or `LIMIT` is over."""
    last = begun = time.monotonic()
    while (now := time.monotonic()) < min(begun + LIMIT, last + SETTLED):
        if marked(mark).keys() - {os.getpid()} or os.path.lexists(folder):
            end({}, mark)
            shutil.rmtree(folder, ignore_errors=True)
            last = now
        time.sleep(0.1)


if __name__ == "__main__":
    main()
