"""Kept files: written whole or not at all, and read only as what was written.

Everything under `results/` and in the cache goes through here. A reader never sees half a file: content goes to a
temporary file beside the target, is flushed to the disk, and is renamed over the target in one step.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import math
import numbers
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from xraytune import files
from xraytune.errors import FOREIGN, ArtifactError, FatalError, file_named

_MOST_TEXT = 1 << 30
"""Bytes of a kept file that is read whole."""


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside `path` to write to; on success it becomes `path`, on any error it is removed.

    Parent folders are made. The temporary file has the suffix of `path`, since Keras and numpy choose a format by it,
    and a name that starts with a dot. It is empty when it is given out; a file of the same name may replace it.

    Args:
        path: the file to be written.

    Yields:
        The path to write to.

    Raises:
        OSError: the disk is full or the folder can't be written; `path` is then as it was.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.stem[:80]}-", suffix=target.suffix, dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        with file_named(target):
            yield temporary
            _flush(temporary)
        temporary.chmod(0o666 & ~umask())  # mkstemp makes files that nobody else may read; results are to be shared
        temporary.replace(target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    with suppress(OSError):  # not every file system lets a folder be flushed
        _flush(target.parent)


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write `content` to `path`, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | os.PathLike[str], content: str) -> None:
    """Write `content` to `path` as UTF-8, whole or not at all; bytes of a name that are no UTF-8 stay as they are."""
    write_bytes(path, content.encode("utf-8", errors="surrogateescape"))


def write_json(path: str | os.PathLike[str], plain: Any) -> None:
    """Write plain values to `path` as indented JSON, whole or not at all.

    Raises:
        TypeError: a value is no plain JSON value; nothing is written then.
    """
    write_text(path, json.dumps(plain, indent=2, ensure_ascii=False, default=_plain) + "\n")


def write_csv(path: str | os.PathLike[str], header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table to `path` as UTF-8, whole or not at all, with every cell as `safe_cell` gives it; None is empty."""
    lines: list[str] = []
    writer = csv.writer(SimpleNamespace(write=lines.append), lineterminator="\r\n")  # so that both are quoted in cells
    for row in (header, *rows):
        writer.writerow([safe_cell(cell) for cell in row])
    write_text(path, "".join(f"{line[:-2]}\n" for line in lines))


def safe_cell(value: Any) -> Any:
    """The value as a cell of a CSV that no spreadsheet takes for a formula.

    A text that begins with `=`, `+`, `-`, `@`, a tab or a line break gets an apostrophe in front, unless it is a number
    (OWASP, "CSV Injection").
    """
    if not isinstance(value, str) or not value.startswith(("=", "+", "-", "@", "\t", "\r", "\n")):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def finite(value: Any) -> Any:
    """The same plain value with None for what is not a finite number: JSON knows no NaN."""
    if isinstance(value, Mapping):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    if isinstance(value, numbers.Real) and not isinstance(value, numbers.Integral):
        return float(value) if math.isfinite(value) else None
    return value


def read_json(path: str | os.PathLike[str]) -> Any:
    """The plain values that `write_json` kept.

    Raises:
        ArtifactError: the file is missing or is no JSON.
    """
    return parsed_json(path, read_bytes(path))


def parsed_json(path: str | os.PathLike[str], content: bytes) -> Any:
    """The plain values in the content of the file at `path`, which only messages need.

    Raises:
        ArtifactError: it is no JSON, or is nested so deeply that it can't be read.
    """
    try:
        return json.loads(content.decode("utf-8"))
    except FOREIGN as error:
        raise ArtifactError(
            f"{path} can't be read ({error}): it was changed or cut off. Restore it or remove it."
        ) from None


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """The content of a kept file.

    Raises:
        ArtifactError: the file is missing, no regular file, or can't be read.
    """
    try:
        return files.read_named(os.fspath(path), _MOST_TEXT)
    except FileNotFoundError:
        raise ArtifactError(f"{path} is missing.") from None
    except OSError as error:
        raise ArtifactError(f"{path} can't be read: {error.strerror}.") from None


def read_text(path: str | os.PathLike[str]) -> str:
    """The content of a kept file of UTF-8; other bytes stay as they were in a name of a file (`surrogateescape`).

    Raises:
        ArtifactError: the file is missing, no regular file, or can't be read.
    """
    return read_bytes(path).decode("utf-8", errors="surrogateescape")


def inside(folder: Path, name: object) -> Path:
    """The file of that name in a folder, where the name comes out of a file that somebody else may have written.

    Raises:
        ArtifactError: it is no plain name, so that it may lie anywhere.
    """
    if not isinstance(name, str) or Path(name).name != name or name in {"", ".", ".."} or "\0" in name:
        raise ArtifactError(f"{folder} names a file {name!r:.80} that is not in this folder: it was changed.")
    return folder / name


def sha256(path: str | os.PathLike[str]) -> str:
    """The sha256 of a file's content, as 64 hexadecimal digits.

    Raises:
        ArtifactError: the file is missing or can't be read.
    """
    try:
        with files.open_named(os.fspath(path)) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise ArtifactError(f"{path} is missing.") from None
    except OSError as error:
        raise ArtifactError(f"{path} can't be read: {error.strerror}.") from None


def check_sha256(path: str | os.PathLike[str], expected: str) -> None:
    """Refuse a file whose content is not what was recorded. Keras 3.15 loads a changed `.keras` file silently.

    Raises:
        ArtifactError: the file is missing or its sha256 differs.
    """
    found = sha256(path)
    if found != expected:
        raise ArtifactError(
            f"{path} is not the file that was saved (sha256 {found[:12]}…, recorded {expected[:12]}…): it was "
            "changed or cut off. Restore it from a copy or make it again."
        )


def _plain(value: Any) -> Any:
    """What `json` does not know by itself: paths, numpy's numbers and arrays, mappings that are no dict."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "items"):
        return dict(value.items())
    raise TypeError(f"{type(value).__name__} is no plain JSON value")


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def umask() -> int:
    """The process's umask. Linux shows it without setting it, which would race with other threads."""
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return int(next(line for line in lines if line.startswith("Umask:")).split()[1], 8)
    return 0o022


def _former(target: Path) -> Path:
    return target.parent / f".{target.name}-old"


def restored(target: Path) -> Path:
    """The same folder, put back first where `whole` was killed between its two renames. Every reader asks for it so."""
    if not target.exists() and _former(target).exists():
        with suppress(OSError):  # another reader was first, or nothing may be renamed here
            _former(target).rename(target)
    return target


@contextmanager
def whole(target: Path) -> Iterator[Path]:
    """A hidden folder beside `target` that becomes `target` when the block ends well, and vanishes when it does not.

    Raises:
        FatalError: the disk is full, or the folder can't be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    old = _former(restored(target))
    for stale in target.parent.glob(f".{target.name}-*"):  # of a retraining that was killed
        shutil.rmtree(stale, ignore_errors=True)
    temporary = target.parent / f".{target.name}-{os.getpid()}"
    try:
        temporary.mkdir()
        yield temporary
        _replace(target, temporary)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise FatalError(
            f"{target} can't be written: {error.strerror or error}. No partial file was left. Free disk space and "
            "call the same command again: finished folds are kept."
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        restored(target)


def _replace(target: Path, new: Path) -> None:
    """Give the folder `new` the name `target`; what had it before is renamed."""
    while True:
        if target.exists():
            target.rename(_former(target))
        try:
            new.rename(target)
            return
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:  # these: a reader put the former one back
                raise
