"""The process over all branches: what it learns, what it suggests, and that nothing a search brings upsets it."""

from __future__ import annotations

import time

import numpy as np
import optuna
import pytest

from search.hyperparameters.parameter import parameters
from search.hyperparameters.suggestion import Narrowing, SuggestedHyperParameters
from search.samplers import SAMPLERS, factory
from search.samplers.encoding import Embedding
from search.samplers.gaussian_process import Process
from search.testing.synthetic_space import Branches

SPACE = Branches()


def flat(hp):
    """No branches, and no parameter called family."""
    hp.Float("x", 0.0, 1.0)
    hp.Choice("kind", ["a", "b", "c"])
    hp.Int("n", 1, 64, sampling="log")


def foreign(hp):
    """Branches of another name, the branching parameter not the first, and a branch within a branch."""
    hp.Float("rate", 1e-4, 1e-1, sampling="log")
    hp.Choice("optimizer", ["adam", "sgd"])
    with hp.conditional_scope("optimizer", ["sgd"]):
        hp.Boolean("nesterov")
        hp.Float("momentum", 0.0, 0.99)
        with hp.conditional_scope("nesterov", [True]):
            hp.Float("damping", 0.0, 1.0)


class Search:
    """A study that is asked and told as the driver does it."""

    def __init__(self, declaration=SPACE.declare_hyperparameters, seed=0, narrowing=None, existing=0, study=None):
        self.declaration, self.narrowing = declaration, narrowing
        sampler = factory.make_sampler("bo", seed, declaration=declaration, narrowing=narrowing, existing=existing)
        self.study = study or optuna.create_study(direction="maximize")
        self.study.sampler = sampler

    def ask(self):
        trial = self.study.ask()
        hp = SuggestedHyperParameters(trial, self.narrowing)
        self.declaration(hp)
        return trial, {p.name: hp.values[p.name] for p in hp.space if hp.is_active(p)}

    def run(self, trials, value):
        found = []
        for _ in range(trials):
            trial, values = self.ask()
            found.append(values)
            self.study.tell(trial, value(values))
        return found


