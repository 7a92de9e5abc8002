"""What verification finds, one line each, and the table that shows all of it at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

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
    """Keys of the files (or lines of a manifest) that `quarantine` would leave out to cure it; empty where leaving them
    out is no cure."""


def some(names: Sequence[str], shown: int = 1) -> str:
    """The first names and how many more there are: `a.png and 11 more`."""
    more = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {more:,} more" if more > 0 else "")


def summarised(problems: Iterable[Problem], each: int = 8) -> list[Problem]:
    """The problems, errors first, at most `each` of one kind: the last of these says how many more there are."""
    lines, seen = list[Problem](), Counter[tuple[bool, str]]()
    ordered = sorted(problems, key=lambda p: p.warning)
    total = Counter((p.warning, p.kind) for p in ordered)
    for problem in ordered:
        kind = (problem.warning, problem.kind)
        seen[kind] += 1
        if seen[kind] <= each:
            lines.append(problem)
        elif seen[kind] == each + 1:
            what = f"and {total[kind] - each:,} more of this kind; `python -m search.verify DATA --json` lists them"
            lines.append(replace(problem, where="…", what=what, files=()))
    return lines


def table(problems: Iterable[Problem]) -> str:
    """The problems as an aligned table, as `summarised`, in the order they were found."""
    shown = summarised(problems)
    kind = max((len(p.kind) for p in shown), default=0)
    where = min(60, max((len(p.where) for p in shown), default=0))
    return "\n".join(
        f"  {'warning' if p.warning else 'error':7}  {p.kind:{kind}}  {p.where:{where}}  {p.what}".rstrip()
        for p in shown
    )
