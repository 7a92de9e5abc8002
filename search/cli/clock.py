"""Seconds since 1970 that no step of the system's clock moves: what a time budget is counted in.

Setting the clock, or a machine that slept, must neither end a search nor prolong it.
"""

from __future__ import annotations

import time

_WALL, _STEADY = time.time(), time.monotonic()


def now() -> float:
    """The system's time when this process began, and what passed since by the monotonic clock."""
    return _WALL + time.monotonic() - _STEADY
