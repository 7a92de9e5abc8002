"""A HyperModel that declares nothing is searched by what its `build` asks for, seen in a process of its own."""

import os
from pathlib import Path

import keras_tuner
import pytest

import spaces
from search.hyperparameters.declaration import declared_parameters, signature
from search.hyperparameters.parameter import parameters
from spaces import discovery
from xraytune.errors import InputError

NETWORK = """
import os
from pathlib import Path

import keras
import keras_tuner

HERE = Path(__file__).parent


def network(size, channels=1, outputs=2, rate=1e-3):
    with (HERE / "built").open("a") as file:
        file.write(f"{os.getpid()}\\n")
    x = start = keras.Input((size, size, channels))
    x = keras.layers.Dense(outputs, activation="softmax")(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(start, x)
    model.compile(keras.optimizers.Adam(rate), "categorical_crossentropy")
    return model

"""

BRANCHES = """
class Own(keras_tuner.HyperModel):
    def build(self, hp):
        for i in range(hp.Int("layers", 1, 3)):
            hp.Int(f"units_{i}", 8, 32, step=8)
        kind = hp.Choice("kind", ["plain", "deep"])
        with hp.conditional_scope("kind", ["deep"]):
            if kind == "deep":
                hp.Boolean("skip")
        if hp.Boolean("noisy"):
            if hp.Choice("noise", ["some", "much"]) == "much":
                hp.Float("how_much", 0.1, 0.5)
        return network(40, rate=hp.Float("learning_rate", 1e-4, 1e-2, sampling="log"))
"""


@pytest.fixture(autouse=True)
def _in_this_process(request, monkeypatch):
    """Most tests build here: a process of its own takes the seconds that a framework's import takes."""
    if "own_process" not in request.fixturenames:
        monkeypatch.setattr(discovery, "explored", lambda name, context: discovery.explore(spaces.get(name, context)))


@pytest.fixture
def own_process():
    """Asked for by tests that build where a search does."""


@pytest.fixture
def own(tmp_path):
    def one(code, name="Own"):
        (tmp_path / "own.py").write_text(NETWORK + code)
        return f"{tmp_path / 'own.py'}:{name}"

    return one


def names(space):
    return [p.name for p in declared_parameters(space.declare_hyperparameters)]


def test_what_build_asks_for_is_declared_down_to_inner_branches(own):
    space = spaces.to_search(own(BRANCHES), spaces.SpaceContext())
    units = {f"units_{i}" for i in range(3)}
    branches = {"skip", "noise", "how_much"}
    assert set(names(space)) == {"layers", "kind", "noisy", "learning_rate", "image_size"} | units | branches
    [skip] = [p for p in parameters(space.declare_hyperparameters) if p.name == "skip"]
    assert skip.conditions == (("kind", ("deep",)),)
    assert spaces.image_sizes(space) == (40,)


@pytest.mark.usefixtures("own_process")
def test_nothing_is_built_in_the_process_that_searches(own, tmp_path):
    space = spaces.to_search(own(BRANCHES), spaces.SpaceContext())
    assert "how_much" in names(space)
    assert spaces.image_sizes(space) == (40,)
    builders = set((tmp_path / "built").read_text().split())
    assert len(builders) == 1
    assert str(os.getpid()) not in builders


@pytest.mark.long
def test_the_same_space_is_found_again(own):
    first, again = (
        declared_parameters(spaces.to_search(own(BRANCHES), spaces.SpaceContext()).declare_hyperparameters)
        for _ in "ab"
    )
    assert signature(first) == signature(again)


def test_a_size_that_goes_by_another_name_becomes_the_image_size(own):
    code = "def build(hp):\n    return network({'small': 28, 'large': 48}[hp.Choice('scale', ['small', 'large'])])\n"
    space = spaces.to_search(own(code, "build"), spaces.SpaceContext())
    assert spaces.image_sizes(space) == (28, 48)
    hp = keras_tuner.HyperParameters()
    hp.values = {"scale": "large"}
    space.declare_hyperparameters(hp)
    assert hp.get("image_size") == 48


def test_what_a_space_declares_by_itself_stays_and_only_its_size_is_looked_up(own):
    code = """
class Own(keras_tuner.HyperModel):
    families = ("tiny",)

    def declare_hyperparameters(self, hp):
        hp.Choice("family", ["tiny"])

    def build(self, hp):
        hp.Int("not_declared", 1, 3)
        return network(36)
"""
    space = spaces.to_search(own(code), spaces.SpaceContext())
    assert names(space) == ["family", "image_size"]
    assert space.families == ("tiny",)
    assert spaces.image_sizes(space) == (36,)


def test_a_draw_that_cannot_be_built_does_not_end_it(own):
    code = """
def build(hp):
    if hp.Choice("cut", [1, 2, 3]) == 2:
        raise ValueError("no pixels are left")
    return network(28)
"""
    assert names(spaces.to_search(own(code, "build"), spaces.SpaceContext())) == ["cut", "image_size"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise ValueError('no pixels are left')", "can't be built: ValueError: no pixels are left"),
        ("return network(28, channels=3)", "takes 3 channels, the images have 1"),
        ("return network(None)", "takes any × any × 1; it must take square images of a fixed size"),
        ("return network(28, outputs=5)", "has 5 outputs for 2 classes"),
        ("return network(int(hp.Float('a', 20, 30)))", "name the size image_size"),
    ],
)
def test_a_space_that_cannot_be_searched_is_one_clear_message(own, body, message):
    with pytest.raises(InputError, match=message):
        spaces.to_search(own(f"def build(hp):\n    {body}\n", "build"), spaces.SpaceContext())


@pytest.mark.usefixtures("own_process")
@pytest.mark.parametrize(("patience", "message"), [(0.5, "took more than"), (300.0, "ended the process that builds")])
def test_builds_that_never_end_or_end_the_process_are_refused(own, monkeypatch, patience, message):
    monkeypatch.setattr(discovery, "PATIENCE", patience)
    with pytest.raises(InputError, match=message):
        spaces.to_search(own("def build(hp):\n    os._exit(3)\n", "build"), spaces.SpaceContext())


def test_the_plain_builder_in_the_documentation_is_searched_as_it_stands(tmp_path):
    page = (Path(__file__).parents[3] / "docs" / "spaces.md").read_text()
    (tmp_path / "plain.py").write_text(page.split("```python\n")[2].split("```")[0])
    space = spaces.to_search(f"{tmp_path / 'plain.py'}:Plain", spaces.SpaceContext())
    assert set(names(space)) == {"blocks", "filters_0", "filters_1", "filters_2", "learning_rate", "image_size"}
    assert spaces.image_sizes(space) == (64,)


def test_kerastuners_own_hypermodels_are_searched_as_they_are(own):
    code = """
from keras_tuner.applications import HyperXception

xception = HyperXception(input_shape=(72, 72, 1), classes=2)
"""
    space = spaces.to_search(own(code, "xception"), spaces.SpaceContext())
    assert {"num_residual_blocks", "learning_rate"} <= set(names(space))
    assert spaces.image_sizes(space) == (72,)
