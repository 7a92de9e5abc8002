"""Archives as Kaggle serves them, unpacked once into the cache, safely.

All members are judged by their headers before one byte is written, and one bad member rejects the whole archive: a
path that leaves the target, a link or device, too many or too much, a member or all of them together hundreds of times
larger than they are packed. What the headers claim is held while unpacking too.
"""

from __future__ import annotations

import gzip
import hashlib
import shutil
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from xraytune import artifacts, files
from xraytune.data import cache
from xraytune.data.problems import Progress
from xraytune.data.sources import folder
from xraytune.data.sources.listing import Listing
from xraytune.errors import FOREIGN, SourceError

MOST_FILES = 1_000_000
MOST_BYTES = 64 << 30
"""Twenty times the largest form of Kermany's set; guards the disk."""

MOST_RATIO = 200
"""Unpacked over packed size, of a member and of all together: radiographs compress by 2, zip bombs by 1,000."""

_SMALL = 1 << 20
"""Bytes that a member, and all together, may unpack to whatever they were: a blank image compresses well."""

_BLOCK = 1 << 20
_MOST_HEADER = 1 << 20
"""Bytes of one tar header: a path has at most 4,096, an extended header a few of them; and what is copied at once."""

_MOST_HEADERS = 512 << 20
"""Bytes of all tar headers together: 1.5 KB a file."""

_LITTER = ("__MACOSX", ".DS_Store")


@dataclass(frozen=True)
class _Member:
    """One file of an archive."""

    name: str
    size: int
    handle: zipfile.ZipInfo | tarfile.TarInfo


def open_archive(path: Path, progress: Progress | None = None, *, site_folders: bool = False) -> Listing:
    """Unpack an archive if that was not done yet, and list the folder inside.

    Args:
        path: the archive.
        progress: told about unpacking.
        site_folders: as in `folder.read_layout`.

    Raises:
        SourceError: it is damaged, protected, or holds something that must not be unpacked.
    """
    root = unpacked(path)
    if not root.exists():
        with cache.lock(root.with_name(root.name + ".lock")):
            if not root.exists():
                _unpack(path, root, progress)
    return folder.read_layout(root, path.name, site_folders=site_folders)


def unpacked(path: Path) -> Path:
    """The folder of the cache for what is in an archive of this content.

    Raises:
        SourceError: the file can't be read.
    """
    try:
        with files.open_named(path) as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise SourceError(f"{path} can't be read: {error.strerror}.") from None
    return cache.folder("unpacked") / f"{_stem(path)}-{digest[:16]}"


@contextmanager
def making(root: Path) -> Iterator[Path]:
    """A folder to fill that becomes `root` when the block ends well, and vanishes when it does not."""
    temporary = Path(tempfile.mkdtemp(prefix=".making-", dir=root.parent))
    try:
        yield temporary
        temporary.chmod(0o777 & ~artifacts.umask())  # mkdtemp makes folders that nobody else may read
        temporary.rename(root)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _stem(path: Path) -> str:
    name = path.name
    for suffix in (".tar.gz", ".tgz", ".tar", ".zip", ".npz"):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)][:60]
    return name[:60]


def _unpack(path: Path, root: Path, progress: Progress | None) -> None:
    try:
        with files.open_named(path) as raw:
            if path.name.lower().endswith(".zip"):
                with zipfile.ZipFile(raw) as opened:
                    members = [_from_zip(path, info) for info in opened.infolist() if not info.is_dir()]
                    _write(path, root, members, lambda member: opened.open(member.handle), progress)
            else:
                _unpack_tar(path, raw, root, progress)
    except (*FOREIGN, tarfile.TarError) as error:
        raise SourceError(f"{path} is damaged: {error}. Get it again.") from None
    except (RuntimeError, NotImplementedError) as error:  # a password, a method that zipfile lacks (Deflate64)
        what = "it is encrypted with a password" if "encrypted" in str(error) else str(error).rstrip(".")
        raise SourceError(f"{path} can't be unpacked here: {what}. Unpack it yourself and give the folder.") from None
    except OSError as error:
        raise SourceError(f"{path} can't be unpacked: {error}.") from None


