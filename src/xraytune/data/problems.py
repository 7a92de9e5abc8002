"""What verification finds, one line each, and the table that shows all of it at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

Progress = Callable[[int, int, str], None]
"""`progress(done, total, what)`: called as work goes on; `what` names the work."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong (error) or that one should know (warning)."""

    kind: str
    """A short fixed name: `unreadable`, `empty class`, `leak`, `duplicate` …"""

    where: str
    """The file, folder or class."""

    what: str
    """What is wrong with it, and what to do where that is not plain."""

    warning: bool = False
    """True if the data can be used all the same."""

    files: tuple[str, ...] = ()
    """Keys of the files that `quarantine` would leave out to cure it; empty where leaving files out is no cure."""


def table(problems: Iterable[Problem], most: int = 300) -> str:
    """The problems as an aligned table, one line each, errors first, in the order they were found.

    Args:
        problems: what was found.
        most: lines to show; how many are left out is said.
    """
    ordered = sorted(problems, key=lambda p: p.warning)
    shown = ordered[:most]
    kind = max((len(p.kind) for p in shown), default=0)
    where = min(60, max((len(p.where) for p in shown), default=0))
    lines = [
        f"  {'warning' if p.warning else 'error':7}  {p.kind:{kind}}  {p.where:{where}}  {p.what}".rstrip()
        for p in shown
    ]
    if len(ordered) > most:
        lines.append(f"  … and {len(ordered) - most} more; `python -m search.verify DATA --json` lists all of them")
    return "\n".join(lines)
