"""No test image influences a search: with other images in the test folder the same seed finds the same."""

from __future__ import annotations

import shutil

from tests.inputs import made_radiographs
from tests.searching import Search


def found(folder, data):
    """What a deterministic robust search of two trials leaves: configurations, curves, every figure."""
    folder.mkdir()
    one = Search(folder)
    options = ["--trials", "2", "--objective", "robust", "--concurrency", "1", "--deterministic", "--seed", "3"]
    try:
        one.start("--data", str(data), *options, space="smoke")
        assert one.wait() == 0, one.text
        return [(t["config"], t["value"], t["curve"], t["result"]["metrics"]) for t in one.trials()]
    finally:
        one.end()


def test_a_search_finds_the_same_whatever_lies_in_the_test_folder(tmp_path):
    data = made_radiographs.kaggle(tmp_path / "chest_xray", train=24, test=6)
    first = found(tmp_path / "first", data)
    assert len(first) == 2
    for name in ("NORMAL", "PNEUMONIA"):
        sealed = data / "test" / name
        shutil.rmtree(sealed)
        for number in range(9):
            stem = f"IM-9{number:03d}-0001" if name == "NORMAL" else f"person9{number:03d}_virus_1"
            made_radiographs.write(sealed / f"{stem}.png", made_radiographs.radiograph(9000 + number + 100 * len(name)))
    assert found(tmp_path / "second", data) == first
