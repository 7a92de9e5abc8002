"""One search, run: Tune's loop around the conductor."""

from __future__ import annotations

import _thread
import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.study.database import with_note
from search.study.study import Study
from search.study.view import TrialRecord
from search.tuner import SETTINGS
from search.tuner.cluster import Cluster
from search.tuner.job import Job
from search.tuner.orchestrator import Budget, Orchestrator, Pace, PruningRule, SearchEnded, View
from search.tuner.resources import Resources
from xraytune.errors import FatalError, full_disk

HARD_EXIT = 7.0
"""Seconds after the first Ctrl-C at which the driver ends itself, should anything hang: 10 are promised."""

COMPUTED_BY = ("KERAS_BACKEND", "TF_DETERMINISTIC_OPS")
"""Environment variables that workers are given on whatever machine."""

for _name, _value in SETTINGS.items():
    os.environ.setdefault(_name, _value)


class SignalledError(FatalError):
    """The user (or the system) asked the search to end; carries the shell's exit code for it."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = 128 + number


@dataclass(frozen=True)
class Limits:
    """What the trials of one session are given, and when they are over."""

    resources: Resources
    """What each trial is given."""
    budget: Budget
    """When the session is over."""
    pruner: str = "asha"
    """asha, hyperband, median or none."""
    max_epochs: int = 0
    """The most epochs a trial can have, 0 where the space says."""
    trial_memory: int = 0
    """Bytes a trial may take, 0 for no limit."""
    own_process: bool = True
    """Whether this process may be ended where a search that is to end hangs: a user's own must not be."""


def run(
    study: Study,
    job: Job,
    view: View,
    cluster: Cluster,
    limits: Limits,
    earlier: Sequence[TrialRecord] = (),
    where: str = "",
    pace: Pace | None = None,
) -> Orchestrator:
    """Run trials until the budget is spent; everything that happens is in the study when this returns or raises.

    Args:
        study: owned, open.
        job: what the workers do.
        view: who is shown what happens.
        cluster: Ray, started; ended at once where the search is asked to end.
        limits: what trials are given, and when it is over.
        earlier: the study's trials so far, for the rungs.
        where: options by which the study is found, for the command named after an interruption.
        pace: excludes what is too slow; None where nothing may follow from a clock.

    Returns:
        The conductor, which knows why the search ended.

    Raises:
        SignalledError: Ctrl-C or SIGTERM; running trials are recorded as interrupted.
        FatalError: Ray, the database or the disk failed.
    """
    conductor = Orchestrator(study, view, limits.budget, pace=pace)
    with _signals(own_process=limits.own_process) as asked_to_end:
        conductor.rule = _rule(limits.pruner, study, limits.max_epochs, list(earlier))
        try:
            _tune(conductor, job, limits.resources, cluster, asked_to_end, memory=limits.trial_memory)
        except SearchEnded as ended:
            if isinstance(ended.__cause__, FatalError):
                _abandon(conductor, ended.__cause__)
                raise ended.__cause__ from None
        except BaseException as error:
            _abandon(conductor, error)
            if full := full_disk(error, cluster.folder):
                raise full from None
            raise
        if asked_to_end:
            interrupted = conductor.leave("asked for by the user")
            cluster.stop(at_once=True)
            raise SignalledError(asked_to_end[0], _farewell(study, interrupted, where))
        conductor.over()
        conductor.leave("the time was up before its first epoch ended")
    return conductor


def _abandon(conductor: Orchestrator, error: BaseException) -> None:
    """Record running trials as interrupted, if the database takes it: a full disk can't; resume sorts it out then."""
    with contextlib.suppress(FatalError):
        conductor.leave(f"the search stopped ({type(error).__name__})")


