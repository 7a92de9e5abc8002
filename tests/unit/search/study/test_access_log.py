"""The access log of a study as it is found: cut off, changed, or of somebody else."""

from __future__ import annotations

import json

import pytest

from search.study import access_log


@pytest.mark.parametrize(
    "line", ["7", "[1, 2]", '"text"', "null", "{", "[" * 100_000, '{"figures_of": "x"}', '{"figures_of": 9}', "\udcff"]
)
def test_a_line_that_is_no_entry_keeps_nobody_from_reading_the_others(tmp_path, line):
    whole = {"when": "now", "what": "evaluated", "test_fingerprint": "f"}
    text = f"{json.dumps(whole)}\n{line}\n{json.dumps(whole)}\n"
    (tmp_path / access_log.NAME).write_text(text, encoding="utf-8", errors="surrogateescape")
    found = access_log.read(tmp_path)
    assert found.count(whole) == 2
    assert len(found) in {2, 3}  # what may have been an evaluation counts
