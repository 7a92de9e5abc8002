"""Damaged files are caught and named, whatever the damage; none ends the program."""

import warnings

import pytest

from tests.inputs.made_radiographs import corrupt, encoded, kaggle, pillow_decodes, radiograph, write
from xraytune import data


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_every_seeded_corruption_that_pillow_cannot_decode_is_named(tmp_path, monkeypatch, kind):
    monkeypatch.setenv("XRAYTUNE_CACHE", str(tmp_path / "cache"))
    root, bad, undecodable = kaggle(tmp_path / "d"), [], set()
    for number in range(120):
        picture = radiograph(5000 + number, 90, 70, mode="RGB" if number % 2 else "L")
        options = {"progressive": True} if kind == "JPEG" and number % 3 == 0 else {}
        content, suffix = corrupt(encoded(picture, kind, **options), number)
        key = f"train/NORMAL/IM-{5000 + number:04d}-0001{suffix or '.' + kind.lower()}"
        write(root / key, content)
        bad.append(key)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if not pillow_decodes(content):
                undecodable.add(key)
    assert len(undecodable) > 60
    found = data.examine(str(root))
    named = {file for problem in found.errors if problem.kind in {"unreadable", "blank"} for file in problem.files}
    assert undecodable <= named
    assert named <= set(bad)
    assert all(problem.what for problem in found.errors)
    survived = data.load(str(root), quarantine=True)
    assert undecodable <= set(survived.quarantined)