def _farewell(study: Study, interrupted: int, where: str) -> str:
    running = (
        f"{interrupted} running trials are queued again" if interrupted != 1 else "1 running trial is queued again"
    )
    return with_note(
        f"interrupted. Study {study.spec.name!r} is intact: {study.tally.ended} trials ended, {running}. Continue "
        f"with:\n  python -m search.run --study {study.spec.name} --resume{where}"
    )


def _rule(pruner: str, study: Study, max_epochs: int, earlier: list[TrialRecord]) -> PruningRule | None:
    from search.tuner.pruning import AshaRule, OptunaRule

    if pruner == "none":
        return None
    if pruner == "asha":
        rule = AshaRule(max_epochs or 100)
        rule.replay(earlier)
        return rule
    return OptunaRule(study)


def _tune(
    conductor: Orchestrator,
    job: Job,
    resources: Resources,
    cluster: Cluster,
    asked_to_end: list[int],
    *,
    memory: int,
) -> None:
    import ray
    from ray import tune

    from search.tuner.messages import Assignment
    from search.tuner.scheduler import Heartbeat, StudyScheduler
    from search.tuner.searcher import StudySearcher
    from search.tuner.trainable import TrialTrainable

    for name in ("ray", "ray.tune"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    logs = conductor.study.folder / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    assignment = Assignment(
        job=ray.cloudpickle.dumps(job),
        pools=_travelling(job) if cluster.joined else {},
        scratch=str(Path(cluster.folder) / "trials"),
        logs=str(logs.resolve()),
        threads=resources.threads,
        gpus=resources.gpus,
        memory=memory,
        environment={name: os.environ[name] for name in COMPUTED_BY if name in os.environ},
    )
    shares = tune.PlacementGroupFactory(
        [{"CPU": resources.cpus, **({"GPU": resources.gpus} if resources.gpus else {})}]
    )
    trainable = tune.with_resources(tune.with_parameters(TrialTrainable, assignment=assignment), shares)
    scheduler = StudyScheduler(conductor)
    tune.run(
        trainable,
        num_samples=-1,
        search_alg=StudySearcher(conductor, scheduler, resources.concurrency if cluster.joined else 0),
        scheduler=scheduler,
        callbacks=[Heartbeat(conductor, scheduler, asked_to_end)],
        reuse_actors=True,
        max_failures=0,
        raise_on_failed_trial=False,
        storage_path=str(Path(cluster.folder) / "tune"),
        name="search",
        verbose=0,
        trial_dirname_creator=lambda trial: f"{trial.config['number']:06d}-{trial.trial_id}",
        trial_name_creator=lambda trial: f"{trial.config['number']:06d}",
    )
    ray.logger.setLevel(logging.CRITICAL)


def _travelling(job: Job) -> Mapping[int, Any]:
    """Large arrays in Ray's object store: they travel once a node, where every worker maps them."""
    import numpy as np
    import ray

    return {
        size: ray.put(np.load(pool, mmap_mode="r") if isinstance(pool, Path) else pool)
        for size, pool in job.pools().items()
    }


@contextlib.contextmanager
def _signals(*, own_process: bool) -> Iterator[list[int]]:
    """Note SIGINT and SIGTERM instead of dying of them; the second one, or a hang, ends the process at once.

    In a process that is not the search's own, the second one or a hang raises `KeyboardInterrupt` instead.

    Yields:
        A list that is empty until a signal came, then holds its number.
    """
    received: list[int] = []

    def give_up(number: int) -> None:
        # the watchdog sees our end, kills what is left of Ray and removes its files
        print("interrupted; running trials are queued again on --resume.", file=sys.stderr, flush=True)
        os._exit(128 + number)

    def note(number: int, frame: Any) -> None:
        if received and not own_process:
            raise KeyboardInterrupt
        if received:
            give_up(number)
        received.append(number)
        timer = threading.Timer(HARD_EXIT, give_up if own_process else _thread.interrupt_main, [number])
        timer.daemon = True
        timer.start()
        timers.append(timer)

    timers: list[threading.Timer] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for timer in timers:
            timer.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)
