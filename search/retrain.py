"""`python -m search.retrain best`: the winner confirmed, trained anew, judged on the sealed test set, saved."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from search.cli import console, quantities
from search.retraining.options import RetrainingOptions
from search.retraining.steps import retrain
from xraytune.evaluation import thresholds
from xraytune.inference import test_time_augmentation

EXAMPLES = """
python -m search.retrain best
python -m search.retrain 17 --study mine
python -m search.retrain top:3 --final ensemble --time 20m
python -m search.retrain best --threshold sensitivity:0.95 --tta crops
python -m search.retrain best --compare-recipes
"""


def main(
    which: Annotated[str, typer.Argument(help="best, a trial's number, top:K, pareto:N, or a recipe's name.")] = "best",
    study: Annotated[str | None, typer.Option(help="The study; the latest unless given.")] = None,
    final: Annotated[
        str, typer.Option(help="refit (the winner on train + validation), folds (the folds' networks), ensemble.")
    ] = "refit",
    threshold: Annotated[
        str,
        typer.Option(
            help="auto, 0.5 (any number), f-beta, sensitivity:0.95, youden, shared, plateau. Fitted out of fold."
        ),
    ] = thresholds.AUTOMATIC,
    finalists: Annotated[int, typer.Option(help="How many of the best trials are confirmed on folds.")] = 5,
    folds: Annotated[int, typer.Option(help="Patient-grouped folds, at least 3.")] = 5,
    seeds: Annotated[int, typer.Option(help="Seeds a finalist.")] = 2,
    refits: Annotated[int, typer.Option(help="Networks of a refit, of different seeds, whose mean answers.")] = 3,
    time: Annotated[str | None, typer.Option(help="Bound, like 20m; the search's own time unless given.")] = None,
    workers: Annotated[int, typer.Option(help="Trainings at once; 0: one a core or GPU, at most 8.")] = 0,
    tta: Annotated[
        str,
        typer.Option(
            metavar="[shifts|crops]",
            help="Test-time augmentation: mean over small shifts (--tta alone) or over crops of each image.",
        ),
    ] = "",
    compare_recipes: Annotated[
        bool,
        typer.Option("--compare-recipes", help="Retrain the study's published recipes too; judge all on the test set."),
    ] = False,
    data: Annotated[str | None, typer.Option(help="Where the data are now, if they were moved.")] = None,
    weights_dir: Annotated[
        Path | None, typer.Option(help="Folder of pretrained weights (or XRAYTUNE_WEIGHTS).")
    ] = None,
    results: Annotated[Path, typer.Option(help="The results folder.")] = Path("results"),
    storage: Annotated[
        str | None, typer.Option(help="Database URL [default: $XRAYTUNE_STORAGE, else SQLite in results]")
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="Where decoded images are kept")] = None,
    cache_limit: Annotated[str | None, typer.Option(help="What kept prefixes may take on disk: 20GB")] = None,
    with_names: Annotated[
        bool,
        typer.Option("--with-names", help="Name test images and patients in report and predictions (not for sharing)."),
    ] = False,
) -> None:
    """Retrain a study's winner, open its sealed test set, print and save the final metrics.

    The best trials are trained again on patient-grouped folds with several seeds; the confirmed winner is trained on
    train + validation; calibration and threshold are fitted out of fold; then the test set is opened, which the
    study's ledger records. Killed at any point and called again, it goes on from the last finished fold.
    """
    seconds = quantities.duration(time) if time else None
    options = RetrainingOptions(
        which, study, final, threshold, finalists, folds, seeds, refits, seconds, workers, tta,
        compare_recipes, data, weights_dir, results, storage, cache,
        quantities.size(cache_limit, "--cache-limit") if cache_limit else 0, with_names,
    )  # fmt: skip
    retrain(options)


if __name__ == "__main__":
    console.run(main, examples=EXAMPLES, alone={"--tta": test_time_augmentation.KINDS})