def _unpack_tar(path: Path, raw: IO[bytes], root: Path, progress: Progress | None) -> None:
    """Headers may be compressed too, so what is read of them is counted before one is believed."""
    plain: Any = gzip.GzipFile(fileobj=raw) if raw.read(2) == b"\x1f\x8b" else raw
    raw.seek(0)
    bounded = files.Bounded(plain, _MOST_HEADER, _MOST_HEADERS)
    most = MOST_RATIO * path.stat().st_size + _SMALL
    members = []
    with tarfile.open(fileobj=bounded, mode="r:") as tar:  # type: ignore[call-overload]
        for number, info in enumerate(tar):
            if number >= MOST_FILES or bounded.tell() > most:
                check_size(path, number, bounded.tell())
            if not info.isdir():
                members.append(_from_tar(path, info))
        bounded.total = MOST_BYTES
        _write(path, root, members, lambda member: tar.extractfile(member.handle), progress)


def _from_zip(path: Path, info: zipfile.ZipInfo) -> _Member:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in {0, stat.S_IFREG}:
        raise _rejected(path, info.filename, "is a link or a device")
    if info.file_size > _SMALL and info.file_size > MOST_RATIO * max(info.compress_size, 1):
        raise _rejected(
            path, info.filename, f"unpacks to {info.file_size // max(info.compress_size, 1)} times its size"
        )
    return _Member(info.filename, info.file_size, info)


def _from_tar(path: Path, info: tarfile.TarInfo) -> _Member:
    if not info.isreg():
        raise _rejected(path, info.name, "is a link or a device")
    return _Member(info.name, info.size, info)


def _write(path: Path, root: Path, members: list[_Member], opener: object, progress: Progress | None) -> None:
    """Check all members, then write all of them."""
    total = sum(member.size for member in members)
    check_size(path, len(members), total)
    targets: dict[str, _Member] = {}
    for member in members:
        name = member.name.replace("\\", "/")
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts or (len(name) > 1 and name[1] == ":") or "\0" in name:
            raise _rejected(path, member.name, "would be written outside the target")
        if pure.as_posix() in targets:
            raise _rejected(path, member.name, "is there twice")
        targets[pure.as_posix()] = member
    with making(root) as temporary:
        done = 0
        for number, (name, member) in enumerate(targets.items()):
            if progress and number % 64 == 0:
                progress(done >> 10, total >> 10, f"unpacking {path.name} (KiB)")
            if litter := _litter(name):
                (temporary / litter).mkdir(parents=True, exist_ok=True)
                continue
            target = temporary / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with opener(member) as source, target.open("wb") as sink:  # type: ignore[operator]
                _copy(path, member, source, sink)
            done += member.size
        if progress:
            progress(total >> 10, total >> 10, f"unpacking {path.name} (KiB)")


def check_size(path: Path, files: int, total: int) -> None:
    """Refuse what would fill the disk: so many files of so many bytes together, from the archive at `path`.

    Raises:
        SourceError: they are more than is ever unpacked, or hundreds of times what the archive has.
    """
    if files > MOST_FILES or total > MOST_BYTES:
        size = f"{files} files, {total >> 20} MiB"
        raise SourceError(f"{path} is too large to unpack here ({size}). Unpack it yourself and give the folder.")
    packed = path.stat().st_size  # members may share their bytes, and a .tar be sparse: what they claim is no measure
    if total > MOST_RATIO * packed + _SMALL:
        raise SourceError(f"{path} unpacks to {total // packed} times its size: it was rejected.")


def _litter(name: str) -> str:
    """The part of a member's path that ends in litter, empty where it is none.

    Its content is not unpacked; an empty folder of that name is, for which `folder` says that it was left out.
    """
    parts = PurePosixPath(name).parts
    ends = [place for place, part in enumerate(parts, 1) if part in _LITTER]
    return "/".join(parts[: ends[0]]) if ends else ""


def _copy(path: Path, member: _Member, source: IO[bytes], sink: IO[bytes]) -> None:
    """Copy, holding the member to the size that its header claims."""
    left = member.size
    while block := source.read(_BLOCK):
        left -= len(block)
        if left < 0:
            raise _rejected(path, member.name, "is larger than its header says")
        sink.write(block)
    if left:
        raise _rejected(path, member.name, "is cut off")


def _rejected(path: Path, name: str, why: str) -> SourceError:
    return SourceError(f"{path} was rejected, nothing was unpacked: its member {name!r} {why}.")
