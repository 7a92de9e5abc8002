"""A trial: it learns, reports, resumes, stops in time, and ends every misfortune in a named error."""

import dataclasses
import math
import pickle
import time
from pathlib import Path

import keras
import keras_tuner
import numpy as np
import pytest

from tests.inputs.made_networks import config, space, trial_data
from xraytune import errors
from xraytune.errors import FatalError, TrialError
from xraytune.records import FailureCause, TrialResult
from xraytune.training.inputs import batches
from xraytune.training.trainer import Trainer


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return trial_data(tmp_path_factory.mktemp("cache"))


def smoke(**values):
    return config(space("smoke"), **values)


def run(training):
    reports = [training.step()]
    while not training.done:
        reports.append(training.step())
    return reports


def test_a_trial_learns_and_reports_every_epoch(data):
    training = Trainer(space("smoke"), smoke(family="dense"), data)
    reports = run(training)
    assert [r.epoch for r in reports] == [1, 2, 3]
    assert [r.done for r in reports] == [False, False, True]
    result = training.finish()
    assert result.value > 0.9
    assert {"val_auc", "val_sensitivity", "val_specificity", "val_loss", "loss"} <= set(reports[0].metrics)
    assert {"build", "train", "validate"} <= set(result.seconds)
    assert {"best_threshold", "f_beta_best_threshold"} <= set(result.metrics)
    assert result.versions["keras"] == keras.__version__
    assert result.peak_memory_mb > 100
    assert TrialResult.from_json(result.to_json()).value == result.value


def test_the_model_takes_images_and_holds_the_best_epochs_weights(data):
    training = Trainer(space("smoke"), smoke(family="cnn", augmentation="light"), data)
    run(training)
    result = training.finish()
    size = training.model.input_shape[1]
    images = data.pools[size][data.validation]
    np.testing.assert_allclose(training.model.predict(images, verbose=0), training.validation_predictions(), atol=1e-5)
    assert training.validation_predictions().shape == (len(data.validation), 2)
    assert result.value == result.curve[result.best_epoch - 1]["value"]


def test_the_same_seed_repeats_a_trial_and_another_does_not(data):
    def losses(seed):
        return [r.metrics["loss"] for r in run(Trainer(space("smoke"), smoke(family="cnn", seed=seed), data))]

    assert losses(3) == losses(3) != losses(4)


def test_a_trial_that_lost_its_worker_goes_on_where_it_was(data, tmp_path):
    point = smoke(family="cnn", augmentation="light", head__dropout=0.2)
    whole = [r.metrics["loss"] for r in run(Trainer(space("smoke"), point, data))]
    first = Trainer(space("smoke"), point, data)
    first.step()
    first.save(tmp_path / "checkpoint")
    second = Trainer(space("smoke"), point, data)
    second.restore(tmp_path / "checkpoint")
    rest = run(second)
    assert [r.epoch for r in rest] == [2, 3]
    np.testing.assert_allclose([r.metrics["loss"] for r in rest], whole[1:], rtol=1e-4)
    assert second.finish().epochs == 3


def test_three_classes_are_judged_without_a_positive_one(tmp_path):
    training = Trainer(space("smoke", classes=3), smoke(family="dense"), trial_data(tmp_path, classes=3))
    run(training)
    assert training.finish().value > 0.6
    assert training.validation_predictions().shape[1] == 3


def test_a_refit_without_validation_keeps_the_last_epoch(data):
    everything = dataclasses.replace(data, train=np.arange(96), validation=np.arange(0))
    training = Trainer(space("smoke"), smoke(family="dense"), everything)
    assert len(run(training)) == 3
    assert training.finish().best_epoch == 3


def test_max_epochs_bounds_the_plan(data):
    assert len(run(Trainer(space("smoke"), smoke(family="dense"), data, max_epochs=1))) == 1


def test_early_stopping_ends_a_trial_that_no_longer_improves(data):
    light = space(families=("dense",))
    point = config(light, family="dense", dense__image_size=28, epochs=30, patience=3, learning_rate=1e-2)
    reports = run(Trainer(light, point, data))
    assert len(reports) < 30
    assert reports[-1].done


def test_an_epoch_of_a_share_cycles_through_all_images(data):
    seen = np.concatenate([batches.epoch_order(10, 4, e, seed=1) for e in range(1, 6)])
    assert sorted(seen) == sorted(list(range(10)) * 2)
    np.testing.assert_array_equal(batches.epoch_order(10, 4, 3, seed=1), batches.epoch_order(10, 4, 3, seed=1))


def test_a_few_images_are_gone_through_several_times_an_epoch(monkeypatch):
    monkeypatch.setattr(batches, "LEAST_EPOCH", 1500)
    sizes = [batches.epoch_size(n, share) for n, share in ((10, 0), (5000, 0), (5000, 300), (10, 300))]
    assert sizes == [1500, 5000, 300, 300]
    seen = np.bincount(batches.epoch_order(10, 25, 1, seed=1), minlength=10)
    assert seen.sum() == 25
    assert seen.max() - seen.min() == 1


def test_time_that_is_up_ends_with_the_last_whole_epoch(data):
    training = Trainer(space("smoke"), smoke(family="dense"), data)
    first = training.step()
    training.clock.deadline = time.monotonic() - 1
    again = training.step()
    assert again.done
    assert training.done
    assert (again.epoch, again.value) == (first.epoch, first.value)
    assert training.finish().epochs == 1


