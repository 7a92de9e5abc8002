"""Who decides: budgets, stopping, lost workers, hangs; shares of a machine; rungs."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from ray.exceptions import NodeDiedError, OutOfMemoryError, WorkerCrashedError

from search.cli import clock
from search.tuner.messages import TrialOutcome
from search.tuner.orchestrator import Budget, Orchestrator, SearchEnded
from search.tuner.pruning import AshaRule
from search.tuner.resources import count_gpus, share_resources
from search.tuner.scheduler import why_lost
from search.tuner.worker_process import share_gpu
from tests.inputs.made_conductors import Silent, Told
from tests.inputs.made_studies import result, trial
from xraytune.errors import FatalError, InputError
from xraytune.records import EpochReport, FailureCause

GIB = 2**30


def conductor(**budget):
    return Orchestrator(Told(), Silent(), Budget(**budget))


def report(epoch, value=0.5):
    return EpochReport(epoch=epoch, value=value, metrics={}, seconds={})


RESULT = SimpleNamespace(value=0.5)


@pytest.mark.parametrize("step", [-86400, 3600, 1e7])
def test_a_clock_that_is_set_neither_ends_a_search_nor_prolongs_it(monkeypatch, step):
    c, real = conductor(end=clock.now() + 60), time.time
    monkeypatch.setattr(time, "time", lambda: real() + step)
    assert not c.over()
    assert 50 < c.time_left() <= 60
    c.tick()
    steady = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: steady() + 61)
    assert c.time_left() < 0
    assert c.over() == "time budget reached"


def test_no_module_of_a_search_counts_time_by_the_system_s_clock():
    root = Path(clock.__file__).parents[1]
    users = {p.name for p in root.rglob("*.py") if "time.time()" in p.read_text() or "=time.time" in p.read_text()}
    stamps = {"tensorboard_tracker.py", "mlflow_tracker.py"}  # what they send carries the time of the day
    assert users - stamps == {"clock.py", "scratch.py"}  # the latter compares it with the time of a file


def test_no_more_trials_start_than_the_budget_has():
    c = conductor(trials=2)
    first = c.next()
    assert c.next() is not None
    assert c.next() is None
    assert c.heard(first.number, TrialOutcome(report=report(1), result=RESULT)) == "stop"
    assert c.next() is None
    assert not c.over()


def test_what_is_too_slow_for_the_time_that_is_left_is_excluded_before_the_next_trial_is_asked():
    seen = []

    class Slow:
        def learn(self, config, report):
            seen.append((config.family, report.epoch))

        def review(self, before, seconds):
            assert 50 < seconds <= 60
            return ({"cnn/width": (16,)}, ["cnn/width 64: too slow"]) if seen and not before else (before, [])

    c = conductor(end=clock.now() + 60)
    c.pace = Slow()
    first = c.next()
    assert c.study.left == {}
    c.heard(first.number, TrialOutcome(report=report(2)))
    assert seen == [("cnn", 2)]
    c.next()
    c.next()
    assert c.study.left == {"cnn/width": (16,)}
    assert c.study.said.count(("left", "cnn/width 64: too slow")) == 1


def test_a_pruned_trial_hands_over_its_result_before_it_ends():
    c = conductor()
    c.rule = SimpleNamespace(prune=lambda *a: True)
    number = c.next().number
    assert c.heard(number, TrialOutcome(report=report(1))) == "conclude"
    assert c.heard(number, TrialOutcome(result=RESULT)) == "stop"
    assert ("pruned", number) in c.study.said


def test_a_trial_that_the_deadline_cut_short_is_pruned_not_complete():
    c = conductor()
    number = c.next().number
    c.heard(number, TrialOutcome(report=report(1)))
    c.heard(number, TrialOutcome(report=report(1), result=RESULT))  # the last whole epoch again
    assert c.study.said[-1] == ("pruned", number)


@pytest.mark.parametrize(
    ("budget", "state", "why"),
    [
        ({"end": 1.0}, {}, "time budget reached"),
        ({"target": 0.9}, {"best": trial(0, 0.91)}, "the target 0.9 is reached"),
        ({"plateau": 3}, {"best": trial(0, 0.5), "since_best": 3}, "no better trial in the last 3"),
        ({}, {"failed_of_all": 0.5}, "50% failed"),
        ({"failures": 0.2}, {"failed_of_all": 0.25}, "25% failed"),
    ],
)
def test_why_a_search_is_over(budget, state, why):
    c = conductor(**budget)
    assert not conductor().over()
    vars(c.study).update(state)
    assert c.over() == why
    assert c.next() is None


def test_what_every_worker_would_meet_ends_the_search():
    c = conductor()
    number = c.next().number
    with pytest.raises(FatalError, match="weights are gone"):
        c.heard(number, TrialOutcome(fatal="the weights are gone"))
    assert not c.study.said  # the trial is asked for again when the search goes on


def test_running_trials_wrap_up_when_the_search_is_over():
    c = conductor(target=0.9)
    number = c.next().number
    c.study.best = trial(7, 0.95)
    assert c.heard(number, TrialOutcome(report=report(1))) == "conclude"


@pytest.mark.parametrize("why", ["the time was up", "interrupted by the user, just then"])
def test_when_the_grace_after_the_time_ends_what_had_reported_is_pruned_and_the_rest_interrupted(why):
    c = conductor(end=time.time() + 60)
    first, second = c.next().number, c.next().number
    c.heard(first, TrialOutcome(report=report(1)))
    object.__setattr__(c.budget, "end", 1.0)
    with pytest.raises(SearchEnded):
        c.tick()
    assert c.leave(why) == 1
    assert ("pruned", first) in c.study.said
    assert ("failed", second, "interrupted") in c.study.said


def test_a_lost_worker_is_replaced_twice_then_the_trial_fails():
    c = conductor()
    number = c.next().number
    for _ in range(2):
        c.lost(number, FailureCause.WORKER_LOST, "killed")
        assert c.next().number == number
    c.lost(number, FailureCause.WORKER_LOST, "killed")
    assert c.study.said == [("failed", number, "worker_lost")]


def test_a_worker_that_the_machine_had_no_memory_for_is_not_tried_again():
    c = conductor()
    c.lost(c.next().number, FailureCause.OOM, "no memory")
    assert c.study.said == [("failed", 0, "oom")]


def test_a_trial_that_hangs_is_named_once_and_recorded_as_timeout():
    c = conductor(trial_timeout=0.01)
    number = c.next().number
    assert c.tick() == []  # not started yet: it waits for a worker
    c.started(number)
    time.sleep(0.02)
    assert c.tick() == [number]
    assert c.tick() == []
    c.lost(number, FailureCause.WORKER_LOST, "killed by us")
    assert c.study.said == [("failed", number, "timeout")]


@pytest.mark.parametrize(
    ("machine", "concurrency", "cpus", "gpus"),
    [
        ({"cores": 2, "gpus": 0, "memory": 16 * GIB}, 2, 1, 0),
        ({"cores": 2, "gpus": 0, "memory": 2 * GIB}, 1, 2, 0),
        ({"cores": 16, "gpus": 0, "memory": 64 * GIB}, 8, 2, 0),
        ({"cores": 16, "gpus": 1, "memory": 64 * GIB}, 1, 16, 1),
        ({"cores": 64, "gpus": 8, "memory": 512 * GIB}, 8, 8, 1),
        ({"cores": 16, "gpus": 1, "memory": 64 * GIB, "gpus_per_trial": 0.25}, 4, 4, 0.25),
    ],
)
def test_shares_fit_the_machine(machine, concurrency, cpus, gpus):
    shares = share_resources(**machine)
    assert (shares.concurrency, shares.cpus, shares.gpus) == (concurrency, cpus, gpus)


def test_shares_that_cant_be_had_are_refused():
    with pytest.raises(InputError, match="has 0 GPUs"):
        share_resources(gpus_per_trial=0.5, cores=2, gpus=0, memory=GIB)
    with pytest.raises(InputError, match="--concurrency"):
        share_resources(concurrency=0, cores=2, gpus=0, memory=GIB)


@pytest.mark.parametrize(
    ("there", "asked", "share"),
    [({"CPU": 8, "GPU": 4}, None, 1.0), ({"CPU": 8}, None, 0.0), ({"GPU": 4}, 0.25, 0.25), ({"GPU": 4}, 0.0, 0.0)],
)
@pytest.mark.parametrize("here", [0, 2])
def test_the_gpus_of_a_joined_cluster_count_not_those_of_the_machine_that_joins_it(here, there, asked, share):
    shares = share_resources(None, None, asked, cores=2, gpus=here, memory=GIB, joined=True).joined(there, asked)
    assert shares.gpus == share


@pytest.mark.parametrize(("visible", "count"), [("2,3", 2), ("GPU-8932f937", 1), ("-1", 0), ("", 0), ("0,-1,1", 1)])
def test_gpus_that_the_user_hides_are_not_handed_out(monkeypatch, visible, count):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert count_gpus() == count


def test_a_trial_without_a_result_keeps_on_what_it_ran_and_how_long(make):
    study = make()
    c = Orchestrator(study, Silent(), Budget())
    failed, cut = c.next().number, c.next().number
    first = EpochReport(1, 0.5, {}, {"build": 3.0, "train": 1.0})
    for number in (failed, cut):
        c.heard(number, TrialOutcome(report=first, machine={"host": "there", "device": "gpu"}))
        c.heard(number, TrialOutcome(report=first))  # again, after a lost worker
    c.heard(cut, TrialOutcome(report=EpochReport(2, 0.6, {}, {"train": 2.0})))
    peak = {"host": "there", "peak_memory_mb": 900.0}
    c.heard(failed, TrialOutcome(failure=(FailureCause.OOM, "no memory"), machine=peak))
    c.stop("time budget reached")
    c.leave("the time was up")
    trials = study.view().trials()
    assert [t.state for t in trials] == ["FAIL", "PRUNED"]
    there = {"host": "there", "device": "gpu"}
    assert trials[0].ran == {**there, **peak, "seconds": {"build": 3.0, "train": 1.0}}
    assert trials[1].ran == {**there, "seconds": {"build": 3.0, "train": 3.0}}


def test_the_worst_of_a_rung_stop_but_never_within_their_grace():
    rule = AshaRule(9, grace={"slow": 3})
    for number, value in enumerate((0.9, 0.8, 0.7)):
        assert not rule.prune(number, "quick", 1, value), "a rung stops nobody before three reached it"
    assert rule.prune(3, "quick", 1, 0.1)
    assert not rule.prune(4, "slow", 1, 0.1)
    assert not rule.prune(5, "quick", 1, 0.95)


def test_an_epoch_that_is_reported_again_counts_once_in_its_rung():
    rule = AshaRule(9, grace={})
    for number, value in ((0, 0.9), (0, 0.9), (1, 0.8), (1, 0.8), (2, 0.1)):
        assert not rule.prune(number, "quick", 1, value), "only three have reached it"


def test_asha_decides_after_a_resume_as_it_would_have_before(make):
    """Each trial's best epoch comes early; what it has later is not what it stands at."""

    def verdicts(study, rule):
        c = Orchestrator(study, Silent(), Budget(), rule)
        number = c.next().number
        told = [EpochReport(e, v, {}, {}, best_value=v) for e, v in ((1, 0.95), (2, 0.95), (3, 0.5))]
        said = [c.heard(number, TrialOutcome(report=report)) for report in told]
        c.leave("interrupted")
        return said

    study, rule = make(), AshaRule(9, grace={})
    c = Orchestrator(study, Silent(), Budget(), rule)
    for best in (0.7, 0.8, 0.9, 0.99):
        number = c.next().number
        for epoch, value in enumerate((best, 0.2, 0.3), 1):
            c.heard(number, TrialOutcome(report=EpochReport(epoch, value, {}, {}, best_value=best)))
        study.complete(number, result(best, 3))
        del c.running[number]
    before = verdicts(study, rule)
    assert before == ["continue", "continue", "conclude"]
    study.close()
    resumed, again = make(resume=True), AshaRule(9, grace={})
    earlier = resumed.view().trials()
    assert [t.interrupted for t in earlier[4:]] == [True, False]  # cut off, and queued again
    again.replay(earlier)
    assert verdicts(resumed, again) == before


