"""`python -m search.export MODEL`: a saved model as ONNX, checked against Keras."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from search.cli import console
from xraytune.errors import InputError

EXAMPLES = """
python -m search.export results/mine/winner
python -m search.export results/mine/winner --images folder/
"""


def main(
    model: Annotated[Path, typer.Argument(help="The folder that retrain wrote")],
    images: Annotated[
        Path | None,
        typer.Option(
            "--images",
            help="Compare on images of this folder too (at most 100)",
            metavar="FOLDER",
            show_default="none",
        ),
    ] = None,
) -> None:
    """Export a saved model to ONNX; refuse the export if it differs from Keras by more than 1e-4 on 100 images.

    Preprocessing, calibration and threshold remain in model.json: load_model("…/model.onnx") uses them.
    """
    from xraytune.data.decoding.image_files import find
    from xraytune.inference.model_card import folder_of, read_card
    from xraytune.inference.onnx_export import CHECKED, export

    card = read_card(folder_of(model))  # refuses at once what is no model
    largest = max(int(member["image_size"]) for member in card.members)
    compared = [decoded(path, card.channels, largest) for path in find([images])[:CHECKED]] if images else None
    files, worst = export(model, compared)
    for path in files:
        console.out.print(f"{path}  (differs from Keras by at most {worst:.1e})", soft_wrap=True)


def decoded(path: Path, channels: int, size: int) -> NDArray[np.uint8]:
    """An image as `Classifier.predict` takes it, `(height, width)` or `(height, width, 3)`, `size` pixels or more.

    Raises:
        InputError: it can't be read.
    """
    from xraytune.data.decoding.reading import MOST_BYTES, Unreadable, bucket, decode, silenced
    from xraytune.files import read_named

    try:
        with silenced():
            return np.asarray(decode(read_named(path, MOST_BYTES), channels, bucket(size)).image)
    except (Unreadable, OSError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{path} can't be used for the comparison: {why}. Remove it or give other images.") from None


if __name__ == "__main__":
    console.run(main, examples=EXAMPLES)
