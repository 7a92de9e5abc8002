"""A trial judged on views: what it looks at, what it costs, and that a shortcut shows."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest

import spaces
from xraytune.records import TrialConfig
from xraytune.training import epoch_evaluation
from xraytune.training.inputs.trial_data import TrialData, with_views
from xraytune.training.trainer import Trainer


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Noise with a bright bar at one side or the other: all that there is to learn is a marker at the border."""
    rng = np.random.default_rng(0)
    labels = np.tile(np.array([0, 1], np.int32), 120)
    images = rng.normal(110, 20, (240, 28, 28, 1))
    images[labels == 1, :, :2] += 90
    images[labels == 0, :, -2:] += 90
    return TrialData(
        pools={28: np.clip(images, 0, 255).astype(np.uint8)},
        labels=labels,
        patients=np.arange(240).astype(str),
        train=np.arange(160),
        validation=np.arange(160, 240),
        classes=("normal", "ill"),
        positive=1,
        channels=1,
        fingerprint="marker",
        cache=tmp_path_factory.mktemp("cache"),
    )


VALUES = {"family": "dense", "dense/image_size": 28, "learning_rate": 0.001, "batch_size": 16, "epochs": 8}


@pytest.fixture(scope="module")
def space():
    return spaces.get("smoke", spaces.SpaceContext(classes=2, channels=1, counts=(80, 80), images=160))


def trained(space, data, **changes):
    training = Trainer(space, TrialConfig("dense", VALUES, 1), data, **changes)
    while not training.done:
        training.step()
    return training, training.finish()


def test_a_shortcut_costs_the_robust_value_what_it_can_not_cost_the_clean_one(space, data):
    training, result = trained(space, with_views(data, 0), objective="robust")
    assert result.metrics["val_auc"] > 0.97
    assert result.value == result.metrics["robust"] < result.metrics["view_clean"] - 0.05
    assert result.metrics["view_edges covered"] < result.metrics["view_clean"] - 0.1
    names = [v.name for v in training.data.views]
    assert list(training.view_predictions) == names
    assert {p.shape for p in training.view_predictions.values()} == {(len(training.view_positions), 2)}


def test_views_are_looked_at_at_rungs_and_at_the_end_and_every_epoch_on_the_clean_images(space, data):
    training = Trainer(space, TrialConfig("dense", VALUES, 1), with_views(data, 0), objective="robust")
    reports = []
    while not training.done:
        reports.append(training.step())
    assert [r.epoch for r in reports if r.judged] == [e for e in (1, 3, 9) if e <= len(reports)]
    assert [r.epoch for r in reports if "robust" in r.metrics] == [r.epoch for r in reports if r.judged]
    assert all(r.metrics["val_balanced_f_beta"] > 0.8 for r in reports)
    assert reports[0].standing == reports[0].metrics["robust"]
    assert reports[1].value == reports[0].value  # as it was last measured
    result = training.finish()
    assert result.value == result.metrics["robust"]
    assert [row["value"] for row in result.curve] == [row["val_balanced_f_beta"] for row in result.curve]


def test_a_rung_judges_the_weights_that_would_be_restored_and_leaves_the_training_as_it_was(space, data):
    viewed = with_views(data, 0)
    training = Trainer(space, TrialConfig("dense", VALUES, 1), viewed, objective="robust")
    for _ in range(3):
        report = training.step()
    best, _ = training._course.restored()
    kept = [np.array(w) for w in training.shell.get_weights()]
    training.shell.set_weights(best)

    def of_view(pool, rows):
        return training._predict(training.images.of_view(pool, rows, training._judge.views().key), rows)

    score, _ = training._judge.look(of_view, 2)
    assert score.value == pytest.approx(report.standing)
    training.shell.set_weights(kept)
    clean, _ = trained(space, viewed, objective="clean")
    assert clean.curve[2]["loss"] == pytest.approx(report.metrics["loss"], rel=1e-4)


def test_a_trial_goes_on_elsewhere_with_what_its_last_rung_said(space, data, tmp_path):
    viewed = with_views(data, 0)
    first = Trainer(space, TrialConfig("dense", VALUES, 1), viewed, objective="robust")
    first.step()
    first.save(tmp_path)
    second = Trainer(space, TrialConfig("dense", VALUES, 1), viewed, objective="robust")
    second.restore(tmp_path)
    assert second.step().value == first.step().value


def test_a_view_named_after_a_class_keeps_the_name_of_the_class(space, data):
    plain = with_views(data, 0)
    joint = dataclasses.replace(plain.views[-1], name="like COVID_19 (acute)")
    _, result = trained(space, dataclasses.replace(plain, views=(*plain.views[:-1], joint)), objective="robust")
    assert list(result.by_view) == [*(v.name for v in plain.views[:-1]), "like COVID_19 (acute)"]


def test_the_clean_objective_records_the_robust_score_beside_it(space, data):
    _, result = trained(space, with_views(data, 0), objective="clean")
    assert result.value == result.metrics["val_f_beta"]
    assert 0 < result.metrics["robust"] < 1


def test_the_objective_changes_no_weight(space, data):
    viewed = with_views(data, 0)
    clean, robust = (trained(space, viewed, objective=o)[0] for o in ("clean", "robust"))
    first = [np.asarray(row["loss"]) for row in clean.curve]
    assert np.allclose(first, [row["loss"] for row in robust.curve][: len(first)])


def test_a_trial_whose_time_is_up_keeps_what_its_epochs_said(space, data):
    training = Trainer(space, TrialConfig("dense", VALUES, 1), with_views(data, 0), objective="robust")
    report = training.step()
    training.clock.deadline = time.monotonic() - 1
    assert training.finish().value == report.value
    assert not training.view_predictions


def test_the_same_data_and_seed_plan_the_same_views(data):
    assert with_views(data, 3).views == with_views(data, 3).views


def test_views_are_planned_without_the_validation_images(data):
    changed = data.pools[28].copy()
    changed[data.validation] = 0
    assert with_views(data, 0).views == with_views(dataclasses.replace(data, pools={28: changed}), 0).views


def test_robust_without_views_is_refused(space, data):
    with pytest.raises(ValueError, match="with_views"):
        Trainer(space, TrialConfig("dense", VALUES, 1), data, objective="robust")


def test_views_are_drawn_once_and_kept(data):
    viewed = with_views(data, 0)
    kept = [
        epoch_evaluation.draw(
            data.pools[28],
            data.validation,
            data.labels,
            viewed.views,
            per_class=5,
            fingerprint="marker",
            cache=data.cache,
        )
        for _ in range(2)
    ]
    files = list((data.cache / "views").glob(f"{kept[0].key[:32]}*.npy"))
    assert len(files) == 1
    assert np.array_equal(kept[0].pool, kept[1].pool)
    clean = kept[0].pool[: len(kept[0].labels)]
    assert np.array_equal(clean, data.pools[28][data.validation][kept[0].positions])


@pytest.mark.parametrize(("trained_on", "shown"), [(5000, 12), (1000, 12), (300, 9)])
def test_views_at_rungs_cost_at_most_a_tenth_of_the_training_steps(trained_on, shown):
    each = epoch_evaluation.per_rung(trained_on, shown, 2, most=10**6)
    assert each * shown * 2 <= 0.1 * epoch_evaluation.STEP_COST * trained_on or each == 10
