"""Recipes of a space, named ones held, and the hooks by which a space answers for itself."""

from __future__ import annotations

import dataclasses

import keras_tuner
import pytest

import spaces
from spaces import SpaceContext, recipes
from spaces.space import Narrowed, Space
from tests.inputs.made_networks import space
from tests.unit.spaces.test_spaces import NOTHING_FOUND, WEIGHTS, found, offered, searching
from xraytune.errors import InputError


class TestRecipes:
    @pytest.mark.parametrize("name", recipes.RECIPES)
    def test_every_recipe_is_a_point_of_the_whole_space(self, name):
        everything = dict.fromkeys(("vgg16", "vgg19", "densenet121", "densenet169", "densenet201"), "x")
        recipe = recipes.RECIPES[name]
        values, remark = recipes.point(recipe, space(weights=everything))
        assert remark == ""
        assert values.items() >= dict(recipe.values).items()
        assert recipe.source
        assert recipe.assumed

    def test_those_that_fit_are_chosen_and_the_others_named_with_the_reason(self):
        chosen, lines = recipes.select("fitting", space(images=4400), searching(900))
        names = [name for name, _ in chosen]
        assert "dense_baseline" in names
        assert "mean_subtracted_cnn_224" not in names
        skipped = " ".join(lines)
        assert "recipe vgg16_gap128 skipped: family vgg_frozen: weights of vgg16 not available" in skipped
        assert "recipe densenet201_mlp5 skipped: densenet/mode frozen: weights of densenet201 not available" in skipped
        assert "of a quarter of TIME are left" in skipped

    def test_recipes_keep_their_place_where_kept_copies_are_augmented_alike(self):
        weights = dict.fromkeys(("vgg16", "vgg19"), "x")
        narrowed = {
            "vgg_frozen/augmentation_copies": (0, 1, 2),
            "vgg_frozen/augmentation": ("medium",),
            "vgg_frozen/flip": (False,),
        }
        left = space(weights=weights, narrowed=narrowed)
        values, remark = recipes.point(recipes.RECIPES["vgg16_gap128"], left)
        assert values["vgg_frozen/augmentation_copies"] == 2
        assert (values["vgg_frozen/augmentation"], values["vgg_frozen/flip"]) == ("medium", False)
        assert "augmentation" not in values
        assert remark == "augmentation strong → medium, flip True → False, augmentation_copies 4 → 2"
        values, remark = recipes.point(recipes.RECIPES["vgg19_frozen_cnn"], left)  # it had no copies
        assert values["vgg_frozen/augmentation_copies"] == 0
        assert remark == ""
        for point in (values, recipes.point(recipes.RECIPES["vgg16_gap128"], left)[0]):
            hp = keras_tuner.HyperParameters()
            hp.values = dict(point)
            assert left.active(hp) == point

    def test_names_all_and_none(self):
        assert [n for n, _ in recipes.select("one_conv,mlp5", space(), searching())[0]] == ["mlp5", "one_conv"]
        no_copies = space(weights=WEIGHTS, narrowed={"vgg_frozen/augmentation_copies": (0,)})
        found, lines = recipes.select("vgg16_gap128", no_copies, searching())
        assert not found
        assert "no augmented copy" in lines[0]
        assert recipes.select("none", space(), searching()) == ([], [])
        with pytest.raises(InputError, match="unknown recipe nothing"):
            recipes.select("nothing", space(), searching())


