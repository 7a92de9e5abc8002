"""Learning curves and simulated searches: the design fits its hours, the simulator prefers what is better."""

import dataclasses
import json
import time

import numpy as np
import optuna
import pytest

from tests.evidence.curves import forest, portfolio, simulate, table, training
from tests.evidence.curves.design import WORKERS, TooDearError, design, interleaved
from tests.evidence.curves.simulator import INITIALS, PRUNINGS, Policy, Search, World
from tests.inputs.made_curves import made_score, made_set, made_table
from xraytune.training.inputs.augmentation import COUNTERMEASURES

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::optuna.exceptions.ExperimentalWarning")


@pytest.fixture(scope="module")
def made():
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return made_table("one", "two", "three", count=16)


@pytest.fixture(scope="module")
def world(made):
    return World(made, "one", forest.Forest(made, trees=20).course, seconds=900.0)


@pytest.mark.parametrize("hours", [0.4, 2.0])
def test_a_design_stays_within_its_hours_and_no_training_is_longer_than_its_limit(hours):
    planned = design(made_set(), 16, hours)
    assert sum(one.seconds for one in planned) <= hours * 3600 * WORKERS
    assert max(one.seconds for one in planned) <= training.MOST_SECONDS
    assert planned == design(made_set(), 16, hours)


def test_a_design_that_fits_no_hours_is_refused():
    with pytest.raises(TooDearError, match="16 trainings"):
        design(made_set(), 16, 0.001)


def test_a_design_has_every_family_and_half_of_it_the_countermeasures_that_the_audit_asks_for():
    planned = design(made_set(), 24, 6.0)
    families = [one.family for one in planned]
    assert families.count("linear") == 1
    assert {families.count(name) for name in ("dense", "cnn", "densenet")} == {8}
    assert sum(one.countered for one in planned) == 12
    for one in planned:
        if one.countered:
            assert one.values["shape_jitter"] == "strong"
        else:
            assert all(one.values.get(name, "none") == "none" for name in COUNTERMEASURES)


def test_every_beginning_of_the_order_has_all_sets_in_proportion():
    designs = [design(made_set("large"), 24, 6.0), design(made_set("small"), 8, 6.0, 1)]
    first = interleaved(designs)[:12]
    assert 8 <= sum(one.set == "large" for one in first) <= 10
    assert {one.family for one in first} == {"linear", "dense", "cnn", "densenet"}


def test_the_full_design_trains_most_on_the_radiographs_and_nothing_on_the_outside_check():
    assert training.FULL.counts["chest_xray"] >= 70
    assert sum(training.FULL.counts.values()) >= 120
    assert training.FULL.hours < 12
    assert "nih" not in training.FULL.places
    assert set(training.FULL.counts) == set(training.FULL.places)


def test_radiographs_are_taken_from_the_folder_of_training_images_alone(tmp_path, monkeypatch):
    (tmp_path / "chest_xray" / "train").mkdir(parents=True)
    monkeypatch.setenv("XRAYTUNE_DATA", str(tmp_path))
    assert training.FULL.places["chest_xray"](tmp_path) == tmp_path / "chest_xray" / "train"


def test_a_unit_makes_what_is_missing_and_nothing_after_its_time(tmp_path, monkeypatch):
    scope = dataclasses.replace(training.TINY, folder=tmp_path, places={"made": str}, counts={"made": 4}, hours=2.0)
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "set.json").write_text(json.dumps(made_set().to_json()))
    assert scope.info("made") == made_set()
    monkeypatch.setitem(training.SCOPES, "made", scope)
    order, trained = scope.order(), []
    scope.path(order[1]).write_text("{}")

    def train(_scope, planned, until):
        trained.append(planned.number)
        scope.path(planned).write_text("{}")
        return True

    monkeypatch.setattr(training, "train", train)
    monkeypatch.setattr("xraytune.training.machine.configure_threads", lambda n: None)
    training.work("made", False, -1.0)
    assert trained == []
    training.work("made", False, 60.0)
    assert trained == [one.number for i, one in enumerate(order) if i != 1]
    training.work("made", False, 60.0)
    assert len(trained) == len(order) - 1


def test_the_table_is_small_and_read_as_it_was_written(tmp_path, made):
    path = tmp_path / "curves.json.gz"
    table.write(made, path)
    again = table.read(path)
    assert path.stat().st_size * 141 / len(made.curves) < table.MOST_BYTES
    assert again.sets == made.sets
    assert [c.values for c in again.curves] == [c.values for c in made.curves]
    assert again.curves[3].course.standing == pytest.approx(made.curves[3].course.standing, abs=1e-4)
    before = path.read_bytes()
    table.write(again, path)
    assert path.read_bytes() == before


def test_trainings_go_on_from_the_table_of_another_machine(tmp_path, made):
    scope = dataclasses.replace(training.TINY, folder=tmp_path, places=dict.fromkeys(made.sets, str))
    table.unpack(scope, made)
    again = table.collect(scope)
    assert again.sets == made.sets
    assert [c.course.standing.tolist() for c in again.curves] == [c.course.standing.tolist() for c in made.curves]
    assert [(c.set, c.number, c.values, c.score) for c in again.curves] == [
        (c.set, c.number, c.values, c.score) for c in made.curves
    ]
    changed = tmp_path / "one" / f"{made.of('one')[0].number:03d}.json"
    changed.write_text('{"failed": "kept"}')
    table.unpack(scope, made)
    assert json.loads(changed.read_text()) == {"failed": "kept"}