RAYS_ADVICE = """The actor died unexpectedly before finishing this task.
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker
unexpectedly exits with a connection error code 2. End of file. Some common causes include: (1) it was killed by
the OOM killer due to high memory usage. If the process was killed by the kernel OOM killer (verifiable by checking for
OOM in dmesg of the OOMing node), consider enabling resource isolation to prevent uninformed kernel OOM killing."""
RAYS_GUESS = """The actor died unexpectedly before finishing this task.
Worker exit detail: Worker unexpectedly exits with a connection error code 2. There are some potential root causes.
(1) The process is killed by SIGKILL by OOM killer due to high memory usage. (2) ray stop --force is called."""
NO_MEMORY = "Task was killed due to the node running low on memory."


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (None, FailureCause.WORKER_LOST),
        (WorkerCrashedError(), FailureCause.WORKER_LOST),
        (NodeDiedError(RAYS_GUESS), FailureCause.WORKER_LOST),
        (NodeDiedError(RAYS_ADVICE), FailureCause.WORKER_LOST),
        (OutOfMemoryError("killed"), FailureCause.OOM),
        (NodeDiedError(NO_MEMORY), FailureCause.OOM),
        (MemoryError(), FailureCause.OOM),
        (KeyError("odd"), FailureCause.ERROR),
    ],
)
def test_a_lost_worker_has_a_cause_and_rays_guess_at_memory_is_none(error, cause):
    assert why_lost(error)[0] is cause


