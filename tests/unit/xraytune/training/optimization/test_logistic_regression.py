"""The linear family: its graph is scikit-learn's model, its one epoch is a trial like any other."""

from __future__ import annotations

import dataclasses
import time

import keras
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tests.inputs.made_networks import config, space, trial_data
from xraytune.errors import TrialError
from xraytune.inference import grad_cam
from xraytune.records import FailureCause
from xraytune.training.inputs.trial_data import with_views
from xraytune.training.optimization import logistic_regression
from xraytune.training.trainer import Trainer


def noisy(tmp_path, **changes):
    """Images whose classes overlap, two of each patient."""
    data = trial_data(tmp_path, sizes=(64,), **changes)
    rng = np.random.default_rng(3)
    pool = data.pools[64].astype(np.int32) // 4 + rng.integers(0, 190, (len(data.labels), 1, 1, 1))
    pool[::7, :32] += 60
    patients = (np.arange(len(data.labels)) // 4 * 2 + data.labels % 2).astype(str)
    return dataclasses.replace(data, pools={64: np.clip(pool, 0, 255).astype(np.uint8)}, patients=patients)


def trained(data, **options):
    linear = space(families=("linear",), classes=len(data.classes), channels=data.channels)
    training = Trainer(linear, config(linear, family="linear"), data, **options)
    return training, training.step()


@pytest.mark.parametrize(("classes", "channels"), [(2, 1), (3, 1), (2, 3), (4, 3)])
def test_the_network_answers_as_the_model_that_scikit_learn_fitted(tmp_path, classes, channels, monkeypatch):
    monkeypatch.setattr(logistic_regression, "PENALTIES", (1e-2,))
    data = noisy(tmp_path, classes=classes, channels=channels)
    training, _ = trained(data)
    pool = data.pools[64].astype(np.float64) / 255
    middle, spread = pool.mean(axis=(1, 2, 3), keepdims=True), pool.var(axis=(1, 2, 3), keepdims=True)
    cells = ((pool - middle) / np.sqrt(spread + 1e-4)).reshape(len(pool), 16, 4, 16, 4, channels).mean(axis=(2, 4))
    features = cells.reshape(len(pool), -1)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1e-2, class_weight="balanced", max_iter=500))
    model.fit(features[data.train], data.labels[data.train])
    network = training.model.predict_on_batch(data.pools[64])
    np.testing.assert_allclose(network, model.predict_proba(features), atol=2e-3)
    assert network.max(axis=1).std() > 0.02  # answers differ between images


def test_its_one_epoch_ends_the_trial_and_is_judged_over_the_views(tmp_path):
    data = with_views(noisy(tmp_path), 0)
    training, report = trained(data, objective="robust")
    result = training.finish()
    assert report.done
    assert report.judged
    assert (result.epochs, result.best_epoch) == (1, 1)
    assert set(training.view_predictions) == {view.name for view in data.views}
    assert result.value == pytest.approx(result.metrics["robust"])
    assert result.parameters == 2 * 256 + 2


def test_the_epoch_after_the_solution_changes_nothing(tmp_path, monkeypatch):
    found = []
    real = logistic_regression.fit
    monkeypatch.setattr(logistic_regression, "fit", lambda *a, **k: found.append(real(*a, **k)) or found[-1])
    training, _ = trained(noisy(tmp_path))
    training.finish()
    kernel, bias = training.model.layers[-1].get_weights()
    np.testing.assert_array_equal(kernel, found[0][0])
    np.testing.assert_array_equal(bias, found[0][1])


def test_the_same_seed_gives_the_same_network_and_a_restored_one_goes_on_as_it_was(tmp_path):
    data = noisy(tmp_path)
    first, report = trained(data)
    second, again = trained(data)
    np.testing.assert_array_equal(first.validation_predictions(), second.validation_predictions())
    assert again.value == report.value
    first.save(tmp_path / "kept")
    linear = space(families=("linear",))
    other = Trainer(linear, config(linear, family="linear"), data)
    other.restore(tmp_path / "kept")
    assert other.done
    assert other.finish().value == first.finish().value
    np.testing.assert_array_equal(other.model.layers[-1].get_weights()[0], first.model.layers[-1].get_weights()[0])


def test_it_is_retrained_on_everything_without_validation_images(tmp_path):
    data = noisy(tmp_path)
    everything = dataclasses.replace(data, train=np.arange(len(data.labels)), validation=np.arange(0))
    training, report = trained(everything)
    assert report.done
    right = training.model.predict_on_batch(data.pools[64]).argmax(1) == data.labels
    assert right.mean() > 0.7


def test_a_deadline_before_the_solution_interrupts_it(tmp_path):
    with pytest.raises(TrialError) as raised:
        trained(noisy(tmp_path), deadline=time.monotonic() - 1)
    assert raised.value.cause is FailureCause.INTERRUPTED


def test_fewer_images_than_a_usual_batch_are_enough(tmp_path):
    data = noisy(tmp_path, n=24)
    _, report = trained(data)
    assert report.done
    assert np.isfinite(report.metrics["loss"])


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras, when it saves
def test_it_is_saved_and_explained_like_any_network_without_convolutions(tmp_path):
    data = noisy(tmp_path)
    training, _ = trained(data)
    images = data.pools[64][:5]
    before = training.model.predict_on_batch(images)
    training.model.save(tmp_path / "linear.keras")
    loaded = keras.models.load_model(tmp_path / "linear.keras", compile=False)
    np.testing.assert_array_equal(loaded.predict_on_batch(images), before)
    assert grad_cam.method([loaded]) == grad_cam.PIXELS
    assert grad_cam.heat_maps(loaded, images, np.ones(5, np.int32)).max() == pytest.approx(1)


def test_the_penalty_is_chosen_on_patients_who_were_not_fitted(monkeypatch):
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(60), 4)
    labels = (patients % 2).astype(np.int32)
    features = rng.normal(size=(240, 12)).astype(np.float32)
    fitted = []

    def noted(scaled, labels, penalty, check):
        fitted.append((len(scaled), penalty))
        return real(scaled, labels, penalty, check)

    real = logistic_regression._regression
    monkeypatch.setattr(logistic_regression, "_regression", noted)
    logistic_regression.fit(features, labels, patients, 2)
    assert [penalty for _, penalty in fitted[:-1]] == list(logistic_regression.PENALTIES)
    assert {count for count, _ in fitted[:-1]} == {192}  # 48 of 60 patients, with all their images
    assert fitted[-1] == (240, min(logistic_regression.PENALTIES))  # nothing to learn: the strongest penalty


@pytest.mark.parametrize("patients", [np.zeros(20), np.repeat([0, 1], 10)])
def test_with_too_few_patients_to_choose_by_the_usual_penalty_is_taken(patients):
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 10).astype(np.int32)
    features = rng.normal(size=(20, 3)).astype(np.float32) + labels[:, None]
    checked = []
    kernel, bias = logistic_regression.fit(features, labels, patients, 2, check=lambda: checked.append(1))
    assert len(checked) == 1
    assert ((features @ kernel + bias).argmax(axis=1) == labels).mean() > 0.7


def test_of_very_many_images_a_balanced_share_is_fitted(tmp_path, monkeypatch):
    monkeypatch.setattr(logistic_regression, "MOST_IMAGES", 20)
    seen = []
    real = logistic_regression.fit
    monkeypatch.setattr(logistic_regression, "fit", lambda f, y, *a, **k: seen.append(y) or real(f, y, *a, **k))
    trained(noisy(tmp_path))
    assert np.bincount(seen[0]).tolist() == [10, 10]
