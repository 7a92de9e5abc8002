"""What may vary: every draw is a network, families without weights are out, a user's own space is found."""

import dataclasses
import math

import keras
import keras_tuner
import numpy as np
import pytest

import spaces
from search.hyperparameters.declaration import declared_parameters, held
from spaces import SearchContext, SpaceContext, recipes, shortcut_countermeasures
from spaces.narrowing import cache_size, narrow
from tests.inputs.made_networks import config, space
from xraytune import models
from xraytune.data.property_table import PROPERTIES
from xraytune.errors import InputError
from xraytune.evaluation.shortcut_audit import Audit, Finding
from xraytune.models.cost import Machine, cost
from xraytune.training.inputs.augmentation import COUNTERMEASURES
from xraytune.training.optimization.settings import TrainingSettings

WEIGHTS = {"vgg16": "vgg16.h5", "densenet121": "densenet121.h5"}
CORE = 9e10
NOTHING_FOUND = Audit(0.5, 100, (), "")


def searching(seconds=None, **changes):
    """What a search of images without a shortcut knows, on two cores."""
    return SearchContext(**{"audit": NOTHING_FOUND, "machine": Machine(CORE, 2), "seconds": seconds, **changes})


def afforded(context, search):
    """The context of `chest_xray` without what is too slow, and the lines."""
    named = spaces.get("chest_xray", context)
    left, lines = narrow.narrow(named, search, recipes.held(search.recipes, named))
    return dataclasses.replace(context, narrowed={**left, **context.narrowed}), lines


def draw(hypermodel, seed):
    """A random point, as KerasTuner's RandomSearch draws it."""
    hp = keras_tuner.HyperParameters()
    hypermodel.declare_hyperparameters(hp)
    rng = np.random.default_rng(seed)
    drawn = keras_tuner.HyperParameters()
    for p in hp.space:
        drawn._register(p)
        if drawn.is_active(p):
            drawn.values[p.name] = p.random_sample(seed=int(rng.integers(2**31)))
    return hypermodel.active(drawn)


def test_all_families_take_part_where_their_weights_are_there():
    assert space(weights=WEIGHTS).families == models.FAMILIES


def test_families_without_weights_are_left_out_and_densenet_stays_from_scratch():
    lean = space()
    assert lean.families == tuple(f for f in models.FAMILIES if not f.startswith("vgg"))
    hp = keras_tuner.HyperParameters()
    lean.declare_hyperparameters(hp)
    assert {tuple(p.values) for p in hp.space if p.name == "densenet/mode"} == {("scratch",)}


def test_asking_for_families_narrows_and_an_unknown_one_is_refused():
    assert space(families=("cnn",)).families == ("cnn",)
    with pytest.raises(InputError, match="unknown family vit"):
        space(families=("cnn", "vit"))
    with pytest.raises(InputError, match=r"docs/weights\.md"):
        space(families=("vgg_frozen",))


def test_family_is_declared_first_and_no_name_has_two_meanings():
    hp = keras_tuner.HyperParameters()
    space(weights=WEIGHTS).declare_hyperparameters(hp)
    assert hp.space[0].name == "family"
    names = [p.name for p in hp.space]
    assert len(set(names)) == len(names)


def test_two_hundred_draws_have_every_value_their_network_reads():
    full = space(weights=WEIGHTS)
    seen = set()
    for seed in range(200):
        values = draw(full, seed)
        seen.add(values["family"])
        assert cost(values).train > 0
        assert all(name.split("/")[0] in {values["family"], "head"} for name in values if "/" in name)
    assert seen == set(models.FAMILIES)


@pytest.mark.parametrize("seed", range(12))
def test_a_draw_of_the_light_families_builds(seed):
    light = space(families=("linear", "dense", "cnn"), channels=1 + 2 * (seed % 2), classes=2 + seed % 2)
    hp = keras_tuner.HyperParameters()
    hp.values = draw(light, seed)
    network = light.build(hp)
    assert network.output_shape == (None, 2 + seed % 2)
    assert network.input_shape[-1] == 1 + 2 * (seed % 2)


def test_image_sizes_are_those_that_may_be_drawn():
    assert spaces.image_sizes(space("smoke")) == (28, 32)
    assert spaces.image_sizes(space(families=("dense",))) == (28, 48, 64, 96)
    narrowed = space(families=("dense",), narrowed={"dense/image_size": (28,)})
    assert spaces.image_sizes(narrowed) == (28,)