def test_an_epoch_whose_objective_was_not_measured_stops_no_trial(make):
    class Stops:
        def __init__(self):
            self.asked = []

        def prune(self, number, family, epoch, value, site=""):
            self.asked.append(epoch)
            return False

    rule = Stops()
    c = Orchestrator(make(), Silent(), Budget(), rule)
    number = c.next().number
    for epoch in range(1, 5):
        c.heard(number, TrialOutcome(report=EpochReport(epoch, 0.5, {}, {}, best_value=0.5, judged=epoch in {1, 3})))
    assert rule.asked == [1, 3]


@pytest.mark.parametrize(
    ("share", "seen", "fraction"), [(0, "-1", None), (0.25, "1", "0.225"), (0.5, "1", "0.450"), (1, "1", None)]
)
def test_a_worker_takes_no_more_of_a_gpu_than_its_share(monkeypatch, share, seen, fraction):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.setenv("TF_FORCE_GPU_ALLOW_GROWTH", "false")
    monkeypatch.setenv("XLA_PYTHON_CLIENT_MEM_FRACTION", "")
    monkeypatch.delenv("XLA_PYTHON_CLIENT_MEM_FRACTION")
    share_gpu(share)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == seen
    assert os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"
    assert os.environ.get("XLA_PYTHON_CLIENT_MEM_FRACTION") == fraction
