"""Durations, sizes and times of day as people type and read them."""

from __future__ import annotations

import datetime
import re

from xraytune.errors import InputError

LONGEST = 100 * 366 * 86400.0
"""Seconds that anything may be asked to last: a hundred years."""

LARGEST = 1 << 60
"""Bytes that anything may be asked to take."""


def duration(text: str | float, option: str = "--time") -> float:
    """Seconds of a length of time as people type it: `90s`, `30m`, `1h30m`, `1.5h`, or plain seconds.

    Raises:
        InputError: it is no length of time, or not above zero.
    """
    if isinstance(text, int | float) and 0 < text < LONGEST:
        return float(text)
    text = str(text)
    units = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*([dhms]|$)", text.strip().lower())
    whole = re.fullmatch(r"(?:\d+(?:\.\d+)?\s*[dhms]\s*)+|\d+(?:\.\d+)?", text.strip().lower())
    seconds = sum(float(number) * units[unit or "s"] for number, unit in parts)
    if not whole or not 0 < seconds < LONGEST:
        raise InputError(f"{option} {text!r} is not a duration. Write it like 90s, 30m or 1h30m.")
    return seconds


def size(text: str | int, option: str) -> int:
    """Bytes of a size as people type it: `4GB`, `512M` (powers of 1000), `2GiB` (of 1024), as it is then shown.

    A whole number is a number of bytes already.

    Raises:
        InputError: it is no size.
    """
    if isinstance(text, int) and text >= 0:
        return text
    text = str(text)
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", text.strip().lower())
    unit = (1024 if match[3] else 1000) ** " kmgt".index(match[2] or " ") if match else 0
    if not match or not 0 < float(match[1]) * unit < LARGEST:
        raise InputError(f"{option} {text!r} is not a size. Write it like 512MB or 4GB.")
    return int(float(match[1]) * unit)


def clock(seconds: float) -> str:
    """A length of time for people: `7s`, `4m05s`, `1h30m`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def now() -> str:
    """The local time as `14:05:09`, for plain progress lines."""
    return datetime.datetime.now().strftime("%H:%M:%S")