def test_a_space_of_ones_own_is_found_in_a_module_and_in_a_file(tmp_path):
    own = tmp_path / "own.py"
    own.write_text(
        "import keras_tuner\n"
        "class Own(keras_tuner.HyperModel):\n"
        "    def build(self, hp): return hp.Int('units', 1, 2)\n"
        "def build(hp): return hp.Int('units', 1, 2)\n"
    )
    context = spaces.SpaceContext()
    assert isinstance(spaces.get(f"{own}:Own", context), keras_tuner.HyperModel)
    assert spaces.get(f"{own}:build", context).build(keras_tuner.HyperParameters()) == 1
    assert isinstance(spaces.get("spaces.smoke:Smoke", context), keras_tuner.HyperModel)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "unknown space 'nowhere': chest_xray, smoke"),
        ("no.such:Thing", "can't be imported"),
        ("spaces.smoke:Nothing", "has no 'Nothing'"),
        ("missing.py:Own", "no such file"),
        ("spaces.smoke:HELD", "neither a HyperModel nor a function"),
    ],
)
def test_a_space_that_is_not_there_is_one_clear_message(name, message):
    with pytest.raises(InputError, match=message):
        spaces.get(name, spaces.SpaceContext())


class TestNarrowing:
    def narrowed(self, seconds, rate=CORE):
        context = spaces.SpaceContext(weights=WEIGHTS, images=4400)
        return afforded(context, searching(seconds, machine=Machine(rate, 2)))

    def kept(self, seconds, spent=0.0):
        """The largest size and the most copies of VGG's kept features."""
        context = spaces.SpaceContext(weights=WEIGHTS, images=4400)
        left, _ = afforded(context, searching(seconds, spent=spent))
        return [max(offered(left, f"vgg_frozen/{name}")) for name in ("image_size", "augmentation_copies")]

    def test_no_time_limit_narrows_nothing(self):
        context, lines = self.narrowed(None)
        assert not context.narrowed
        assert not lines

    def test_what_is_left_is_a_point_of_the_space_and_every_family_stays(self):
        context, lines = self.narrowed(900)
        assert spaces.get("chest_xray", context).families == models.FAMILIES
        assert any(line.startswith("vgg_frozen:") for line in lines)
        hp = keras_tuner.HyperParameters()
        spaces.get("chest_xray", context).declare_hyperparameters(hp)
        declared = {p.name: p.values for p in hp.space if type(p).__name__ == "Choice"}
        for name, left in context.narrowed.items():
            assert tuple(declared[name]) == tuple(left)

    def test_a_trial_costs_a_fraction_of_the_time_whatever_is_drawn(self):
        context, _ = self.narrowed(900)
        left = spaces.get("chest_xray", context)
        machine = Machine(CORE, 2)
        for seed in range(60):
            values = draw(left, seed)
            images = min(TrainingSettings.of(values).epoch_images or 4400, 4400)
            found = cost(values)
            assert found.trace + TrainingSettings.of(values).epochs * found.epoch_seconds(machine, images) < 300, values

    @pytest.mark.parametrize("pool", ["avg", "flatten", "cnn"])
    @pytest.mark.parametrize(("family", "size"), [("cnn", 64), ("densenet", 64)])
    def test_a_heads_operations_are_those_of_its_layers(self, family, size, pool):
        head = {"head__pool": pool, "head__units": 512, "head__layers": 2}
        values = config(space(), family=family, **{f"{family}__image_size": size}, **head).values
        hp = keras_tuner.HyperParameters()
        hp.values = dict(values)
        operations = 0
        for layer in space().build(hp).layers:
            if layer.name.startswith("head_") and isinstance(layer, keras.layers.Dense | keras.layers.Conv2D):
                operations += 2 * math.prod(layer.kernel.shape) * math.prod(layer.output.shape[1:-1])
        bare = cost({**values, "head/layers": 0, "head/pool": "avg"}).train
        assert cost(values).train - bare == pytest.approx(3 * operations, rel=0.02)

    def test_all_kept_prefixes_together_take_a_fifth_of_the_time_whatever_augmentation_is_drawn(self):
        machine = Machine(CORE, 2)
        for seconds in (600, 1800, 7200):
            left = spaces.get("chest_xray", self.narrowed(seconds)[0])
            arrays = {}
            for seed in range(150):
                values = draw(left, seed)
                found, plan = cost(values), TrainingSettings.of(values)
                if found.prefix:
                    prefix = (plan.image_size, values[f"{values['family']}/normalization"], found.prefix)
                    copies = range(plan.copies if plan.augmentation else 0)
                    for drawn in [(None, 0), *((plan.augmentation, copy) for copy in copies)]:
                        arrays[prefix, drawn] = found.prefix_seconds(machine, 4400)
            assert arrays
            assert sum(arrays.values()) <= 0.2 * seconds * machine.workers
            assert max(arrays.values()) <= 0.1 * seconds

    def test_kept_copies_hide_what_the_audit_found_and_the_other_families_keep_their_choices(self):
        context = spaces.SpaceContext(weights=WEIGHTS, images=4400)
        narrowed, lines = afforded(context, searching(1800, audit=found("masking")))
        left = spaces.get("chest_xray", narrowed)
        for seed in range(200):
            values = draw(left, seed)
            plan = TrainingSettings.of(values)
            if values["family"].startswith("vgg"):
                assert plan.augmentation.masking == ("strong" if plan.copies else "none")
                assert plan.augmentation.shape_jitter == ("light" if plan.copies else "none")
                assert "masking" not in values
        assert offered(narrowed, "masking") == COUNTERMEASURES["masking"]
        assert any("all cached copies with" in line and "masking strong" in line for line in lines)

    def test_what_the_user_holds_holds_for_kept_copies_too(self):
        context = spaces.SpaceContext(weights=WEIGHTS, images=4400, families=("vgg_frozen",))
        search = searching(1800, audit=found("masking"), fixed={"masking": "light"})
        narrowed, _ = afforded(context, search)
        assert "vgg_frozen/masking" not in narrowed.narrowed
        assert offered(narrowed, "masking") == COUNTERMEASURES["masking"]

    def test_what_the_user_holds_is_never_narrowed_away(self):
        context = spaces.SpaceContext(weights=WEIGHTS, images=4400)
        fixed = {
            "epochs": "30",
            "cnn/image_size": "160",
            "vgg_frozen/cut": "block5_pool",
            "vgg_frozen/shape_jitter": "strong",
        }
        narrowed, _ = afforded(context, searching(1800))
        assert 160 not in offered(narrowed, "cnn/image_size")
        assert 30 not in offered(narrowed, "epochs")
        narrowed, _ = afforded(context, searching(1800, fixed=fixed))
        assert 160 in offered(narrowed, "cnn/image_size")
        assert "block5_pool" in offered(narrowed, "vgg_frozen/cut")
        declared = declared_parameters(spaces.get("chest_xray", narrowed).declare_hyperparameters)
        assert held(declared, fixed) == {**fixed, "epochs": 30, "cnn/image_size": 160}

    def test_size_counts_before_copies_and_two_copies_before_none(self):
        assert [self.kept(seconds) for seconds in (900, 1300, 1800)] == [[48, 2], [64, 2], [64, 4]]

    def test_the_time_that_reading_the_data_took_is_not_there_for_prefixes(self):
        assert [self.kept(1800, spent=spent) for spent in (0, 500, 900)] == [[64, 4], [64, 2], [48, 2]]

    def test_what_one_family_computes_another_takes(self):
        left = self.narrowed(1800)[0]
        for name in ("image_size", "augmentation_copies"):
            assert offered(left, f"vgg_finetuned/{name}") == offered(left, f"vgg_frozen/{name}")
        assert offered(left, "vgg_frozen/cut") == ("block4_pool",)
        assert (offered(left, "vgg_finetuned/cut"), offered(left, "vgg_finetuned/trained_blocks")) == (
            ("block5_pool",),
            (1,),
        )

    def test_a_densenet_from_scratch_stays_where_a_pretrained_one_can_not_be_afforded(self):
        weights = dict.fromkeys(("densenet121", "densenet201"), "x")
        context = spaces.SpaceContext(weights=weights, images=4400, families=("densenet",))
        narrowed, _ = afforded(context, searching(120))
        assert offered(narrowed, "densenet/mode") == ("scratch",)
        longer, _ = afforded(context, searching(14400))
        assert "frozen" in offered(longer, "densenet/mode")
        for seed in range(100):
            values = draw(spaces.get("chest_xray", longer), seed)
            kept = int(values.get("densenet/augmentation_copies", 0))
            assert ("densenet/augmentation" in values) == bool(kept)
            assert "augmentation" in values  # of a network from scratch

    def test_more_time_leaves_more(self):
        def size(seconds):
            return sum(map(len, narrow.offered_choices(spaces.get("chest_xray", self.narrowed(seconds)[0])).values()))

        assert max(self.narrowed(7200)[0].narrowed["vgg_frozen/image_size"]) > 48
        short, lines = self.narrowed(300)
        assert not {"vgg_frozen", "vgg_finetuned"} & set(spaces.get("chest_xray", short).families)
        assert any(line.startswith("vgg_frozen: left out") for line in lines)
        assert size(7200) > size(300)


