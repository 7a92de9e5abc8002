"""One session of a search."""

from __future__ import annotations

import contextlib
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from search.cli import clock
from search.driver.options import SessionOptions, StudyOptions, budget, check
from search.driver.prepare import prepare
from search.driver.prepared import Prepared
from search.samplers import SAMPLERS
from search.study.lock import StudyLock, check_name, default_names
from xraytune import artifacts
from xraytune.data.sources.open_source import canonical, is_demo
from xraytune.errors import FatalError, InputError, StudyError
from xraytune.records import StudySpec, objective_label

if TYPE_CHECKING:
    from search.cli.live_view import Progress
    from search.driver.initial_trials import FirstTrials
    from search.study.study import Study
    from search.study.view import StudyView
    from search.tracking.callbacks import Callback
    from search.tuner.cluster import Cluster
    from search.tuner.job import Job
    from search.tuner.orchestrator import Orchestrator
    from search.tuner.resources import Resources


def search(
    options: StudyOptions,
    running: SessionOptions | None = None,
    callbacks: Sequence[Callback] = (),
    shown: Progress | None = None,
) -> StudyView:
    """Search, show it, keep it.

    Args:
        options: what is searched.
        running: how.
        callbacks: told what happens, beside the trackers that `running` asks for.
        shown: how it is shown; None: as the command shows it.

    Returns:
        The study as it stands at the end.

    Raises:
        FatalError: and its kinds; the message is for the user.
    """
    running = running or SessionOptions()
    check(options, running)
    running.check_tracking(callbacks)
    lock = _locked(options, running)
    name = lock.name
    study: Study | None = None
    try:
        from search.cli.live_view import Progress

        with shown or Progress(begun=running.begun, verbose=running.verbose) as progress:
            progress.step(0, 0, "preparing")
            options, stored, cache = _completed(options, running, name, progress)
            plan, cluster = _cluster(running, cache)
            try:
                prepared = prepare(
                    options, name, cache, progress.step, stored,
                    deterministic=running.deterministic, after_reading=cluster.begin,
                )  # fmt: skip
                options = _limited(options, prepared, progress)
                _tell(prepared, progress)
                first = _check_study(options, running, prepared)
                job = prepared.make_job(progress.step)
                plan = _started(cluster, plan, running, progress)
                study = _make(options, running, prepared, name, lock, first)
                conductor, preparation = _run(options, running, study, job, progress, cluster, plan, callbacks)
            finally:
                cluster.stop(at_once=isinstance(sys.exception(), KeyboardInterrupt))
    except BaseException:
        lock.release(remove=study is None)
        raise
    return _ended(study, conductor, running, options, preparation)


def _locked(options: StudyOptions, running: SessionOptions) -> StudyLock:
    """The lock of the study that the user named, else of the first default name that is free."""
    if options.study:
        return StudyLock(running.results, check_name(options.study))
    for name in _free_names(options, running):
        with contextlib.suppress(StudyError):  # another search has just taken it
            return StudyLock(running.results, name)
    raise AssertionError  # names never end


def _free_names(options: StudyOptions, running: SessionOptions) -> Iterator[str]:
    """Default names that no study has."""
    studies = running.studies
    for name in default_names(canonical(options.data)):
        if not (running.results / name).exists() and not studies.exists(name):
            yield name


