"""What is left of each parameter's choices while a space is narrowed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

from xraytune.records import Value


def points(own: Mapping[str, tuple[Value, ...]], names: tuple[str, ...]) -> Iterator[dict[str, Value]]:
    """Every combination of the choices of parameters that end in `names`; the others at their first choice."""
    chosen = [own[n] if n == "family" or n.rpartition("/")[2] in {*names, "mode"} else own[n][:1] for n in own]
    for combination in itertools.product(*chosen):
        yield dict(zip(own, combination, strict=True))