def test_a_search_repeats_itself_from_its_seed_and_not_from_another():
    first, again, other = (Search(seed=seed).run(16, SPACE.value) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_a_resumed_search_knows_its_trials_and_does_not_repeat_its_suggestions():
    begun = Search()
    before = begun.run(14, SPACE.value)
    resumed = Search(study=begun.study, existing=14)
    after = resumed.run(4, SPACE.value)
    assert len(resumed.study.sampler._values) == 18
    assert not [values for values in after if values in before]


def test_trials_that_run_together_are_not_alike():
    search = Search()
    search.run(20, SPACE.value)
    together = [search.ask()[1] for _ in range(4)]
    for i, one in enumerate(together):
        for other in together[:i]:
            assert one != other


@pytest.mark.parametrize("declaration", [flat, foreign])
def test_spaces_without_families_are_searched_too(declaration):
    def value(values):
        close = 1 - abs(values.get("x", values.get("momentum", 0.0)) - 0.7)
        return close + (0.3 if values.get("kind", "b") == "b" else 0.0)

    found = Search(declaration).run(30, value)
    best = max(map(value, found[:10]))
    assert max(map(value, found[10:])) > best
    if declaration is foreign:
        for values in found:
            assert ("momentum" in values) == (values["optimizer"] == "sgd")
            assert ("damping" in values) == bool(values.get("nesterov"))


def test_a_parameter_that_the_space_did_not_declare_beforehand_is_drawn():
    search = Search(flat)
    search.run(12, lambda values: values["x"])
    trial = search.study.ask()
    assert 2.0 <= trial.suggest_float("unheard of", 2.0, 3.0) <= 3.0


def test_what_is_held_stays_held_once_the_process_decides():
    search = Search(narrowing=Narrowing({"family": "ridge", "shared": 0.25}))
    for values in search.run(24, SPACE.value):
        assert (values["family"], values["shared"]) == ("ridge", 0.25)


def test_what_is_queued_is_tried_and_the_rest_of_it_decided():
    search = Search()
    search.run(15, SPACE.value)
    search.study.enqueue_trial({"family": "steps", "shared": 0.5})
    (values,) = search.run(1, SPACE.value)
    assert (values["family"], values["shared"]) == ("steps", 0.5)
    assert "steps/x_0" in values


def test_every_branch_is_looked_at_again_however_good_another_is():
    found = Search().run(60, lambda values: float(values["family"] == "narrow"))
    late = [values["family"] for values in found[20:]]
    assert max(set(late), key=late.count) == "narrow"
    assert len(set(late)) >= 3


def test_a_family_that_keeps_failing_is_left():
    search = Search()
    tried = []
    for family in Branches.families:
        search.study.enqueue_trial({"family": family})
    for _ in range(60):
        trial, values = search.ask()
        tried.append(values["family"])
        if values["family"] == "wide":
            search.study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            search.study.tell(trial, SPACE.value(values))
    assert tried[20:].count("wide") <= 8


def test_where_everything_fails_something_is_still_suggested():
    search = Search()
    for _ in range(20):
        trial, _ = search.ask()
        search.study.tell(trial, state=optuna.trial.TrialState.FAIL)
    assert search.ask()[1]["family"] in Branches.families


def test_a_pruned_trial_counts_with_what_it_reached():
    search = Search()
    for _ in range(40):
        trial, values = search.ask()
        value = SPACE.value(values) - (0.5 if values["family"] == "wide" else 0.0)
        for epoch in (1, 2, 3):
            trial.report(value * epoch / 3, epoch)
        if values["family"] == "wide":
            search.study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            search.study.tell(trial, value)
    known = search.study.sampler._values
    assert len(known) == 40
    assert np.isfinite(known).all()
    late = [trial.params["family"] for trial in search.study.trials[20:]]
    assert late.count("wide") <= 6


def test_the_smaller_is_better_where_a_study_minimizes():
    search = Search(flat)
    search.study = optuna.create_study(direction="minimize", sampler=search.study.sampler)
    found = search.run(30, lambda values: abs(values["x"] - 0.3))
    assert np.median([abs(values["x"] - 0.3) for values in found[15:]]) < 0.15


def test_a_suggestion_after_a_thousand_trials_takes_less_than_a_second():
    search = Search()
    distributions = search.ask()[0].distributions
    rng = np.random.default_rng(0)
    narrow = {name: d for name, d in distributions.items() if not name.startswith("family")}
    space = {"family": optuna.distributions.CategoricalDistribution(Branches.families), **narrow}
    family = next(name.split("/")[0] for name in narrow if "/" in name)
    for _ in range(1000):
        drawn = {n: d.choices[0] if hasattr(d, "choices") else rng.uniform(d.low, d.high) for n, d in narrow.items()}
        search.study.add_trial(
            optuna.trial.create_trial(
                params={"family": family, **drawn}, distributions=space, value=float(rng.random())
            )
        )
    search.ask()  # reads the study and fits the kernel
    begun = time.process_time()
    search.ask()
    assert time.process_time() - begun < 1.0


def test_configurations_of_two_branches_are_apart_by_what_they_share_and_the_branch_itself():
    space = Embedding(parameters(SPACE.declare_hyperparameters))
    rng = np.random.default_rng(0)
    near, far, other = (
        space.points(space.genes({"family": family, f"{family}/x_0": 0.5, "shared": shared}, rng)[None, :])
        for family, shared in (("narrow", 0.1), ("narrow", 0.9), ("steps", 0.1))
    )
    shared = [p.name for p in space.parameters].index("shared")
    assert space.parameters[space.root].name == "family"
    assert near.shape == far.shape == other.shape
    columns = np.array([i for i, p in enumerate(space.parameters) for _ in range(1 if p.ordered else p.count)])
    assert np.ptp([near[0, columns == shared], far[0, columns == shared]]) == pytest.approx(0.8)
    assert np.linalg.norm((near - other)[0, columns == space.root]) == pytest.approx(1.0)


def test_a_configuration_comes_back_from_its_genes():
    space = Embedding(parameters(foreign))
    rng = np.random.default_rng(1)
    for _ in range(20):
        values = space.values(rng.random(space.width))
        again = space.values(space.genes(values, rng))
        assert again == pytest.approx(values)


def test_the_process_finds_which_columns_matter_and_knows_where_it_has_been():
    rng = np.random.default_rng(0)
    points = rng.random((60, 6))
    values = np.sin(5 * points[:, 0])
    values = (values - values.mean()) / values.std()
    process = Process()
    process.fit(points, values, 6.0, 60)
    assert process._lengths.argmin() == 0
    new = rng.random((40, 6))
    truth = (np.sin(5 * new[:, 0]) - np.sin(5 * points[:, 0]).mean()) / np.sin(5 * points[:, 0]).std()
    assert np.abs(process.mean(new) - truth).mean() < 0.2
    best = float(process.mean(points).max())
    assert process.improvement(points, best).max() < 0.1
    assert (process.improvement(new, best) >= 0).all()


def test_the_process_agrees_with_scikit_learns():
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    rng = np.random.default_rng(2)
    points, new, values = rng.random((30, 4)), rng.random((10, 4)), rng.standard_normal(30)
    process = Process()
    process.fit(points, values, 4.0, 30)
    theta = np.exp(process._theta)
    kernel = ConstantKernel(theta[0]) * Matern(theta[1:-1], nu=2.5) + WhiteKernel(theta[-1])
    theirs = GaussianProcessRegressor(kernel, optimizer=None).fit(points, values)
    assert process.mean(new) == pytest.approx(theirs.predict(new), abs=1e-6)


def test_running_trials_count_with_what_is_expected_of_them():
    rng = np.random.default_rng(3)
    points = rng.random((20, 3))
    values = points[:, 0] - points[:, 0].mean()
    process = Process()
    process.fit(points, values / values.std(), 3.0, 20)
    there = np.array([[0.95, 0.5, 0.5]])
    before = process.mean(there), process.improvement(there, 1.0)
    process.believe(there)
    assert process.mean(there) == pytest.approx(before[0], abs=0.05)
    assert process.improvement(there, 1.0)[0] < before[1][0]


def declared_once(hp):
    """A family that is best and has one configuration, and two others."""
    hp.Choice("family", ["line", "ridge", "valley"])
    with hp.conditional_scope("family", ["ridge", "valley"]):
        hp.Float("rate", 0.0, 1.0)


@pytest.mark.filterwarnings("ignore:`warn_independent_sampling` has been deprecated:FutureWarning")
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("objectives", [1, 2])
def test_a_family_that_initial_trials_alone_have_is_never_proposed(name, objectives):
    sampler = factory.make_sampler(name, 3, declaration=declared_once, objectives=objectives, once=("line",))
    study = optuna.create_study(directions=["maximize"] * objectives, sampler=sampler)
    study.enqueue_trial({"family": "line"})
    found = []
    for _ in range(40):
        trial = study.ask()
        hp = SuggestedHyperParameters(trial)
        declared_once(hp)
        found.append(hp.values["family"])
        value = 2.0 if hp.values["family"] == "line" else 1 - abs(hp.values["rate"] - 0.3)
        study.tell(trial, [value] * objectives)
    assert found[0] == "line"
    assert set(found[1:]) == {"ridge", "valley"}


@pytest.mark.filterwarnings("ignore:`warn_independent_sampling` has been deprecated:FutureWarning")
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("name", SAMPLERS)
def test_an_excluded_value_is_not_proposed_until_it_is_allowed_again_and_distributions_stay(name):
    def declared(hp):
        hp.Choice("family", ["ridge", "valley"])
        with hp.conditional_scope("family", ["ridge"]):
            hp.Choice("ridge/size", [28, 64, 224])

    sampler = factory.make_sampler(name, 3, declaration=declared)
    study = optuna.create_study(direction="maximize", sampler=sampler)

    def sizes(trials):
        found = set()
        for _ in range(trials):
            trial = study.ask()
            declared(SuggestedHyperParameters(trial))
            found.add(trial.params.get("ridge/size", 0))
            study.tell(trial, trial.params.get("ridge/size", 0))
        return found

    sampler.leave({"ridge/size": (28, 64)})
    assert sizes(40) == {0, 28, 64}
    sampler.leave({})
    assert 224 in sizes(40)
    assert {t.distributions["ridge/size"].choices for t in study.trials if "ridge/size" in t.params} == {(28, 64, 224)}