def rehearse(options: StudyOptions, running: SessionOptions | None = None) -> None:
    """Do what a search does before its first trial, and print what would follow; leaves nothing but the cache.

    The first configurations are those that the search itself would try: they are asked of a study in a temporary
    folder. Ray is not started.

    Raises:
        FatalError: and its kinds, as `search` would raise them; a study that is resumed has begun already.
    """
    running = running or SessionOptions()
    check(options, running)
    if options.resume:
        raise InputError("--dry-run shows how a study begins. Leave --resume out, or see: python -m search.leaderboard")
    name = check_name(options.study) if options.study else next(_free_names(options, running))
    from search.cli.live_view import Progress
    from search.driver import rehearsal

    with Progress(begun=running.begun, verbose=running.verbose) as progress, TemporaryDirectory() as folder:
        progress.step(0, 0, "preparing")
        options, stored, cache = _completed(options, running, name, progress)
        plan, _ = _cluster(running, cache)
        prepared = prepare(options, name, cache, progress.step, stored, deterministic=running.deterministic)
        _tell(prepared, progress)
        first = _check_study(options, running, prepared)
        job = prepared.make_job(progress.step)
        progress.step(0, 0, "asking for the first trials")
        place = replace(running, results=Path(folder), storage=f"sqlite:///{folder}/studies.db")
        study = _make(options, place, prepared, name, StudyLock(place.results, name), first)
        try:
            asked = [study.ask() for _ in range(rehearsal.ASKED)]
            origins = {trial.number: str(trial.attributes.get("origin", "")) for trial in study.view().trials()}
        finally:
            study.close()
    left = None if options.time is None else options.time - (clock.now() - running.begun)
    rehearsal.show(asked, origins, rehearsal.Bounds(options.trials, left, options.max_epochs), plan, job, prepared)


def _completed(
    options: StudyOptions, running: SessionOptions, name: str, progress: Progress
) -> tuple[StudyOptions, StudySpec | None, Path]:
    """The options with what a resumed study and the defaults say, that study's specification, and the cache folder."""
    from search.study import own_space
    from search.study.view import stored_spec
    from xraytune.data import cache as data_cache

    stored, named = None, options.space
    if options.resume:
        stored = stored_spec(name, running.studies)
        options = options.completed(running.studies.request(name))
        check(options, running)
    else:
        running.studies.check_free(name)
    sampler = options.sampler or (stored.sampler if stored else SAMPLERS[0])
    if running.deterministic:
        os.environ["TF_DETERMINISTIC_OPS"] = "1"
    if options.cache:
        os.environ["XRAYTUNE_CACHE"] = str(options.cache.absolute())  # for the workers too
    for space in {options.space, stored.space if stored else None}:
        own_space.check(name, space, named, running.studies)
    demonstration = is_demo(options.data)
    trials, seconds = budget(options.trials, options.time, demonstration=demonstration)
    progress.label, progress.demonstration = objective_label(options.objective, options.beta), demonstration
    progress.trials, progress.max_epochs = trials, options.max_epochs
    progress.end = running.begun + seconds if seconds is not None and not options.resume else None
    return replace(options, trials=trials, time=seconds, sampler=sampler), stored, data_cache.folder()


def _limited(options: StudyOptions, prepared: Prepared, progress: Progress) -> StudyOptions:
    """The options with no more trials than there is to try."""
    if prepared.most_trials is None:
        return options
    progress.trials = prepared.most_trials
    return replace(options, trials=prepared.most_trials)


def _tell(prepared: Prepared, progress: Progress) -> None:
    """Show what was found out."""
    progress.label, progress.demonstration = prepared.spec.label, prepared.spec.demonstration
    for note in prepared.notes:
        progress.detail(note)
    for line in prepared.opening:
        progress.note(line)


def _started(cluster: Cluster, plan: Resources, running: SessionOptions, progress: Progress) -> Resources:
    """Wait for Ray, which a search without images starts only now; what trials are given on it."""
    progress.step(0, 0, "starting Ray")
    cluster.begin()
    cluster.wait()
    return plan.joined(cluster.machines(), running.gpus_per_trial) if cluster.joined else plan


def _cluster(running: SessionOptions, cache: Path) -> tuple[Resources, Cluster]:
    """What trials are given, and where they run; not yet started."""
    from search.tuner import resources
    from search.tuner.cluster import Cluster

    plan = resources.share_resources(
        running.concurrency, running.cpus_per_trial, running.gpus_per_trial, joined=running.address is not None
    )
    return plan, Cluster(plan, cache, running.address, running.ray_dashboard)


def _ended(
    study: Study, conductor: Orchestrator, running: SessionOptions, options: StudyOptions, preparation: float
) -> StudyView:
    """Close the study and sum up.

    Raises:
        FatalError: too many of its trials failed, or all that there were; none finished.
    """
    from search.reporting.search_summary import summarize, why_none

    failing = conductor.why_over if conductor.failed else study.tally.failing(1.0, least=1)
    study.note(stopped=conductor.why_over)
    view = study.view()
    study.close()
    summarize(view, conductor.why_over, running.where)
    if failing:
        raise FatalError(f"Stopped: {failing}\nWhat workers printed: {study.folder / 'logs'}")
    if not study.tally.counts["COMPLETE"]:
        raise FatalError(why_none(options.time, preparation, f"{view.name}{running.where}"))
    return view


