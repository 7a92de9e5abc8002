"""`python -m search.report`: the winner's report and model card, made from what `search.retrain` kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from search.cli import console
from search.cli.shared import Results, Storage, Study
from xraytune import artifacts
from xraytune.errors import StudyError

EXAMPLES = """
python -m search.report
python -m search.report mine
python -m search.report mine --with-names
"""


def main(
    study: Study = None,
    results: Results = Path("results"),
    storage: Storage = None,
    with_names: Annotated[
        bool,
        typer.Option("--with-names", help="Caption example images with their paths; do not share such a report"),
    ] = False,
) -> None:
    """Write report.html, tables, figures and MODEL_CARD.md of the final model again, without the test set."""
    from search.reporting.html_report import again
    from search.study.view import open_study

    view = open_study(study, results, storage)
    folder = artifacts.restored(view.folder / "winner")
    if not (folder / "metrics.json").exists():
        raise StudyError(f"Study {view.name!r} has no winner yet: python -m search.retrain best --study {view.name}")
    again(view, folder, with_names=with_names)
    console.out.print(f"{folder / 'report.html'}\n{folder / 'MODEL_CARD.md'}", soft_wrap=True)


if __name__ == "__main__":
    console.run(main, examples=EXAMPLES)
