"""Sites take turns, and a trial gains nothing by the site that it happened to hold out."""

import math

import pytest

from xraytune.evaluation.sites.held_out_sites import compared, easier, turn


def test_sites_take_turns():
    assert [turn(("a", "b", "c"), n) for n in range(7)] == ["a", "b", "c", "a", "b", "c", "a"]


def test_a_configuration_is_as_good_whichever_site_it_holds_out():
    worth = {0: 0.1, 1: 0.2, 2: 0.3, 3: 0.1, 4: 0.2, 5: 0.3}
    sites = {n: "hard" if n < 3 else "easy" for n in worth}
    seen = {n: w + (0.5 if sites[n] == "easy" else 0.0) for n, w in worth.items()}
    fair = compared(seen, sites)
    for first, second in ((0, 3), (1, 4), (2, 5)):
        assert fair[first] == pytest.approx(fair[second])
    assert fair[2] > fair[1] > fair[0]
    assert easier(seen, sites)["easy"] == pytest.approx(0.25)


def test_without_sites_nothing_is_taken_off_and_what_is_not_known_counts_nowhere():
    seen = {0: 0.4, 1: math.nan, 2: 0.9}
    assert compared(seen, {})[2] == 0.9
    assert math.isnan(compared(seen, {0: "", 1: "", 2: ""})[1])
    assert easier({0: math.nan}, {0: "a"}) == {}
    assert easier({0: 0.4, 1: math.nan, 2: 0.6}, {0: "a", 1: "a", 2: "b"}) == pytest.approx({"a": -0.1, "b": 0.1})
