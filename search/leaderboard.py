"""A study's trials, best first: `python -m search.leaderboard [STUDY] [--json]`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from search.cli import console
from search.cli.shared import Json, Results, Storage, Study
from xraytune import artifacts

if TYPE_CHECKING:
    from search.study.view import TrialRecord

EXAMPLES = """
python -m search.leaderboard
python -m search.leaderboard mine --top 10
python -m search.leaderboard mine --json | jq '.trials[0]'
"""


SCREENFUL = 200
"""Trials that a terminal is given where `--top` does not say how many."""


def main(
    study: Study = None,
    as_json: Json = False,
    top: Annotated[
        int | None, typer.Option(help="List only this many", metavar="NUMBER", show_default="all; 200 on a terminal")
    ] = None,
    results: Results = Path("results"),
    storage: Storage = None,
) -> None:
    """List a study's trials, best first: complete ones, then pruned, failed, running."""
    from search.reporting.trial_tables import rank, show_families, show_leaderboard
    from search.study.view import open_study

    view = open_study(study, results, storage)
    trials = sorted(view.trials(), key=rank)
    shown = trials[:top] if top else trials
    if as_json:
        plain = {"study": view.name, "spec": view.spec.to_json(), "trials": [plain_trial(t) for t in shown]}
        typer.echo(json.dumps(plain, allow_nan=False, indent=1))
        return
    out = console.out
    if view.spec.demonstration:
        out.say("DEMONSTRATION, NOT X-RAYS", style="bold yellow")
    counted = [t for t in trials if t.counts]
    out.say("Study ", (view.name, "bold"), f": {len(counted)} trials on {view.spec.data}.")
    listed = shown if top or not out.is_terminal else shown[:SCREENFUL]
    show_leaderboard(out, listed, view.spec)
    if len(listed) < len(shown):
        out.say(f"{len(shown) - len(listed)} more trials: --top {len(shown)} lists all, --json too.", style="dim")
    if counted:
        show_families(out, counted, view.spec.label)


def plain_trial(trial: TrialRecord) -> dict[str, Any]:
    """A trial as plain JSON values; what is not finite is null."""
    plain: dict[str, Any] = {
        "number": trial.number,
        "state": trial.state,
        "interrupted": trial.interrupted,
        "value": trial.value,
        "values": list(trial.values),
        "family": trial.family,
        "origin": trial.attributes.get("origin"),
        "recipe": trial.recipe or None,
        "cause": trial.cause or None,
        "message": trial.message or None,
        "seconds": trial.seconds,
        "config": trial.config.to_json() if trial.config else None,
        "result": trial.result.to_json() if trial.result else None,
        "ran": dict(trial.ran) or None,
        "curve": {str(epoch): value for epoch, value in trial.curve.items()},
    }
    cleaned: dict[str, Any] = artifacts.finite(plain)
    return cleaned


if __name__ == "__main__":
    console.run(main, examples=EXAMPLES)
