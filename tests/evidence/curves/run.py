"""`make curves`: real learning curves, trained to their end without pruning, and their table.

    python -m tests.evidence.curves.run --minutes 55     # one unit of trainings; call it again until none is missing
    python -m tests.evidence.curves.run --timing         # each network's seconds a step, alone on a quiet machine
    python -m tests.evidence.curves.run --table          # all that is there, into docs/evidence/curves.json.gz
    python -m tests.evidence.curves.run --plan           # what would be trained, and its predicted hours

A unit goes on from that file on any machine. The X-rays are found by XRAYTUNE_DATA, pretrained weights by
XRAYTUNE_WEIGHTS.
"""

from __future__ import annotations

from typing import Annotated

import typer

from tests.evidence.curves import table, training
from tests.evidence.curves.design import WORKERS

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(help=__doc__)
def main(
    minutes: Annotated[float, typer.Option(min=0, help="Stop after so many minutes; 0: when all is done.")] = 0.0,
    timing: Annotated[bool, typer.Option("--timing", help="Time the networks instead.")] = False,
    write: Annotated[bool, typer.Option("--table", help="Write the table and its page instead.")] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Show the design instead.")] = False,
    scope: Annotated[str, typer.Option(help="full, or tiny: five trainings of seconds.")] = "full",
    workers: Annotated[int, typer.Option(min=1, help="Processes of one thread each.")] = WORKERS,
) -> None:
    """Train, time, write or show."""
    if scope not in training.SCOPES:
        raise typer.BadParameter(f"one of {', '.join(training.SCOPES)}", param_hint="--scope")
    if write:
        found = table.collect(training.SCOPES[scope])
        table.publish(found)
        print(f"{len(found.curves)} trainings: {table.FILE}, {table.PAGE}")
        return
    if plan:
        training.ready(training.SCOPES[scope])
        for planned in training.SCOPES[scope].designs():
            hours = sum(one.seconds for one in planned) / 3600 / WORKERS
            print(f"{planned[0].set}: {len(planned)} trainings, {hours:.1f} hours on {WORKERS} cores predicted")
        return
    if table.FILE.exists() and scope == "full":
        table.unpack(training.FULL, table.read())
    missing = training.unit(scope, timing=timing, minutes=minutes, workers=workers)
    print(f"{missing} are missing: call it again." if missing else "All are done.")


if __name__ == "__main__":
    app()