def test_smoke_draws_are_trained_in_seconds():
    values = config(space("smoke"), family="cnn").values
    assert values["epochs"] == 3
    assert values["cnn/image_size"] in (28, 32)


def test_the_space_in_the_documentation_runs_as_it_stands(tmp_path):
    from pathlib import Path

    from tests.inputs.made_networks import trial_data
    from xraytune.training.trainer import Trainer

    page = (Path(__file__).parents[3] / "docs" / "spaces.md").read_text()
    (tmp_path / "own.py").write_text(page.split("```python\n")[1].split("```")[0])
    own = spaces.get(f"{tmp_path / 'own.py'}:Own", spaces.SpaceContext())
    assert own.families == ("tiny",)
    assert spaces.image_sizes(own) == (28, 48)
    training = Trainer(own, config(own, batch_size=8), trial_data(tmp_path), max_epochs=1)
    assert training.step().done
    assert training.plan.augmentation.strength == "none"


def found(*countermeasures):
    """An audit that found what these hyperparameters hide."""
    property_of = {n: prop.name for prop in reversed(PROPERTIES.values()) for n in reversed(prop.countermeasures)}
    findings = tuple(Finding(property_of[name], 0.9, "PNEUMONIA", True, "") for name in countermeasures)
    return Audit(0.9, 100, findings, "")


