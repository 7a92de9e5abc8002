"""Show what augmentation does: one batch of training images, a row a strength, as a picture.

python -m search.show_augmentation path/to/chest_xray
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from search.cli import console
from search.cli.shared import Data, Reading

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from xraytune.data import Dataset

EXAMPLES = """
python -m search.show_augmentation path/to/chest_xray
python -m search.show_augmentation demo --images 4 --size 64 --out demo.png
"""

FONT = 15
"""Height of the letters, pixels."""

GAP = 6
"""Between images, pixels."""

LEAST_TILE = 80
"""Height of an image in the picture at least, pixels: room for a caption of three lines."""


def main(
    data: Data = "",
    out: Annotated[Path, typer.Option(help="The picture to write", metavar="FILE")] = Path("results/augmentation.png"),
    images: Annotated[int, typer.Option(min=1, max=16, help="Images per row, at most 16", metavar="NUMBER")] = 8,
    size: Annotated[
        int, typer.Option(min=28, max=512, help="Edge of an image in pixels, 28 to 512", metavar="NUMBER")
    ] = 128,
    *,
    reading: Reading,
) -> None:
    """Draw a batch of training images under each augmentation: every strength, the flip and each countermeasure.

    Only training images are shown; test images are not used.
    """
    from xraytune.data import load

    dataset = load(
        data,
        fit=reading.fit,
        seed=reading.seed,
        positive=reading.positive,
        quarantine=reading.quarantine,
        patient_regex=reading.patient_regex,
    )
    drawn = draw(dataset, out, images, size, reading.seed)
    console.out.print(f"{len(rows())} rows of {drawn} training images: {out}", soft_wrap=True)


def rows() -> dict[str, dict[str, Any]]:
    """What each row shows, by its caption: the values of an `Augmentation`."""
    from xraytune.training.inputs.augmentation import COUNTERMEASURES, STRENGTHS

    return {
        **{strength: {"strength": strength} for strength in STRENGTHS},
        "flip": {"flip": True},
        **{
            f"{name.replace('_', ' ')}, {value}": {name: value}
            for name, (_, *values) in COUNTERMEASURES.items()
            for value in values
        },
        "strong, flip, shape jitter": {"strength": "strong", "flip": True, "shape_jitter": "strong"},
    }


def draw(dataset: Dataset, out: Path, images: int, size: int, seed: int) -> int:
    """Write the picture.

    Returns:
        How many images a row has.
    """
    import numpy as np

    from xraytune.artifacts import atomic_write
    from xraytune.data import arrays
    from xraytune.training.inputs import augmentation, random_crops
    from xraytune.training.inputs.augmentation import Augmentation

    train = dataset.select("train")
    chosen = np.sort(np.random.default_rng(seed).choice(len(train), min(images, len(train)), replace=False))
    large = max(size, random_crops.source_edge(train.shapes))
    pools = arrays.pools(dataset, {size, large})
    plain, source = (np.asarray(np.load(pools[edge], mmap_mode="r")[chosen]) for edge in (size, large))
    drawn_rows = {}
    for name, amounts in rows().items():
        asked = Augmentation(**amounts)
        drawn = augmentation.apply(asked, source if asked.cropping else plain, seed, size)
        drawn_rows[name] = np.rint(drawn).clip(0, 255).astype(np.uint8)
    picture = grid(drawn_rows, "DEMONSTRATION, NOT X-RAYS" if dataset.demonstration else "")
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(out) as file:
        picture.save(file, format="png")
    return len(chosen)


def grid(rows: Mapping[str, NDArray[np.uint8]], title: str = "") -> Image.Image:
    """Rows of images on white, each with its caption to the left.

    Args:
        rows: the images of each row by its caption, uint8 `(n, h, w, c)`, all of one shape; c is 1 or 3. Images smaller
            than `LEAST_TILE` are enlarged to it.
        title: stands above the rows.
    """
    from PIL import Image, ImageDraw, ImageFont

    count, height, width, _ = next(iter(rows.values())).shape
    scale = max(1.0, LEAST_TILE / height)
    tile = round(width * scale), round(height * scale)
    font = ImageFont.load_default(FONT)
    captions = [name.replace(", ", ",\n") for name in rows]
    measure = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    left = round(max(measure.multiline_textbbox((0, 0), text, font=font)[2] for text in captions)) + 2 * GAP
    above = 2 * FONT if title else GAP
    picture = Image.new("RGB", (left + count * (tile[0] + GAP), above + len(rows) * (tile[1] + GAP)), "white")
    draw = ImageDraw.Draw(picture)
    draw.text((picture.width // 2, above // 2), title, fill="black", font=font, anchor="mm")
    for row, (caption, images) in enumerate(zip(captions, rows.values(), strict=True)):
        y = above + row * (tile[1] + GAP)
        draw.multiline_text(
            (left - GAP, y + tile[1] // 2), caption, fill="black", font=font, anchor="rm", align="right"
        )
        for column, pixels in enumerate(images):
            image = Image.fromarray(pixels.squeeze())
            picture.paste(image.resize(tile, Image.Resampling.BICUBIC), (left + column * (tile[0] + GAP), y))
    return picture


if __name__ == "__main__":
    console.run(main, examples=EXAMPLES)
