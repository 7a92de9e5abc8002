"""Ray's folder for the length of one search: owned through a kernel lock, removed where its owners are dead.

The watchdog removes it when the search ends. Where driver and watchdog were killed together, the next search does what
the dead watchdog would have done.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from search.tuner import watchdog

SOCKET_PATH = 107
"""Bytes a Unix socket's path may have (Linux: `sun_path` less its end)."""
SESSION_PATH = len("/session_2026-11-21_04-34-01_123456_1234567/sockets/plasma_store") + 8
"""What Ray puts behind its folder, with a little to spare."""

OWNER = "owner.lock"
"""Locked by driver and watchdog as long as one of them lives; says which search on which machine."""

FRESH = 60.0
"""Seconds after which a folder without a word on its owner is no longer one that is just being made."""


class Scratch:
    """A new folder under the cache, or in a temporary folder where that path is too long for Ray's sockets.

    Args:
        cache: the cache folder.
        mark: the search's name among processes.
    """

    def __init__(self, cache: Path, mark: str) -> None:
        folder = _under(cache) / mark.removeprefix("xraytune-")
        if len(os.fsencode(folder)) + SESSION_PATH > SOCKET_PATH:
            inner = len(mark[:14] + "-") + 9  # a slash and the eight letters of mkdtemp
            short = (p for p in _temporary() if len(os.fsencode(p)) + inner + SESSION_PATH <= SOCKET_PATH)
            folder = Path(tempfile.mkdtemp(prefix=mark[:14] + "-", dir=next(short, None)))
        else:
            folder.mkdir(parents=True, exist_ok=True)
        self.path = str(folder)
        self.lock = os.open(folder / OWNER, os.O_RDWR | os.O_CREAT, 0o600)
        """The lock's file descriptor: whoever inherits it owns the folder too."""
        with contextlib.suppress(OSError):  # a file system without locks: then nobody ever takes the folder for dead
            fcntl.flock(self.lock, fcntl.LOCK_EX)
            os.pwrite(self.lock, f"{mark} {socket.gethostname()}".encode(), 0)

    def close(self) -> None:
        """Own it no longer."""
        if self.lock >= 0:
            os.close(self.lock)
        self.lock = -1


def _temporary() -> list[Path]:
    """The system's temporary folder, and the usual one where that path is too long as well (TMPDIR)."""
    return [Path(p) for p in dict.fromkeys((tempfile.gettempdir(), "/tmp")) if os.access(p, os.W_OK)]


def sweep(cache: Path) -> None:
    """End what dead searches of this machine left running, and remove their folders."""
    for folder in [
        *_under(cache).glob("*-*"),
        *(found for place in _temporary() for found in place.glob("xraytune-*-*")),
    ]:
        with contextlib.suppress(OSError), _owned(folder) as mark:
            if mark is None:
                continue
            if mark:
                watchdog.end({}, mark)
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _owned(folder: Path) -> Iterator[str | None]:
    """Own a dead search's folder while it is swept: its mark, empty where it left none; None where it must stay.

    Raises:
        OSError: an owner lives, or the folder can't be looked at.
    """
    about = folder.lstat()
    old = time.time() - about.st_mtime > FRESH
    if folder.is_symlink() or not folder.is_dir() or about.st_uid != os.getuid():
        yield None
    elif not (folder / OWNER).exists():  # killed before it could lock it, or not of our making
        yield "" if old and not any(p.is_file() for p in folder.rglob("*")) else None
    else:
        lock = os.open(folder / OWNER, os.O_RDWR | os.O_NOFOLLOW)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises where an owner lives
            mark, _, host = os.pread(lock, 1000, 0).decode(errors="replace").partition(" ")
            if not mark:
                yield "" if old else None
            else:
                ours = re.fullmatch(r"xraytune-\d+-[0-9a-f]{8}", mark) and host == socket.gethostname()
                yield mark if ours else None
        finally:
            os.close(lock)


def _under(cache: Path) -> Path:
    return cache.expanduser().resolve() / "ray"
