"""`make search`: Optuna decides, Ray Tune runs the trials, the study keeps what they found.

From Python: `search.driver.session.search(StudyOptions(…))` does what the command does and returns the study.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from search.cli import console
from search.cli.config_file import CONFIG
from search.cli.options import BUDGET, SPACE
from search.driver.options import SessionOptions, StudyOptions

REMOVED = {
    "--sampler gp": "Use --sampler bo: its Gaussian process also handles spaces with branches.",
    "--sampler qmc": "Use --sampler bo or tpe: both start with random trials.",
    "--xla": "It slows training on CPUs. KERAS_BACKEND=jax compiles every training step.",
}
"""Options, or values of options, that no longer exist, and what replaces them."""

EXAMPLES = """
python -m search.run
python -m search.run --data path/to/chest_xray --time 30m --study mine
python -m search.run --study mine --resume --time 1h
python -m search.run --data chest.zip --families cnn,densenet --trials 40
python -m search.run --fix batch_size=32 --fix cnn/blocks=3
python -m search.run --config results/mine/config.yaml --study again --dry-run
"""


def main(
    study: StudyOptions,
    session: SessionOptions,
    show_space: Annotated[
        bool, typer.Option("--show-space", help="List the hyperparameters and end", rich_help_panel=SPACE)
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show what the search would do, and end", rich_help_panel=BUDGET),
    ] = False,
    config: Annotated[Path | None, CONFIG] = None,
) -> None:
    """Search for the best network for a folder of labelled chest X-rays.

    Without --data it runs a four-minute demonstration on synthetic images. --trials and --time are totals of the
    study, over all its sessions. The options of a search are stored in config.yaml in the study's folder; --config
    reads them.
    """
    if show_space:
        from search.driver.space_table import show

        show(console.out, study)
        return
    from search.driver import session as sessions

    if dry_run:
        sessions.rehearse(study, session)
        return
    sessions.search(study, session)


if __name__ == "__main__":
    console.run(main, examples=EXAMPLES, removed=REMOVED)
