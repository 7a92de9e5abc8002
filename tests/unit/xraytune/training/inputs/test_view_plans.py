"""The plan of the shifted views is made once for the same images, and anew for others."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from tests.inputs.made_networks import trial_data
from xraytune.training.inputs import shifted_views
from xraytune.training.inputs import trial_data as trial_data_module
from xraytune.training.inputs.trial_data import with_views


@pytest.fixture
def planned(monkeypatch):
    """One entry for each time that views are planned."""
    real, times = shifted_views.plan_views, []
    monkeypatch.setattr(shifted_views, "plan_views", lambda *a, **k: times.append(1) or real(*a, **k))
    return times


def test_views_are_planned_once_for_the_same_images_and_seed(tmp_path, planned):
    data = trial_data(tmp_path)
    first, again = with_views(data, 3), with_views(data, 3)
    assert first.views == again.views
    assert len(first.views) > 1
    assert len(planned) == 1


def test_other_images_rows_and_seeds_are_planned_anew(tmp_path, planned):
    data = trial_data(tmp_path)
    with_views(data, 3)
    with_views(data, 4)
    with_views(dataclasses.replace(data, train=data.train[:-8]), 3)
    with_views(dataclasses.replace(data, fingerprint="other"), 3)
    pools = {size: 255 - np.asarray(np.load(p) if hasattr(p, "name") else p) for size, p in data.pools.items()}
    with_views(dataclasses.replace(data, pools=pools), 3)
    assert len(planned) == 5


@pytest.mark.parametrize("damage", ["", "{}", '{"views": [{"name": "x", "kind": "nothing", "amount": 1.0}]}'])
def test_a_damaged_plan_is_made_again(tmp_path, planned, damage):
    data = trial_data(tmp_path)
    before = with_views(data, 3)
    [file] = (data.cache / "view-plans").iterdir()
    file.write_text(damage)
    assert with_views(data, 3).views == before.views
    assert len(planned) == 2


@pytest.mark.parametrize("module", ["shifted_views", "view_transforms", "image_properties"])
def test_a_plan_of_other_code_is_made_again(tmp_path, planned, monkeypatch, module):
    data = trial_data(tmp_path)
    with_views(data, 3)
    one = getattr(trial_data_module, module)
    other = tmp_path / "other.py"
    other.write_text(Path(one.__file__).read_text() + "\n")
    monkeypatch.setattr(one, "__file__", str(other))
    with_views(data, 3)
    assert len(planned) == 2
