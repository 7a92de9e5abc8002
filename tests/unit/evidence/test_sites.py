"""The evidence on sites: made sites differ as asked, a seed is kept, and the table counts what holds."""

import numpy as np
import pytest

from tests.evidence import sites
from tests.inputs import made_sites


def test_sites_of_no_spread_are_one_and_of_a_spread_differ():
    same, apart = made_sites.draw_sites(3, 2, spread=0.0), made_sites.draw_sites(3, 2)
    pixels = next(made_sites.drawn("A", 0, 1))[1]
    assert np.array_equal(*(made_sites.taken_at(site, pixels, 5) for site in same))
    first, second = (made_sites.taken_at(site, pixels, 5).astype(float) for site in apart)
    assert abs(first - second).mean() > 5
    assert first.shape == pixels.shape


def test_sites_have_other_patients():
    one, other = ({i.patient_seed for i, _ in made_sites.drawn(name, 0, 3, size=24)} for name in "AB")
    assert not one & other


def test_a_seed_that_is_there_is_not_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr(sites, "PATIENTS", 12)
    monkeypatch.setattr(sites, "MANY", 12)
    monkeypatch.setattr(sites, "SPREADS", (1.0,))
    (first,) = sites._kept(0, tmp_path)
    assert len(first["known"]["auc"]) == sites.KNOWN
    assert first["predicted"]["auc"][1] < first["predicted"]["auc"][2]
    monkeypatch.setattr(sites, "study", lambda seed: pytest.fail("made again"))
    assert sites._kept(0, tmp_path) == [first]


def row(low, high, truth):
    return {
        "spread": 1.0, "predicted": {f: [0.8, low, high] for f in ("auc", "sensitivity", "specificity")},
        "truth": dict.fromkeys(("auc", "sensitivity", "specificity"), truth),
    }  # fmt: skip


def test_the_table_counts_the_intervals_that_hold_the_truth(tmp_path):
    rows = [row(0.7, 0.9, 0.8), row(0.7, 0.8, 0.9), row(0.6, 0.9, 0.9), row(0.7, 0.9, 0.75)]
    found = sites.summary(rows)[0]
    assert (found["seeds"], found["holds"], found["width"]) == (4, 0.75, pytest.approx(0.2))
    (tmp_path / "page.md").write_text("before <!-- sites --> stale text <!-- end sites --> after")
    sites.write(rows, tmp_path / "page.md")
    text = (tmp_path / "page.md").read_text()
    assert "| much | ROC AUC | 4 | 75 % | 0.200 |" in text
    assert text.startswith("before")
    assert text.endswith("after")
    assert "stale" not in text


def test_the_page_has_a_place_for_the_table():
    text = sites.PAGE.read_text(encoding="utf-8")
    assert text.index("<!-- sites -->") < text.index("<!-- end sites -->")
