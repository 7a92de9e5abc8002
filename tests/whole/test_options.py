"""Options that change what a search does, each in a whole run: real Ray, real SQLite, curves that cost no time."""

from __future__ import annotations

import pytest

from search.study.view import StudyView, TrialRecord, open_study
from tests.searching import Search, counted

pytestmark = pytest.mark.timeout(900)

SPACE = "search.testing.synthetic_space:Branches"
SMALLER = """
from search.testing.synthetic_space import Branches

class Smaller(Branches):
    families = ("valley", "narrow")

    def declare_hyperparameters(self, hp):
        super().declare_hyperparameters(Without(hp))

class Without:
    '''Declares what it is given, less three families and with a narrower range.'''

    def __init__(self, hp):
        self.hp, self.conditional_scope = hp, hp.conditional_scope

    def Choice(self, name, values):
        self.hp.Choice(name, ["valley", "narrow"] if name == "family" else values)

    def Float(self, name, low, high, **how):
        self.hp.Float(name, low, 0.5 if name == "shared" else high, **how)
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("options")


def searched(home, study, *options, space=SPACE) -> tuple[StudyView, str]:
    one = Search(home, study)
    try:
        one.start(*options, space=space)
        assert one.wait() == 0, one.text
    finally:
        one.end()
    view = open_study(study, one.results)
    assert not [t for t in view.trials() if t.state == "RUNNING"]
    return view, one.text


def pruned(view: StudyView) -> list[TrialRecord]:
    """Those that were stopped early, each with every value it reported and its full result."""
    found = [t for t in view.trials() if t.state == "PRUNED"]
    for trial in found:
        assert trial.result
        assert list(trial.curve) == list(range(1, trial.result.epochs + 1))
        assert trial.result.epochs < 9
    assert all(len(t.curve) == 9 for t in view.trials() if t.state == "COMPLETE")
    return found


@pytest.fixture(scope="module")
def earlier(home) -> StudyView:
    return searched(home, "earlier", "--trials", "30", "--sampler", "tpe", "--pruner", "median")[0]


def test_the_median_pruner_ends_trials_and_every_value_is_kept(earlier):
    assert len(earlier.trials()) == 30
    assert pruned(earlier)


def test_a_warm_start_tries_the_best_of_the_earlier_study_first(home, earlier):
    view, _ = searched(
        home, "warm", "--warm-start", "earlier", "--trials", "30", "--sampler", "bo", "--pruner", "hyperband"
    )
    best = sorted((t for t in earlier.trials() if t.state == "COMPLETE"), key=lambda t: -t.value)[:6]
    first = view.trials()[0]
    assert first.attributes["origin"] == f"study earlier #{best[0].number}"
    assert first.config.values == best[0].config.values
    tried = {t.attributes["origin"]: t.config.values for t in view.trials() if "origin" in t.attributes}
    for trial in best:
        assert tried[f"study earlier #{trial.number}"] == trial.config.values
    assert {t.family for t in view.trials()[:10]} == set(view.spec.families), "every family is tried all the same"
    assert pruned(view), "hyperband"


@pytest.mark.long
def test_a_warm_start_in_another_space_takes_what_fits_and_two_objectives_leave_a_front(home, earlier):
    (home / "smaller.py").write_text(SMALLER)
    space = f"{home / 'smaller.py'}:Smaller"
    objectives = ("--objectives", "f_beta,parameters")
    view, said = searched(home, "small", "--warm-start", "earlier", "--trials", "30", *objectives, space=space)
    known = {f"study earlier #{t.number}": t.config.values for t in earlier.trials()}
    warm = [t for t in view.trials() if t.attributes.get("origin") in known]
    assert warm
    for trial in warm:
        before, now = known[trial.attributes["origin"]], trial.config.values
        assert trial.family == before["family"]
        assert before.keys() == now.keys()
        outside = {"shared"} if before["shared"] > 0.5 else set()
        assert {name for name in now if now[name] != before[name]} == outside
    assert pruned(view), "ASHA prunes on the first objective"
    done = [t for t in view.trials() if t.state == "COMPLETE"]
    assert {t.values[1] for t in done} == {2.0, 6.0}
    front = view.pareto()
    assert front[0].value == max(t.value for t in done)
    beaten = [t for t in done for o in done if o.value > t.value and o.values[1] <= t.values[1]]
    assert {t.number for t in front} <= {t.number for t in done} - {t.number for t in beaten}
    assert "Pareto-optimal trials" in said


def test_patience_ends_a_search_that_gets_no_better(home):
    view, said = searched(home, "patient", "--patience", "4", "--trials", "200", "--sampler", "random")
    assert "Stopped: no better trial in the last" in said
    assert len(view.trials()) < 200
    assert len([t for t in view.trials() if t.counts and t.number > view.best().number]) >= 3


def test_a_target_ends_a_search_that_reaches_it(home):
    view, said = searched(home, "aimed", "--target", "0.6", "--trials", "200", "--pruner", "none")
    assert "Stopped: the target 0.6 is reached" in said
    assert view.best().value >= 0.6
    assert len(view.trials()) < 200


@pytest.mark.long
def test_four_trials_share_one_gpu(home):
    """A GPU by name alone, which Ray hands out like a real one; trials that hang are surely there together."""
    one = Search(home, "shared")
    shares = ("--concurrency", "4", "--gpus-per-trial", "0.25")
    one.start("--trials", "8", *shares, CUDA_VISIBLE_DEVICES="3", XRAYTUNE_FAULT="hang")
    try:
        one.until(lambda: len(one.workers()) == 4)
        assert "4 trials at once" in one.text
    finally:
        one.end()


@pytest.mark.long
def test_four_trials_on_two_gpus_at_half_of_one_each_see_their_own(search):
    """Two GPUs by name alone, which Ray hands out like real ones."""
    shares = ("--concurrency", "4", "--gpus-per-trial", "0.5")
    search.start("--trials", "4", *shares, CUDA_VISIBLE_DEVICES="2,3", XRAYTUNE_EPOCH_SECONDS="5")
    assert search.wait() == 0, search.text
    assert "4 trials at once" in search.text
    seen = [t["result"]["device"] for t in counted(search.trials())]
    assert sorted(seen) == ["gpu 2", "gpu 2", "gpu 3", "gpu 3"]
