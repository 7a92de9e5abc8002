"""The sessions of a search: an attribute of the study for each, since databases limit the length of a value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_PREFIX = "session "


def key(number: int) -> str:
    """The name of the attribute of a session, the first of which is 0."""
    return f"{_PREFIX}{number}"


def kept(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The sessions in order: what each alone ran with, when it began (`begun`) and was last alive (`alive`).

    Args:
        attributes: of the study. Times are in seconds since 1970.
    """
    found = {int(name.removeprefix(_PREFIX)): value for name, value in attributes.items() if name.startswith(_PREFIX)}
    return [found[number] for number in sorted(found)]


def seconds(attributes: Mapping[str, Any]) -> float:
    """The wall time of all sessions, up to the last sign of life of each.

    Args:
        attributes: of the study.
    """
    return float(sum(session["alive"] - session["begun"] for session in kept(attributes)))