class TestHooks:
    def test_a_space_that_says_nothing_is_asked_for_nothing(self):
        plain = spaces.Space()
        assert plain.job() is None
        assert plain.backbones() is None
        assert plain.narrow(searching(900)) == Narrowed({}, [])
        assert plain.initial_trials(searching(900, audit=found("masking"))) == []
        assert plain.recipes(searching(900)) == ([], [])
        assert plain.cached_features() == {}
        assert plain.completed("own", SpaceContext()) is plain
        with pytest.raises(InputError, match="no published configurations"):
            plain.recipes(searching(900, recipes="cnn"))

    def test_smoke_needs_nothing_and_is_never_narrowed(self):
        smoke = space("smoke", images=4400)
        assert smoke.backbones() == ()
        assert smoke.narrow(searching(60, audit=found("masking"))) == Narrowed({}, [])
        assert smoke.initial_trials(searching(60, audit=found("masking"))) == []
        with pytest.raises(InputError, match="no published configurations"):
            smoke.recipes(searching(60, recipes="cnn"))
        assert smoke.recipes(searching(60, recipes="all")) == ([], [])
        assert smoke.recipe_names() == ()

    def test_a_foreign_hypermodel_has_the_hooks_of_the_base_class_and_its_own_job(self, tmp_path):
        (tmp_path / "own.py").write_text(
            "import keras_tuner\n"
            "class Own(keras_tuner.HyperModel):\n"
            "    families = ('tiny',)\n"
            "    def declare_hyperparameters(self, hp): hp.Choice('image_size', [28, 48])\n"
            "    def build(self, hp): return 'built'\n"
            "class Worked(Own):\n"
            "    def job(self): return 'job'\n"
        )
        own = spaces.to_search(f"{tmp_path / 'own.py'}:Own", SpaceContext())
        assert isinstance(own, Space)
        assert (own.families, own.precisions, own.job()) == (("tiny",), ("float32",), None)
        assert own.build(keras_tuner.HyperParameters()) == "built"
        assert spaces.image_sizes(own) == (28, 48)
        assert own.narrow(searching(900)) == Narrowed({}, [])
        assert spaces.to_search(f"{tmp_path / 'own.py'}:Worked", SpaceContext()).job() == "job"

    def test_a_space_that_derives_from_the_base_class_answers_by_its_own_hooks(self, tmp_path):
        (tmp_path / "hooked.py").write_text(
            "from spaces import Space\n"
            "from spaces.space import Narrowed\n"
            "class Hooked(Space):\n"
            "    families = ('tiny',)\n"
            "    def declare_hyperparameters(self, hp): hp.Choice('image_size', [28, 48])\n"
            "    def backbones(self): return ('vgg16',)\n"
            "    def initial_trials(self, search): return [('small', {'image_size': 28})]\n"
            "    def narrow(self, search): return Narrowed({'image_size': (28,)}, ['too slow'])\n"
        )
        hooked = spaces.to_search(f"{tmp_path / 'hooked.py'}:Hooked", SpaceContext())
        assert hooked.backbones() == ("vgg16",)
        assert hooked.initial_trials(searching(900)) == [("small", {"image_size": 28})]
        assert hooked.narrow(searching(900)).lines == ["too slow"]

    def test_the_whole_space_knows_the_backbones_of_the_families_that_were_asked_for(self):
        assert spaces.offered("chest_xray", ("vgg_frozen",)).backbones() == ("vgg16", "vgg19")
        assert spaces.offered("chest_xray", ("cnn", "dense")).backbones() == ()
        assert len(spaces.offered("chest_xray", ()).backbones()) == 5


class TestNamedRecipes:
    """A recipe that the user names is held, as `--fix` holds a value."""

    ALL = dict.fromkeys(("vgg16", "vgg19", "densenet121", "densenet169", "densenet201"), "x")

    def chosen(self, name, seconds, audit=NOTHING_FOUND):
        """The recipe's point of the narrowed space, and what had to be adapted."""
        context = SpaceContext(weights=self.ALL, images=4400)
        search = searching(seconds, recipes=name, audit=audit)
        left, _ = spaces.get("chest_xray", context).narrow(search)
        narrowed = spaces.get("chest_xray", dataclasses.replace(context, narrowed=left))
        points, lines = narrowed.recipes(search)
        return dict(points), lines, narrowed

    @pytest.mark.parametrize("seconds", [60, 900, 7200])
    @pytest.mark.parametrize("name", recipes.RECIPES)
    def test_every_named_recipe_is_tried_as_it_was_published_however_short_the_time(self, name, seconds):
        points, lines, narrowed = self.chosen(name, seconds, found("masking", "shape_jitter"))
        assert lines == []
        family = recipes.RECIPES[name].values["family"]
        for key, value in recipes.RECIPES[name].values.items():
            copied = points[name].get(f"{family}/{key}", points[name].get(key))
            assert copied == value or (copied is None and not points[name].get(f"{family}/augmentation_copies")), key
        hp = keras_tuner.HyperParameters()
        hp.values = dict(points[name])
        assert narrowed.active(hp) == points[name]

    def test_without_its_name_the_recipe_is_adapted_to_the_time(self):
        _, lines, _ = self.chosen("fitting", 900)
        assert any(line.startswith("recipe cnn adapted: image_size 128") for line in lines)

    def test_a_family_that_the_time_leaves_out_keeps_no_more_than_the_named_recipe(self):
        _, _, narrowed = self.chosen("vgg16_gap128", 60)
        assert "vgg_frozen" in narrowed.families
        assert "vgg_finetuned" not in narrowed.families
        for name in ("image_size", "backbone", "cut", "augmentation_copies"):
            wanted = recipes.RECIPES["vgg16_gap128"].values[f"vgg_frozen/{name}"]
            assert offered(narrowed.context, f"vgg_frozen/{name}") == (wanted,)

    def test_a_named_recipe_that_can_not_be_had_stops_the_search(self):
        with pytest.raises(InputError, match=r"--recipes vgg16_gap128: it can't be tried here.*vgg16 not available"):
            recipes.held("vgg16_gap128", space())
        with pytest.raises(InputError, match="unknown recipe nothing"):
            recipes.held("nothing", space())
        for group in recipes.GROUPS:
            assert recipes.held(group, space()) == {}


@pytest.mark.parametrize("families", [(), ("linear", "cnn"), ("cnn", "dense")])
def test_a_named_recipe_whose_weights_are_missing_is_refused_for_that_reason(families):
    with pytest.raises(InputError, match="Family vgg_frozen: weights of vgg16 not available"):
        recipes.held("vgg16_gap128", space(families=families))
