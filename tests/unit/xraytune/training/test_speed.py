"""What trials of earlier searches say of this machine, and what is made of it."""

import json

import pytest

from tests.made_networks import config, space
from tests.made_studies import result
from xraytune import hardware
from xraytune.models.cost import EFFICIENCY, STEP_SECONDS, cost
from xraytune.training import speed
from xraytune.training.inputs.batches import epoch_size
from xraytune.training.optimization.settings import TrainingSettings
from xraytune.training.speed import Trained


def trained(rate, *, family="cnn", epochs=10, images=4000, precision="float32"):
    """A trial that trained at a rate of one core."""
    narrowed = {"precision": (precision,)}
    point = config(space(narrowed=narrowed), family=family, **{f"{family}__image_size": 64})
    each, plan = cost(point.values), TrainingSettings.of(point.values)
    epoch = epoch_size(images, plan.epoch_images)
    steps = epochs * max(epoch // plan.batch_size, 1)
    seconds = each.trace + steps * STEP_SECONDS + epochs * epoch * each.train / (rate * EFFICIENCY[family])
    return Trained(point, _with(result(0.5), epochs=epochs, seconds={"train": seconds, "build": 3.0}))


def _with(made, **changes):
    import dataclasses

    return dataclasses.replace(made, **changes)


def test_a_rate_is_the_median_of_a_searchs_trials_by_precision(tmp_path):
    speed.remember([trained(r) for r in (1e10, 2e10, 9e10)], 4000, 1, tmp_path)
    assert speed.rates(tmp_path) == {"float32": pytest.approx(2e10)}
    speed.remember([trained(3e10, precision="bfloat16")], 4000, 1, tmp_path)
    assert speed.rates(tmp_path) == {"float32": pytest.approx(2e10), "bfloat16": pytest.approx(3e10)}


def test_a_search_on_a_busy_machine_does_not_make_the_machine_slower(tmp_path):
    speed.remember([trained(2e10)], 4000, 1, tmp_path)
    speed.remember([trained(5e9)], 4000, 1, tmp_path)
    assert speed.rates(tmp_path) == {"float32": pytest.approx(2e10)}


def test_threads_share_the_rate_and_other_families_and_short_trials_say_nothing(tmp_path):
    speed.remember([trained(1e10, family="dense"), trained(1e13, epochs=1)], 4000, 1, tmp_path)
    assert speed.rates(tmp_path) == {}
    speed.remember([trained(2e10)], 4000, 2, tmp_path)
    assert speed.rates(tmp_path) == {"float32": pytest.approx(1e10)}


def test_a_family_of_a_users_own_with_the_same_name_says_nothing(tmp_path):
    one = trained(2e10)
    own = _with(one.config, values={"family": "cnn", "filters": 3})
    speed.remember([Trained(own, one.result)], 4000, 1, tmp_path)
    assert speed.rates(tmp_path) == {}


@pytest.mark.parametrize("damaged", ["", "[1]", json.dumps({"float32": "fast"}), json.dumps({"float32": -1})])
def test_a_damaged_file_is_as_none(tmp_path, damaged):
    speed.remember([trained(2e10)], 4000, 1, tmp_path)
    [file] = tmp_path.iterdir()
    file.write_text(damaged)
    assert speed.rates(tmp_path) == {}


def test_bfloat16_is_faster_by_measurement_else_by_the_processor(monkeypatch):
    monkeypatch.setattr(hardware, "instructions", lambda: frozenset({"amx_bf16"}))
    assert speed.bfloat16_is_faster({})
    assert speed.bfloat16_is_faster({"float32": 1e9})
    assert not speed.bfloat16_is_faster({"float32": 1e9, "bfloat16": 1.04e9})
    monkeypatch.setattr(hardware, "instructions", lambda: frozenset({"avx2"}))
    assert not speed.bfloat16_is_faster({"bfloat16": 1e9})
    assert speed.bfloat16_is_faster({"float32": 1e9, "bfloat16": 1.06e9})
