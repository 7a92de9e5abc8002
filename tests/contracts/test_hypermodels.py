"""KerasTuner's own tuners run our HyperModels unchanged, and every HyperModel keeps the same promises."""

import keras
import keras_tuner
import numpy as np
import pytest

from tests.inputs.made_networks import config, space, trial_data
from xraytune import models
from xraytune.training.optimization.fitting import resized
from xraytune.training.trainer import Trainer

# KerasTuner 1.4.8 and Keras 3.15 call what Python 3.11 and NumPy 2 have deprecated
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

FAMILIES = tuple(family for family in space().families if family != "densenet")
"""Those that need no weights and start within seconds."""

SPACES = {
    "smoke": {},
    "chest_xray": {"families": FAMILIES, "narrowed": {f"{f}/image_size": models.SIZES[f][:1] for f in FAMILIES}},
}


@pytest.fixture(params=SPACES)
def hypermodel(request):
    return space(request.param, **SPACES[request.param])


@pytest.fixture
def radiographs(tmp_path):
    data = trial_data(tmp_path, n=64, sizes=(28,))
    return data.pools[28].astype(np.float32), data.labels


def tuner(kind, hypermodel, folder):
    common = {"objective": "val_accuracy", "directory": folder, "overwrite": True, "seed": 1}
    if kind == "random":
        return keras_tuner.RandomSearch(hypermodel, max_trials=2, **common)
    return keras_tuner.Hyperband(hypermodel, max_epochs=2, factor=2, **common)


@pytest.mark.filterwarnings("ignore:Skipping variable loading for optimizer")  # Keras builds it with the first step
@pytest.mark.parametrize(
    ("kind", "augmentation"),
    [
        ("random", "medium"),
        *(pytest.param(*p, marks=pytest.mark.long) for p in (("random", "none"), ("hyperband", "medium"))),
    ],
)
def test_kerastuners_own_tuners_run_it_and_give_its_best_network_back(kind, augmentation, radiographs, tmp_path):
    x, y = radiographs
    narrowed = {"augmentation": (augmentation,), "shape_jitter": ("none",), "flip": (False,)}
    families = ("dense",) if kind == "hyperband" else FAMILIES
    search = tuner(
        kind,
        space(
            "chest_xray",
            **SPACES["chest_xray"] | {"families": families, "narrowed": SPACES["chest_xray"]["narrowed"] | narrowed},
        ),
        tmp_path,
    )
    search.search(x, y, validation_data=(x[:16], y[:16]), epochs=1, verbose=0)
    best = search.get_best_hyperparameters()[0]
    assert best.get("family") in families
    trial = search.oracle.get_best_trials()[0]
    network = search.get_best_models(1)[0]
    _, accuracy = network.evaluate(resized(x[:16], network), np.eye(2)[y[:16]], verbose=0)
    assert accuracy == pytest.approx(trial.score)


def test_declaring_builds_nothing_and_can_be_repeated(hypermodel, monkeypatch):
    monkeypatch.setattr(keras.Model, "__init__", lambda *_, **__: pytest.fail("a network was built"))
    hp = keras_tuner.HyperParameters()
    hypermodel.declare_hyperparameters(hp)
    before = len(hp.space)
    hypermodel.declare_hyperparameters(hp)
    assert len(hp.space) == before > 5


def test_conditions_stand_on_parameters_declared_before(hypermodel):
    hp = keras_tuner.HyperParameters()
    hypermodel.declare_hyperparameters(hp)
    seen = set()
    for p in hp.space:
        assert {condition.name for condition in p.conditions} <= seen
        seen.add(p.name)


def test_what_it_builds_is_compiled_takes_pixels_and_ends_in_a_softmax(hypermodel):
    for family in hypermodel.families:
        hp = keras_tuner.HyperParameters()
        hp.values = dict(config(hypermodel, family=family).values)
        network = hypermodel.build(hp)
        assert network.compiled
        size = network.input_shape[1]
        pixels = np.random.default_rng(0).integers(0, 255, (4, size, size, 1)).astype(np.uint8)
        np.testing.assert_allclose(network.predict_on_batch(pixels).sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_trial_of_every_family_trains(family, tmp_path):
    size = models.SIZES[family][0]
    values = {f"{family}__image_size": size, "batch_size": 16, "crop": "none"} if family != "linear" else {}
    hypermodel = space(families=(family,))
    data = trial_data(tmp_path, sizes=(size,))
    report = Trainer(hypermodel, config(hypermodel, **values), data, max_epochs=1).step()
    assert report.done
    assert np.isfinite(report.value)


@pytest.mark.parametrize("kind", ["random", "hyperband"])
def test_kerastuners_own_tuners_solve_the_linear_family(kind, tmp_path):
    data = trial_data(tmp_path, n=64, sizes=(64,))
    x, y = data.pools[64].astype(np.float32), data.labels
    search = tuner(kind, space("chest_xray", families=("linear",)), tmp_path)
    search.search(x[16:], y[16:], validation_data=(x[:16], y[:16]), epochs=1, verbose=0)
    assert search.oracle.get_best_trials()[0].score == 1.0  # gradient steps of rate 0 alone would leave it at chance


def test_its_fit_warms_the_rate_and_stops_early(radiographs):
    x, y = radiographs
    hypermodel = space(families=("cnn",))
    hp = keras_tuner.HyperParameters()
    hp.values = {"family": "cnn", "cnn/image_size": 28, "schedule": "cosine", "augmentation": "light", "batch_size": 16}
    network = hypermodel.build(hp)
    history = hypermodel.fit(hp, network, x, y, validation_data=(x, y), epochs=2, verbose=0)
    assert len(history.history["val_loss"]) == 2


def test_a_saved_network_loads_without_our_code(tmp_path, hypermodel):
    hp = keras_tuner.HyperParameters()
    hp.values = {"family": "cnn", "cnn/normalization": "standardized"}
    network = hypermodel.build(hp)
    network.save(tmp_path / "network.keras")
    again = keras.saving.load_model(tmp_path / "network.keras", compile=False, safe_mode=True)
    pixels = np.full((2, *network.input_shape[1:]), 90, np.uint8)
    np.testing.assert_allclose(again.predict_on_batch(pixels), network.predict_on_batch(pixels), atol=1e-6)