def test_time_that_is_up_before_one_epoch_is_an_interruption(data):
    training = Trainer(space("smoke"), smoke(family="dense"), data, deadline=time.monotonic() - 1)
    with pytest.raises(TrialError) as caught:
        training.step()
    assert caught.value.cause is FailureCause.INTERRUPTED


def failure(hypermodel, point, data):
    with pytest.raises(TrialError) as caught:
        run(Trainer(hypermodel, point, data))
    return caught.value


class TestMisfortunes:
    def test_a_diverging_rate_is_nan(self, data):
        point = smoke(family="cnn")
        wild = dataclasses.replace(point, values={**point.values, "learning_rate": 1e30})
        assert failure(space("smoke"), wild, data).cause is FailureCause.NAN

    def test_a_batch_larger_than_the_data_is_a_bad_configuration(self, data):
        few = dataclasses.replace(data, train=np.arange(10))
        error = failure(space("smoke"), smoke(family="dense"), few)
        assert error.cause is FailureCause.BAD_CONFIG
        assert "batch of 16" in error.message

    def test_one_image_in_a_class_is_a_bad_configuration(self, data):
        lonely = dataclasses.replace(data, train=np.r_[np.arange(0, 72, 2), 1])
        error = failure(space("smoke"), smoke(family="dense"), lonely)
        assert error.cause is FailureCause.BAD_CONFIG
        assert "class 1 has 1 training images" in error.message

    def test_images_that_are_not_there_in_its_size(self, data):
        few = dataclasses.replace(data, pools={64: data.pools[48]})
        error = failure(space("smoke"), smoke(family="dense"), few)
        assert error.cause is FailureCause.BAD_CONFIG
        assert "at 64 px" in error.message

    @pytest.mark.parametrize(
        ("raised", "cause"),
        [
            (MemoryError("no memory"), FailureCause.OOM),
            (RuntimeError("RESOURCE_EXHAUSTED: out of memory"), FailureCause.OOM),
            (ValueError("negative dimension"), FailureCause.BAD_CONFIG),
            (KeyError("odd"), FailureCause.ERROR),
        ],
    )
    def test_whatever_a_network_raises_has_a_cause(self, data, raised, cause):
        class Broken(keras_tuner.HyperModel):
            def build(self, hp):
                raise raised

        error = failure(Broken(), smoke(family="dense"), data)
        assert error.cause is cause
        assert pickle.loads(pickle.dumps(error)).message == error.message


def test_a_full_disk_behind_whatever_a_library_makes_of_it_is_no_fault_of_the_trial():
    with pytest.raises(FatalError, match="No space left"), errors.named(), Path("/dev/full").open("wb") as full:
        np.savez(full, weights=np.ones(10_000))


@pytest.mark.parametrize("outputs", [1, 2])
def test_a_foreign_network_trains_with_its_own_loss_and_rate(data, outputs):
    class Foreign(keras_tuner.HyperModel):
        def build(self, hp):
            x = start = keras.Input((28, 28, 1))
            x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(x))
            x = keras.layers.Dense(outputs, activation="sigmoid" if outputs == 1 else "softmax")(x)
            network = keras.Model(start, x)
            loss = "binary_crossentropy" if outputs == 1 else "sparse_categorical_crossentropy"
            network.compile(keras.optimizers.Adam(0.02), loss, jit_compile=False)
            return network

    from xraytune.records import TrialConfig

    training = Trainer(Foreign(), TrialConfig("foreign", {"batch_size": 8}, 1), data, max_epochs=4)
    run(training)
    assert training.plan.learning_rate == pytest.approx(0.02)
    assert training.finish().metrics["val_auc"] > 0.9
    assert math.isfinite(training.finish().value)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras 3.15 when it saves
def test_a_network_trained_in_bfloat16_is_saved_in_float32_and_answers_the_same(data, tmp_path):
    held = space("smoke", narrowed={"precision": ("bfloat16",)})
    point = config(held, family="cnn", cnn__normalization="standardized")
    training = Trainer(held, point, data, max_epochs=2)
    assert training.plan.precision == "bfloat16"
    assert {layer.compute_dtype for layer in training.model.layers} == {"bfloat16", "float32"}
    run(training)
    assert training.finish().metrics["val_auc"] > 0.9
    training.model.save(tmp_path / "model.keras")
    saved = keras.models.load_model(tmp_path / "model.keras")
    assert {layer.compute_dtype for layer in saved.layers} == {"float32"}
    images = data.pools[saved.input_shape[1]][data.validation]
    answers = saved.predict_on_batch(images)
    np.testing.assert_allclose(answers, training.model.predict_on_batch(images), atol=1e-6)
    np.testing.assert_allclose(answers, training.validation_predictions(), atol=2e-2)
    assert keras.config.dtype_policy().name == "float32"


def test_the_networks_prediction_is_timed_where_an_objective_asks_for_it(data):
    full = space("smoke")
    small = config(full, family="dense", epochs=1)
    training = Trainer(full, small, data)
    training.step()
    assert 0 < training.finish(timed=True).metrics["inference_ms"] < 1000
    training = Trainer(full, small, data)
    training.step()
    assert "inference_ms" not in training.finish().metrics
