"""`make evidence`: which score picks networks that generalise? Trained, judged, searched; then the page's tables.

    python -m tests.evidence.run networks              # 12 networks on each planted shortcut and on covid19
    python -m tests.evidence.run doses                 # one network on each shortcut, three doses of its countermeasure
    python -m tests.evidence.run finals                # one refit, several, or the folds' networks as the final model
    python -m tests.evidence.run decision              # calibration, class balance, operating threshold
    python -m tests.evidence.run crops                 # random resized crops and shape jitter against framing
    python -m tests.evidence.run refer                 # the guarantee of a referral, on halves of patients
    python -m tests.evidence.run shift                 # estimates without labels on made sites: docs/evidence/shift.md
    python -m tests.evidence.run sites                 # intervals for a site that is not there, on made sites
    python -m tests.evidence.run searches --on marker  # clean and robust searches, three seeds each
    python -m tests.evidence.run simulate              # whole searches on the table of `make curves`
    python -m tests.evidence.run portfolio             # initial trials chosen on it, judged on the set left out
    python -m tests.evidence.run page                  # what there is, into docs/evidence/robust-validation.md
    python -m tests.evidence.run confirm               # 40 networks on the X-rays: opens their test half

Every part goes on where it was stopped and takes under an hour on two cores. `confirm` is run once, after the score's
form was decided on the rest. The real images are found by XRAYTUNE_DATA, pretrained weights by XRAYTUNE_WEIGHTS.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from tests.evidence import crops, decision, doses, finals, networks, page, refer, refinements, searches, shift, sites
from tests.evidence.curves import simulate, table
from tests.evidence.searches import Search
from tests.evidence.sets import PLANTED, SETS

app = typer.Typer(add_completion=False, help=__doc__, rich_markup_mode=None)
Workers = Annotated[int, typer.Option(min=1, help="Processes of one thread each.")]


def _minutes(value: str) -> str:
    """Checked here, before a search has run for nothing."""
    if value and not re.fullmatch(r"[1-9]\d*m", value):
        raise typer.BadParameter("in whole minutes: 4m")
    return value


@app.command("networks")
def make_networks(count: Annotated[int, typer.Option(min=4)] = 12, workers: Workers = 2) -> None:
    """Train networks on each planted shortcut, on images of two machines and on covid19, and keep their answers."""
    for name in (*PLANTED, "machine", "covid19"):
        networks.make(name, count, workers)


@app.command()
def confirm(count: Annotated[int, typer.Option(min=4)] = 40, workers: Workers = 2) -> None:
    """Train networks on the X-rays and keep their answers on the test half too."""
    networks.make("xray", count, workers)


@app.command("doses")
def make_doses(workers: Workers = 2) -> None:
    """Train one network on each planted shortcut with no, light and strong countermeasures, and keep its answers."""
    doses.make(workers)


@app.command("shift")
def make_shift(workers: Workers = 2) -> None:
    """Estimate sensitivity and specificity without labels on made sites, where the truth is known."""
    shift.make(workers)


@app.command("finals")
def make_finals(workers: Workers = 2) -> None:
    """Make one configuration final in several ways on each planted shortcut, and keep the answers."""
    finals.make(workers)


@app.command("decision")
def make_decision(
    workers: Workers = 2,
    on: Annotated[str, typer.Option(help="One set instead of all.")] = "",
) -> None:
    """Train folds on each planted shortcut by class balance; compare calibrations and threshold policies."""
    decision.make(workers, (on,) if on else PLANTED)


@app.command("crops")
def make_crops(
    workers: Workers = 2,
    on: Annotated[str, typer.Option(help="One set instead of all.")] = "",
    limit: Annotated[int, typer.Option(min=0, help="Networks of each set at most; 0: all.")] = 0,
) -> None:
    """Train shape jitter and random resized crops under two heads, out of fold by patient; judge framing views."""
    crops.make(workers, (on,) if on else crops.ON, limit)


@app.command("refinements")
def make_refinements(workers: Workers = 2) -> None:
    """Train on subclasses or on two classes; compare one validation fold for all trials with one for each."""
    refinements.make(workers)


@app.command("sites")
def make_sites(seeds: Annotated[int, typer.Option(min=2)] = 40, workers: Workers = 2) -> None:
    """Predict the figures of a fifth made site from four; write the table of docs/evidence/sites.md."""
    sites.make(seeds, workers)


@app.command("refer")
def make_refer(
    results: Annotated[Path, typer.Option(help="Studies retrained with --refer are split too.")] = Path("results"),
) -> None:
    """Fit a referral on half of the patients and judge it on the others, 200 times a set; end with 1 where it fails."""
    found = refer.make(results)
    failed = [one.name for one in found if one.failed[2] > one.allowed]
    print(f"The guarantee fails too often on {', '.join(failed)}." if failed else f"It holds on all: {refer.PAGE}")
    raise typer.Exit(bool(failed))


@app.command("searches")
def run_searches(
    on: Annotated[str, typer.Option(help=f"One of {', '.join(SETS)}.")] = "marker",
    time: Annotated[str, typer.Option(callback=_minutes, help="A search, in minutes: 4m.")] = "4m",
    retraining: Annotated[
        str, typer.Option(callback=_minutes, help="Its retraining, in minutes; --time if not given.")
    ] = "",
    seeds: Annotated[int, typer.Option(min=1)] = 3,
    final: Annotated[str, typer.Option(help="As search.retrain takes it, instead of its default.")] = "",
    objective: Annotated[str, typer.Option(help="One of clean, robust instead of both.")] = "",
    code: Annotated[Path | None, typer.Option(help="A checkout of an earlier version that searches instead.")] = None,
) -> None:
    """Search with both objectives, equal time, retrain each winner; another `--retraining` is of the same searches."""
    version = searches.EARLIER if code else ""
    for seed in range(seeds):
        for one in (objective,) if objective else searches.OBJECTIVES:
            search = Search(on, one, seed, time, retraining or time, final, version)
            search.run(code.resolve() if code else networks.ROOT)


def _has_table() -> None:
    """Checked before anything is simulated."""
    if not table.FILE.exists():
        raise typer.BadParameter(f"{table.FILE} is not there: run make curves, then make curves TABLE=1")


@app.command("simulate")
def make_simulations(
    workers: Workers = 2,
    seeds: Annotated[int, typer.Option(min=1)] = simulate.SEEDS,
    minutes: Annotated[float, typer.Option(min=0, help="Stop after so many minutes; 0: when all is done.")] = 0.0,
) -> None:
    """Replay policies of whole searches on the table of learning curves: docs/evidence/simulator.md."""
    _has_table()
    simulate.make(workers, seeds, minutes)


@app.command("portfolio")
def make_portfolio() -> None:
    """Choose initial trials on the table, one data set left out: docs/evidence/portfolio.md."""
    _has_table()
    simulate.make_portfolio()


@app.command("page")
def write_page() -> None:
    """Make the page's tables anew."""
    for name, placed in page.write(searches.done()).items():
        print(f"written: {name}" if placed else f"no place in {page.PAGE.name}: <!-- {name} -->")


if __name__ == "__main__":
    app()