def to_audit(*asked):
    """The whole space's context with what the audit leaves of the augmentation, and the lines."""
    left, lines = shortcut_countermeasures.to_audit(*asked)
    return SpaceContext(narrowed=left), lines


def offered(context, name):
    hp = keras_tuner.HyperParameters()
    spaces.get("chest_xray", context).declare_hyperparameters(hp)
    return next(tuple(p.values) for p in hp.space if p.name == name)


def test_a_countermeasure_is_offered_where_the_audit_found_what_it_removes_and_shape_jitter_always():
    context, lines = to_audit(found("masking"), "clean")
    assert offered(context, "masking") == COUNTERMEASURES["masking"]
    assert offered(context, "shape_jitter") == COUNTERMEASURES["shape_jitter"]
    assert offered(context, "focus_jitter") == offered(context, "exposure_jitter") == ("none",)
    assert "masking" in lines[0]


def test_a_robust_search_offers_every_countermeasure_and_says_nothing_of_an_audit_that_found_nothing():
    context, lines = to_audit(found(), "robust")
    assert {name: offered(context, name) for name in COUNTERMEASURES} == COUNTERMEASURES
    assert lines == []


def test_a_robust_search_offers_what_hides_a_finding_in_full_or_not_at_all_unless_its_user_holds_it():
    context, _ = to_audit(found("masking"), "robust")
    assert offered(context, "masking") == ("none", "strong")
    assert offered(context, "shape_jitter") == COUNTERMEASURES["shape_jitter"]
    held, _ = to_audit(found("masking"), "robust", {"masking": "light"})
    assert offered(held, "masking") == COUNTERMEASURES["masking"]