def _check_study(options: StudyOptions, running: SessionOptions, prepared: Prepared) -> FirstTrials:
    """What is tried first; before Ray is started, a study made with something else and a useless warm start refused."""
    from search.driver import initial_trials
    from search.study.create import check_existing

    if options.resume:
        check_existing(prepared.spec, running.studies)
    warm = initial_trials.warm(prepared, running.warm_start, running.studies)
    return initial_trials.first_trials(prepared, warm)


def _make(
    options: StudyOptions, running: SessionOptions, prepared: Prepared, name: str, lock: StudyLock, first: FirstTrials
) -> Study:
    """Make or resume the study, with its queue of first trials."""
    from search.hyperparameters.suggestion import Narrowing
    from search.reporting.dashboard_pages import DashboardPages
    from search.samplers import factory
    from search.study import create
    from search.tuner import pruning

    study = create.create(
        prepared.spec,
        prepared.declaration,
        lock,
        resume=options.resume,
        storage=running.storage,
        sampler=factory.make_sampler(
            prepared.spec.sampler,
            options.seed,
            declaration=prepared.declaration,
            narrowing=Narrowing(prepared.spec.fixed, prepared.spec.narrowed),
            existing=running.studies.count(name) if options.resume else 0,
            objectives=len(options.objectives),
            once=prepared.once,
        ),
        pruner=pruning.make_pruner(options.pruner),
        pages=DashboardPages(prepared.opening[:2], options.trials, options.time, running.where),
    )
    for one in first:
        study.enqueue(one.values, one.origin, one.recipe)
    return study


def _run(
    options: StudyOptions,
    running: SessionOptions,
    study: Study,
    job: Job,
    progress: Progress,
    cluster: Cluster,
    plan: Resources,
    callbacks: Sequence[Callback],
) -> tuple[Orchestrator, float]:
    """Run the trials; the conductor, which knows why they ended, and the seconds before the first of them."""
    from search.cli import config_file
    from search.driver import opening, pace
    from search.driver.following import followed
    from search.study import own_space
    from search.study.tally import FAILURE_SHARE
    from search.tuner import engine
    from search.tuner.orchestrator import Budget

    earlier = study.view().trials()
    families = Counter(trial.family for trial in earlier if trial.counts)
    progress.start_from(study.tally.counts, families, lambda: study.tally.best)
    end = running.begun + options.time - study.seconds_spent() if options.time is not None else None
    progress.end = end
    progress.log_to(study.folder)
    study.note(
        request={**options.to_request(), "trials": options.trials, "time": options.time},
        **{own_space.ATTRIBUTE: own_space.mark(study.spec.name, study.spec.space)},
    )
    artifacts.write_text(study.folder / config_file.NAME, config_file.text(options, running))
    study.begin(running.begun, **running.settings(plan))
    study.describe()
    progress.note(
        opening.on_study(study.spec.name, study.tally.ended, plan, options.trials, options.time, joined=cluster.joined)
    )
    progress.note(opening.on_results(study.folder))
    for line in running.followed_at(study.folder):
        progress.note(line)
    preparation = clock.now() - running.begun
    budget = Budget(
        options.trials,
        end,
        running.patience,
        running.target,
        running.trial_timeout,
        FAILURE_SHARE if running.failures is None else running.failures,
    )
    limits = engine.Limits(
        plan, budget, options.pruner, options.max_epochs,
        trial_memory=running.trial_memory, own_process=running.own_process,
    )  # fmt: skip
    with followed(progress, study, running.dispatcher(callbacks, progress.warn)) as view:
        timed = None if running.deterministic else pace.of(job, study.spec, plan, options.trials)
        conductor = engine.run(study, job, view, cluster, limits, earlier, running.where, timed)
        view.why = conductor.why_over
    return conductor, preparation