def test_a_table_that_is_too_large_is_not_published(tmp_path, made, monkeypatch):
    monkeypatch.setattr(table, "FILE", tmp_path / "curves.json.gz")
    monkeypatch.setattr(table, "PAGE", tmp_path / "curves.md")
    monkeypatch.setattr(table, "MOST_BYTES", 100)
    with pytest.raises(ValueError, match="more than 100"):
        table.publish(made)
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(table, "MOST_BYTES", 1_000_000)
    table.publish(made)
    assert "| one | 1200 | 17 |" in table.PAGE.read_text()


def test_a_quiet_timing_replaces_the_seconds_of_the_training(made):
    curve = next(c for c in made.curves if len(c.epochs) > 5)
    timed = dataclasses.replace(curve, timing={"step_seconds": 0.5})
    assert curve.course.epoch == pytest.approx(1.1)
    assert timed.course.epoch == pytest.approx(0.5 * 40 + 0.1)
    assert timed.course.look == pytest.approx(0.3)


def test_the_forest_is_better_than_the_mean_of_set_and_family_where_the_configuration_decides():
    found = forest.errors(made_table("one", "two", count=40))
    assert found.score < found.usual
    assert found.rank > 0.8
    assert found.seconds < 1.1


@pytest.mark.long
def test_a_simulated_search_ends_above_random_trials_and_repeats_itself(world):
    def mean(policy):
        return np.mean([Search(world, policy, seed).run(600).picked(10) for seed in range(4)])

    policy = Policy("bo")
    assert mean(policy) > mean(Policy("random", "none", "none"))
    first, again = (Search(world, policy, 0).run(200).picks for _ in range(2))
    assert first == again


@pytest.mark.parametrize("pruning", PRUNINGS)
def test_a_search_prunes_as_its_policy_says(world, pruning):
    search = Search(world, Policy("random", pruning), 3).run(400)
    states = [trial.state.name for trial in search._study.get_trials()]
    assert ("PRUNED" in states) == (pruning != "none")
    assert "COMPLETE" in states
    assert all(at <= 400 for at, *_ in search.picks)
    assert search.picked(0.0) == pytest.approx(5 / 6)


def test_a_simulated_search_begins_with_its_initial_trials(world):
    first = Search(world, Policy("random", "none", INITIALS[0]), 0)
    first.run(100)
    assert first._study.get_trials()[0].params["family"] == "linear"
    assert any(one.origin.startswith("portfolio") for one in world.initial["portfolio"])
    assert world.initial["none"] == []


def test_a_portfolio_is_greedy_and_begins_anew_where_nothing_is_gained():
    scores = np.array([[0.9, 0.5], [0.6, 0.9], [0.8, 0.8], [0.5, 0.5]])
    assert portfolio.greedy(scores, 3) == [2, 0, 1]
    assert sorted(portfolio.greedy(scores, 9)) == [0, 1, 2, 3]


def test_a_portfolio_has_the_best_family_and_nothing_that_the_set_can_t_have(made):
    info = dataclasses.replace(made_set("new", images=600), classes=3)
    chosen = portfolio.choose(made.without("three"), info, 900.0, size=4)
    assert chosen[0].values["family"] == "cnn"
    assert max(made_score(one.values) for one in chosen) > 0.95
    frozen = {"family": "vgg_frozen", "vgg_frozen/backbone": "vgg16"}
    assert portfolio.adapted(frozen, info) is None
    large = portfolio.adapted({**chosen[0].values, "cnn/image_size": 224}, info)
    assert large["cnn/image_size"] in (28, 48)


def test_a_page_compares_every_policy_on_the_seeds_that_all_have(made):
    found = {(p.name, seed): [0.9, 0.92, 0.94, 0.95] for p in simulate.policies() for seed in range(3)}
    found[simulate.policies()[0].name, 3] = [0.0] * 4
    text = simulate.page(made, found, forest.Errors(0.01, 0.02, 0.9, 1.1))
    assert "Seeds: 3;" in text
    assert text.count("0.9400 (0.9400 to 0.9400)") == len(simulate.policies())
    assert "| bo · shared rungs · today's − stock · shared rungs · today's | +0.0" in text


def test_simulations_go_on_where_they_were_stopped_and_another_table_begins_anew(tmp_path, made, monkeypatch):
    path = tmp_path / "curves.json.gz"
    table.write(made, path)
    monkeypatch.setattr(simulate, "KEPT", tmp_path / "kept.jsonl")
    simulate.work(path, [(Policy("random", initial="none"), 0)], time.monotonic() + 60)
    simulate.work(path, [(Policy("random", initial="none"), 1)], time.monotonic() - 1)
    digest = simulate.artifacts.sha256(path)
    assert list(simulate._read(simulate.KEPT, digest)) == [(Policy("random", initial="none").name, 0)]
    assert simulate._read(simulate.KEPT, "other") == {}
