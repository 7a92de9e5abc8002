"""`python -m search.export MODEL`: a saved model as ONNX, checked against Keras."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from search import console

EXAMPLES = """
python -m search.export results/mine/winner
python -m search.export results/mine/winner --films folder/
"""


def main(
    model: Annotated[Path, typer.Argument(help="The folder that search.retrain wrote.")],
    films: Annotated[Path | None, typer.Option(help="Compare on films of this folder (at most 100).")] = None,
) -> None:
    """Export a saved model to ONNX; refuse the export where it differs from Keras by more than 1e-4 on 100 films.

    Preprocessing, calibration and threshold stay in model.json: load_model("…/model.onnx") uses them.
    """
    import numpy as np
    from PIL import Image

    from search.predict import find
    from xraytune.model_file import read_card
    from xraytune.onnx_export import CHECKED, export

    read_card(model if model.is_dir() else model.parent)  # refuses at once what is no model
    images = None
    if films:
        images = [np.asarray(Image.open(path).convert("L")) for path in find([films])[:CHECKED]]
    files, worst = export(model, images)
    for path in files:
        console.out.print(f"{path}  (differs from Keras by at most {worst:.1e})", soft_wrap=True)


if __name__ == "__main__":
    console.run(main, examples=EXAMPLES)
