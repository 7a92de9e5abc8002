"""The first lines of an evaluation or a comparison on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search.cli import console
from search.cli.console import BANNER
from xraytune.evaluation import external


def show(found: Mapping[str, Any]) -> None:
    """Print the verdict in its colour and its reasons.

    Args:
        found: figures with `demonstration`, `data`, `verdict` and `reasons`.
    """
    out = console.out
    if found["demonstration"]:
        out.say(BANNER, style="bold yellow")
    style = {external.NOT_USABLE: "bold red", external.UNCLEAR: "bold yellow"}.get(found["verdict"], "bold green")
    out.say((f"{found['data']}: {found['verdict']}.", style))
    for line in found["reasons"]:
        out.say(line)
    out.print()