def test_a_search_starts_with_each_family_that_can_hide_what_the_audit_found():
    context = spaces.SpaceContext(weights=WEIGHTS, narrowed={"vgg_frozen/augmentation_copies": (0,)})
    full = spaces.get("chest_xray", context)
    points = shortcut_countermeasures.against_shortcuts(full, full.families, ("masking", "shape_jitter"))
    without = {"linear", "vgg_frozen"}  # nothing of them is augmented
    assert [values["family"] for _, values in points] == [f for f in models.FAMILIES if f not in without]
    assert {(values["masking"], values["shape_jitter"], values["focus_jitter"]) for _, values in points} == {
        ("strong", "strong", "none")
    }
    for _, values in points:
        hp = keras_tuner.HyperParameters()
        hp.values = dict(values)
        assert full.active(hp) == values
    assert shortcut_countermeasures.against_shortcuts(full, full.families, ()) == []


def test_where_framing_was_found_crops_and_strong_shape_jitter_are_in_the_space_and_in_the_first_trials():
    context, lines = to_audit(found("crop"), "robust")
    assert offered(context, "crop") == ("none", "0.5")
    assert offered(context, "shape_jitter") == ("none", "strong")
    assert "crop, shape_jitter" in lines[0]
    full = spaces.get("chest_xray", context)
    points = shortcut_countermeasures.against_shortcuts(full, full.families, found("crop").countermeasures)
    assert {(values["crop"], values["shape_jitter"]) for _, values in points} == {("0.5", "strong")}
    assert {TrainingSettings.of(values).augmentation.crop for _, values in points} == {"0.5"}
    clean, _ = to_audit(found("crop"), "clean")
    assert offered(clean, "crop") == ("none", "0.5")


def test_kept_copies_are_cropped_where_framing_was_found_and_time_leaves_them_alike():
    context = spaces.SpaceContext(weights=WEIGHTS, images=4400, families=("vgg_frozen",))
    narrowed, lines = afforded(context, searching(1800, audit=found("crop")))
    assert narrowed.narrowed["vgg_frozen/crop"] == ("0.5",)
    assert any("crop 0.5" in line for line in lines)


def test_the_larger_array_is_made_only_where_a_space_may_crop():
    assert spaces.offers_crops(spaces.get("chest_xray", spaces.SpaceContext()))
    without, _ = to_audit(found(), "clean")
    assert not spaces.offers_crops(spaces.get("chest_xray", without))
    assert not spaces.offers_crops(spaces.get("smoke", spaces.SpaceContext()))
    kept_copies = spaces.SpaceContext(weights=WEIGHTS, narrowed={"crop": ("none",), "vgg_frozen/crop": ("0.5",)})
    assert spaces.offers_crops(spaces.get("chest_xray", kept_copies))


WITH_WEIGHTS = {"vgg16": "vgg16.h5", "densenet121": "densenet121.h5"}


@pytest.mark.parametrize(
    ("values", "shape"),
    [
        ({"family": "vgg_frozen", "vgg_frozen__cut": "block4_pool"}, (4, 4, 512)),
        ({"family": "vgg_finetuned", "vgg_finetuned__cut": "block5_pool"}, (4, 4, 512)),
        ({"family": "densenet", "densenet__mode": "frozen", "densenet__cut": "pool3"}, (4, 4, 256)),
        ({"family": "densenet", "densenet__mode": "frozen", "densenet__cut": "top"}, (2, 2, 1024)),
        ({"family": "densenet", "densenet__mode": "last_block"}, (2, 2, 512)),
        ({"family": "cnn"}, (0,)),
    ],
)
def test_what_a_prefix_takes_on_disk_is_known_before_it_is_built(values, shape):
    full = space(weights=WITH_WEIGHTS)
    assert cost(config(full, **values).values).kept == 2 * np.prod(shape)


def test_a_search_says_what_its_caches_will_cost_and_refuses_what_the_limit_can_not_hold(tmp_path):
    frozen = space(families=("vgg_frozen",), weights={"vgg16": "vgg16.h5"}).cached_features()
    asked = {"images": 5000, "channels": 1, "sizes": (48, 64), "cache": tmp_path}
    line = cache_size.cache_size(frozen, **asked, limit=10**10)
    assert "decoded images 0.032 GB" in line
    assert "10 GB at most" in line
    assert "of the disk are free" in line
    with pytest.raises(InputError, match=r"vgg16 at 224 px.* take 2 GB.*--cache-limit"):
        cache_size.cache_size(frozen, **asked, limit=10**9)
    for without in (space(families=("cnn",)), space("smoke"), spaces.Space()):
        assert "prefixes" not in cache_size.cache_size(without.cached_features(), **asked)
