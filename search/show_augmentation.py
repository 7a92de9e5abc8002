"""Show what augmentation does: one batch of training images, a row a strength, as a picture.

python -m search.show_augmentation path/to/chest_xray
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from search import console
from xraytune.data.sources import KINDS

if TYPE_CHECKING:
    from xraytune.data import Dataset

ROWS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("none", {}),
    ("light", {"strength": "light"}),
    ("medium", {"strength": "medium"}),
    ("strong", {"strength": "strong"}),
    ("flip", {"flip": True}),
    ("shape jitter, light", {"shape_jitter": "light"}),
    ("shape jitter, strong", {"shape_jitter": "strong"}),
    ("exposure jitter, strong", {"exposure_jitter": "strong"}),
    ("focus jitter, strong", {"focus_jitter": "strong"}),
    ("hiding, strong", {"hiding": "strong"}),
    ("strong, flip, shape jitter", {"strength": "strong", "flip": True, "shape_jitter": "strong"}),
)


def main(
    data: Annotated[str, typer.Argument(metavar="[DATA]", help=f"{KINDS}.", show_default=False)] = "",
    positive: Annotated[str | None, typer.Option(metavar="CLASS", help="The positive class")] = None,
    quarantine: Annotated[bool, typer.Option(help="Leave bad files out, instead of refusing all")] = False,
    patient_regex: Annotated[
        str | None, typer.Option(metavar="REGEX", help="How a path below DATA tells its patient")
    ] = None,
    out: Annotated[Path, typer.Option(help="The picture to write")] = Path("results/augmentation.png"),
    images: Annotated[int, typer.Option(min=1, max=16, help="How many images a row")] = 8,
    size: Annotated[int, typer.Option(min=28, max=512, help="Their edge, pixels")] = 128,
    seed: Annotated[int, typer.Option(min=0, help="Which images, and how they are moved")] = 0,
) -> None:
    """Draw a batch of training images under each augmentation: every strength, the flip, each jitter and hiding.

    Only training images are shown; the test folder stays sealed.
    """
    from xraytune import data as data_room

    dataset = data_room.load(data, seed=seed, positive=positive, quarantine=quarantine, patient_regex=patient_regex)
    drawn = draw(dataset, out, images, size, seed)
    console.out.print(f"{len(ROWS)} rows of {drawn} training images: {out}")


def draw(dataset: Dataset, out: Path, images: int, size: int, seed: int) -> int:
    """Write the picture.

    Returns:
        How many images a row has.
    """
    import matplotlib as mpl
    import numpy as np

    mpl.use("Agg")
    from matplotlib import pyplot

    from xraytune import augmentation
    from xraytune.artifacts import atomic_write
    from xraytune.augmentation import Augmentation
    from xraytune.data import arrays

    pool = np.load(arrays.pool(dataset, size), mmap_mode="r")
    train = len(dataset.select("train"))
    chosen = np.sort(np.random.default_rng(seed).choice(train, min(images, train), replace=False))
    films = np.asarray(pool[chosen])
    figure, axes = pyplot.subplots(len(ROWS), len(chosen), figsize=(1.3 * len(chosen) + 1.6, 1.35 * len(ROWS)))
    for row, (name, amounts) in zip(axes.reshape(len(ROWS), -1), ROWS, strict=True):
        moved = augmentation.apply(Augmentation(**amounts), films, seed)
        for axis, film in zip(row, moved, strict=True):
            axis.imshow(film.squeeze() / 255, cmap="gray", vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[])
        row[0].set_ylabel(name.replace(", ", ",\n"), fontsize=8, rotation=0, ha="right", va="center")
    if dataset.demonstration:
        figure.suptitle("DEMONSTRATION, NOT X-RAYS")
    figure.tight_layout()
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(out) as file:
        figure.savefig(file, format="png", dpi=100)
    pyplot.close(figure)
    return len(chosen)


if __name__ == "__main__":
    console.run(
        main,
        examples="""python -m search.show_augmentation path/to/chest_xray
        python -m search.show_augmentation demo --images 4 --size 64 --out demo.png""",
    )
