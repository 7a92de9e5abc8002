"""A patient's name in our files: a digest that nobody can undo who has not this installation's key.

A plain digest of a short number is found again by trying all numbers. The key (32 random bytes) is made at first need,
lies beside the cache's folder, so that emptying the cache keeps it, and can be read by its owner only. The same patient
has the same digest in all data sets of an installation, and another one elsewhere.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from xraytune.data import cache
from xraytune.errors import InputError

LENGTH = 16
"""Hexadecimal digits of a patient's digest: 64 bit, so that a million patients meet with a chance of 3e-8."""

_SIZE = 32  # bytes of the key
_NAME = "patients.key"


def keyed(patient: str) -> str:
    """The digest that stands for a patient, `LENGTH` hexadecimal digits; empty for an empty ID.

    Raises:
        InputError: the key can't be made or read.
    """
    if not patient:
        return ""
    return hmac.digest(_key(cache.folder()), patient.encode(errors="surrogatepass"), "sha256").hex()[:LENGTH]


def mark() -> str:
    """What tells this installation's key from others without telling it: digests under another key are no use.

    Raises:
        InputError: the key can't be made or read.
    """
    return hashlib.sha256(b"mark" + _key(cache.folder())).hexdigest()[:LENGTH]


def key_path() -> Path:
    """Where the key lies: beside the cache's folder as `.NAME-patients.key`, in it where that can't be written."""
    return _beside(cache.folder())


def _beside(home: Path) -> Path:
    beside, inside = home.with_name(f".{home.name or 'xraytune'}-{_NAME}"), home / _NAME
    return inside if inside.exists() or not (beside.exists() or os.access(home.parent, os.W_OK)) else beside


@functools.cache
def _key(home: Path) -> bytes:
    """The key beside this cache folder, made if it is missing."""
    path = _beside(home)
    try:
        with cache.lock(home / f"{_NAME}.lock"):
            if not path.exists():
                _make(path)
            key = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"The key of the patients' digests, {path}, can't be made or read: {error.strerror}. Choose another "
            "folder for the cache with XRAYTUNE_CACHE."
        ) from None
    if len(key) != _SIZE:
        raise InputError(f"{path} is not a key of {_SIZE} bytes. Restore the right key, or remove it for a new one.")
    return key


def _make(path: Path) -> None:
    """Write a new key, whole or not at all, never readable by anybody else."""
    temporary = path.with_name(f"{path.name}-{secrets.token_hex(4)}")
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(_SIZE))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
