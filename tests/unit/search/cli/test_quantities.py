"""Durations and sizes as they are typed: numbers that something can last or take, or one message."""

from __future__ import annotations

import pytest

from search.cli import quantities
from xraytune.errors import InputError


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("1h30m", 5400), ("1.5h", 5400), ("7", 7), (2.5, 2.5)])
def test_a_length_of_time_is_seconds(text, seconds):
    assert quantities.duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "nan", "1x", "9" * 400, f"{'9' * 400}h", "200000d", 1e300, float("inf")]
)
def test_what_nothing_can_last_is_refused(text):
    with pytest.raises(InputError, match="not a duration"):
        quantities.duration(text)


@pytest.mark.parametrize("text", ["", "0", "-1", "inf", "1x", "9" * 400, f"{'9' * 400}GB", "99999999TB"])
def test_what_nothing_can_take_is_refused(text):
    with pytest.raises(InputError, match="not a size"):
        quantities.size(text, "--cache-limit")
