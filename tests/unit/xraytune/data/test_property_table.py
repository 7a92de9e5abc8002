"""Files measured for their properties alone give what an inspection of them gives."""

import numpy as np
import pytest
from PIL import Image

from tests.inputs.made_radiographs import radiograph, write
from xraytune.data import property_table
from xraytune.data.decoding.inspection import inspect


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XRAYTUNE_CACHE", str(tmp_path / "cache"))
    for i, mode in enumerate(("L", "RGB", "L", "RGBA")):
        write(tmp_path / "radiographs" / f"{i}.png", radiograph(i, 90 + 20 * i, 80, mode))
    write(tmp_path / "radiographs" / "4.jpg", radiograph(4, 700, 600))
    return tmp_path / "radiographs"


def test_it_measures_what_an_inspection_measures(folder):
    paths = sorted(folder.iterdir())
    measured = property_table.measure(paths)
    seen = inspect(folder, [path.name for path in paths])
    np.testing.assert_array_equal(measured.table, property_table.table(seen.rows))
    assert measured.digests == tuple(row["sha256"].tobytes().hex() for row in seen.rows)
    assert not measured.problems
    column = dict(zip(property_table.NAMES, measured.table.T, strict=True))
    assert column["width"].tolist() == [90, 110, 130, 150, 700]
    assert column["aspect_ratio"][0] == 90 / 80
    assert len(set(column["mode"])) == 3


def test_files_that_can_not_be_used_are_problems_and_the_others_are_measured(folder):
    (folder / "5.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    paths = [*sorted(folder.iterdir()), folder / "nowhere.png"]
    told = []
    measured = property_table.measure(paths, lambda *args: told.append(args))
    assert sorted(measured.problems) == [5, 6]
    assert "can't be opened" in measured.problems[6]
    assert np.isnan(measured.table[5:]).all()
    assert np.isfinite(measured.table[:5]).all()
    assert told[-1][:2] == (7, 7)


def test_colours_that_are_not_known_get_a_code_too(tmp_path):
    Image.new("I;16", (40, 40)).save(tmp_path / "a.png")
    row = np.zeros(1, property_table.ROW)
    row["mode"], row["width"], row["height"] = b"XYZ", 4, 0
    assert np.isfinite(property_table.table(row)).all()
    assert len(property_table.measure([tmp_path / "a.png"]).table) == 1
