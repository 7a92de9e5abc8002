"""`python -m search.show_augmentation`: the picture is written, of data that need its options too."""

import numpy as np
import pytest
from PIL import Image

from search import show_augmentation
from search.cli import console
from tests.inputs.made_radiographs import radiograph, write
from xraytune.training.inputs.augmentation import COUNTERMEASURES


@pytest.fixture
def ended(tmp_path, monkeypatch, capsys):
    """Runs the command; gives its exit code, output and errors."""
    monkeypatch.setenv("XRAYTUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(console, "out", console.Screen(width=1000))
    monkeypatch.setattr(console, "err", console.Screen(stderr=True, width=1000))
    app = console.application(show_augmentation.main)

    def run(*arguments):
        code = console.exit_code(lambda: app(list(map(str, arguments)), standalone_mode=False))
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_the_picture_is_written_of_data_that_need_every_option(tmp_path, ended):
    for number in range(24):  # neither class's name says that it is the positive one
        write(tmp_path / "d" / ("tb" if number % 2 else "healthy") / f"P{number // 4}-{number}.png", radiograph(number))
    write(tmp_path / "d/tb/P90-1.png", b"")
    picture = tmp_path / "made" / "picture.png"
    small = ("--out", picture, "--images", 2, "--size", 28)
    options = ["--positive", "tb", "--quarantine", "--patient-regex", r"P\d+"]
    code, _, err = ended(tmp_path / "d", *small)
    assert code == 2
    assert "--positive" in err
    assert "--quarantine" in err
    assert not picture.exists()
    code, out, err = ended(tmp_path / "d", *small, *options)
    assert (code, err) == (0, "")
    assert (
        f"{6 + sum(len(values) - 1 for values in COUNTERMEASURES.values())} rows of 2 training images: {picture}" in out
    )
    with Image.open(picture) as opened:
        pixels = np.asarray(opened.convert("L"))
    assert min(pixels.shape) > 200
    assert pixels.std() > 20  # something is drawn


@pytest.mark.parametrize(("channels", "size"), [(1, 100), (3, 100), (1, 28)])
def test_every_image_stands_in_its_row_and_column_beside_its_caption(channels, size):
    rows = {
        f"row {r}, strong": np.stack([np.full((size, size, channels), 40 * r + 10 * c, np.uint8) for c in range(3)])
        for r in range(4)
    }
    pixels = np.asarray(show_augmentation.grid(rows, "TITLE"))
    tile, gap = max(size, show_augmentation.LEAST_TILE), show_augmentation.GAP
    top, left = pixels.shape[0] - 4 * (tile + gap), pixels.shape[1] - 3 * (tile + gap)
    assert pixels[:top].min() < 100, "the title"
    for r in range(4):
        y = top + r * (tile + gap)
        assert pixels[y : y + tile, : left - gap].min() < 100, "the caption"
        assert (pixels[y : y + tile, left - gap : left] == 255).all()
        for c in range(3):
            x = left + c * (tile + gap)
            assert (pixels[y : y + tile, x : x + tile] == 40 * r + 10 * c).all()
            assert (pixels[y : y + tile, x + tile : x + tile + gap] == 255).all()
