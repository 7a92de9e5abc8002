"""What `search.evaluate` may be asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from search.cli import options
from search.cli.options import DATA, OUTPUT, option
from search.cli.shared import Source
from xraytune.errors import InputError


def class_names(value: str | Iterable[str] | Mapping[str, str], name: str) -> dict[str, str]:
    """`DATA_CLASS=MODEL_CLASS` texts as a mapping; a mapping as it is.

    Raises:
        InputError: one is not of that form, or names a class twice.
    """
    if isinstance(value, Mapping):
        return dict(value)
    found: dict[str, str] = {}
    for pair in [value] if isinstance(value, str) else value:
        theirs, equals, ours = (part.strip() for part in pair.partition("="))
        if not equals or not theirs or not ours:
            raise InputError(f"{name} {pair!r}: write DATA_CLASS=MODEL_CLASS, for example {name} 'No finding=NORMAL'.")
        if theirs in found:
            raise InputError(f"{name} names the class {theirs!r} twice.")
        found[theirs] = ours
    return found


@dataclass(frozen=True)
class EvaluationOptions(Source):
    """How the data sets of one call are read and where the evaluation goes."""

    map: Mapping[str, str] = option(
        {}, "The model's name of a class; may be repeated", DATA, metavar="DATA_CLASS=MODEL_CLASS",
        parse=class_names, repeatable=True, shown="the same",
    )  # fmt: skip
    include_seen: bool = option(False, "Include images that the study trained or validated on", DATA)
    out: Path | None = option(
        None, "Where evaluations are written", OUTPUT, metavar="FOLDER", parse=options.path,
        shown="evaluations/ of the study",
    )  # fmt: skip
