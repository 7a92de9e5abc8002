"""Opening files that somebody else named: regular files only, never more bytes than a limit.

A path in a data set may name a FIFO (opening it waits for ever), a device such as `/dev/zero` (it never ends), a socket
or a link to one of these. Every reader of files that somebody else named opens them here.
"""

from __future__ import annotations

import errno
import os
import stat
from io import FileIO
from pathlib import Path
from typing import IO

from xraytune.errors import file_named

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class NotRegularError(OSError):
    """The path names something that is no regular file; `strerror` says what."""


class TooLargeError(OSError):
    """The file has more bytes than the reader takes; `strerror` says how many."""


def open_named(path: str | Path) -> FileIO:
    """Open a file for reading, unbuffered.

    Raises:
        NotRegularError: it is a folder, FIFO, socket or device.
        OSError: it can't be opened; a name that no file can have (a zero byte in it) counts as one that is not there.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO must not make us wait
    except ValueError:
        raise FileNotFoundError(errno.ENOENT, "No such file", str(path)) from None
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket can't be opened at all
            raise NotRegularError(errno.EINVAL, "it is no regular file but a socket", str(path)) from None
        raise
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        what = next((name for check, name in _KINDS if check(mode)), "something else")
        raise NotRegularError(errno.EINVAL, f"it is no regular file but {what}", str(path))
    return FileIO(descriptor, "rb")


def read_open(file: FileIO, most: int) -> bytes:
    """All that is left of an open file, at most so many bytes.

    Raises:
        TooLargeError: there is more, also where the file grows while it is read.
    """
    size = os.fstat(file.fileno()).st_size
    parts, left = [], most + 1
    if size <= most:
        while left > 0 and (part := file.read(min(left, size + 1))):
            parts.append(part)
            left -= len(part)
    if size > most or left <= 0:
        raise TooLargeError(errno.EFBIG, f"{max(size, most) >> 20} MiB, more than the {most >> 20} MiB that are read")
    return parts[0] if len(parts) == 1 else b"".join(parts)


def read_named(path: str | Path, most: int) -> bytes:
    """A file's content, at most so many bytes.

    Raises:
        NotRegularError: it is a folder, FIFO, socket or device.
        TooLargeError: it has more than `most` bytes.
        OSError: it can't be opened or read.
    """
    with file_named(path), open_named(path) as file:
        return read_open(file, most)


class Bounded:
    """A binary file of which no single read is large: for parsers that trust the sizes that a header claims."""

    def __init__(self, file: IO[bytes], each: int, total: int) -> None:
        """`each`: most bytes of one read. `total`: most bytes of all reads together, until `total` is raised."""
        self._file, self._each = file, each
        self.total = total

    def read(self, size: int = -1) -> bytes:
        """Like a file's `read`.

        Raises:
            ValueError: more bytes were asked for than a header ever needs.
        """
        if size > self._each or size < 0:
            raise ValueError(f"a header claims {size} bytes")
        self.total -= size
        if self.total < 0:
            raise ValueError("its headers are too large")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Like a file's `seek`."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Like a file's `tell`."""
        return self._file.tell()
