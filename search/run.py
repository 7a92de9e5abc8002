"""`make search`: Optuna decides, Ray Tune runs the trials, the study keeps what they found.

From Python: `search.run.search(Options(…), …)` does what the command does and returns the study for reading.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from search.budget import budget
from search.cli import console, quantities
from search.prepare import Prepared, StudyOptions, prepare
from search.running import SessionOptions
from search.samplers import SAMPLERS
from search.study.lock import StudyLock, check_name, dated_name
from search.tuner import PRUNERS
from xraytune.data.sources.open_source import is_demo
from xraytune.errors import FatalError, InputError
from xraytune.records import Objective, StudySpec, objective_label

if TYPE_CHECKING:
    from search.cli.live_view import Progress
    from search.first_trials import FirstTrials
    from search.study.study import Study
    from search.study.view import StudyView
    from search.tuner.cluster import Cluster
    from search.tuner.orchestrator import Orchestrator
    from search.tuner.resources import Resources

REMOVED = {
    "--sampler gp": "Use --sampler bo: its Gaussian process takes spaces with branches too.",
    "--sampler qmc": "Use --sampler bo or tpe: both start with random trials.",
    "--xla": "It made training on CPUs slower. KERAS_BACKEND=jax compiles every training step.",
}
"""Options, or values of options, that no longer exist, and what replaces them."""

EXAMPLES = """
python -m search.run
python -m search.run --data path/to/chest_xray --time 30m --study mine
python -m search.run --study mine --resume --time 1h
python -m search.run --data path/to/chest_xray --families cnn,densenet --fix batch_size=32 --trials 40
"""


def main(
    context: typer.Context,
    data: Annotated[str | None, typer.Option(help="Folder of X-rays, archive, .npz, or demo [default: demo]")] = None,
    space: Annotated[str | None, typer.Option(help="chest_xray, smoke, module:name or file.py:name")] = None,
    trials: Annotated[int | None, typer.Option(help="Trials in all")] = None,
    time_: Annotated[str | None, typer.Option("--time", help="Time in all: 90s, 30m, 1h30m")] = None,
    study: Annotated[str | None, typer.Option(help="Name of the study [default: the date]")] = None,
    beta: Annotated[float, typer.Option(help="F-beta's beta: recall counts so many times precision")] = 2.0,
    seed: Annotated[int, typer.Option(help="Seed of split, suggestions and training")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the study named")] = False,
    families: Annotated[str | None, typer.Option(help="Only these families: cnn,densenet")] = None,
    fix: Annotated[list[str] | None, typer.Option(help="Hold a hyperparameter: NAME=VALUE (repeatable)")] = None,
    objective: Annotated[
        str, typer.Option(help="robust (shifted views of the validation images too), or clean (as they are)")
    ] = "robust",
    objectives: Annotated[str, typer.Option(help="f_beta, or with a second: f_beta,inference_ms")] = "f_beta",
    positive: Annotated[str | None, typer.Option(help="The positive class's name")] = None,
    fit: Annotated[str, typer.Option(help="How a film becomes a square: crop, pad or squash")] = "crop",
    sampler: Annotated[str | None, typer.Option(help="bo, tpe or random [default: bo]")] = None,
    pruner: Annotated[str, typer.Option(help="asha, hyperband, median or none")] = "asha",
    concurrency: Annotated[int | None, typer.Option(help="Trials at once [default: as many as fit]")] = None,
    gpus_per_trial: Annotated[float | None, typer.Option(help="GPUs a trial; 0.25: four share one")] = None,
    cpus_per_trial: Annotated[float | None, typer.Option(help="CPU cores a trial")] = None,
    trial_timeout: Annotated[str | None, typer.Option(help="A trial that takes longer fails: 10m")] = None,
    trial_memory: Annotated[str | None, typer.Option(help="Memory a trial may take: 4GB")] = None,
    deterministic: Annotated[bool, typer.Option("--deterministic", help="Repeatable with --concurrency 1")] = False,
    weights_dir: Annotated[Path | None, typer.Option(help="Folder of pretrained weights")] = None,
    results: Annotated[Path, typer.Option(help="Where studies are kept")] = Path("results"),
    cache: Annotated[Path | None, typer.Option(help="Where decoded images are kept")] = None,
    precision: Annotated[str, typer.Option(help="float32, bfloat16 or auto: the faster here")] = "auto",
    cache_limit: Annotated[str | None, typer.Option(help="What kept prefixes may take on disk: 20GB")] = None,
    storage: Annotated[
        str | None, typer.Option(help="Database URL [default: $XRAYTUNE_STORAGE, else SQLite in results]")
    ] = None,
    address: Annotated[str | None, typer.Option(help="Join a running Ray cluster: auto or host:6379")] = None,
    ray_dashboard: Annotated[bool, typer.Option("--ray-dashboard", help="Ray's own dashboard, on 127.0.0.1")] = False,
    warm_start: Annotated[str | None, typer.Option(help="Try the best of an earlier study first")] = None,
    patience: Annotated[int | None, typer.Option(help="Stop when so many trials brought no better one")] = None,
    target: Annotated[float | None, typer.Option(help="Stop when the objective reaches this")] = None,
    failures: Annotated[
        float | None, typer.Option(help="Stop when this share of five or more trials failed [default: 0.5]")
    ] = None,
    recipes: Annotated[str, typer.Option(help="Published configurations to try first: fitting, all, none, names")] = (
        "fitting"
    ),
    quarantine: Annotated[bool, typer.Option("--quarantine", help="Leave damaged images out, say which")] = False,
    patient_regex: Annotated[str | None, typer.Option(help="Finds the patient in a file's path")] = None,
    max_epochs: Annotated[int, typer.Option(help="The most epochs a trial may run; 0: as the space says")] = 0,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print all that search.log says")] = False,
) -> None:
    """Search for the best network for a folder of labelled chest X-rays.

    Without --data it searches on drawn phantoms, a demonstration of four minutes. TRIALS and TIME are totals of the
    study; with --data and neither, TIME is 30m.
    """
    options = StudyOptions(
        data=data,
        space=space,
        trials=trials,
        seconds=quantities.duration(time_) if time_ else None,
        study=study,
        beta=beta,
        seed=seed,
        resume=resume,
        families=tuple(part.strip() for part in families.split(",") if part.strip()) if families else (),
        fix=_assignments(fix or []),
        objective=objective,
        objectives=tuple(part.strip() for part in objectives.split(",")),
        positive=positive,
        fit=fit,
        sampler=sampler,
        pruner=pruner,
        recipes=recipes,
        quarantine=quarantine,
        patient_regex=patient_regex,
        max_epochs=max_epochs,
        weights_dir=weights_dir,
        cache=cache,
        precision=precision,
        cache_limit=quantities.size(cache_limit, "--cache-limit") if cache_limit else 0,
        given=_given(context),
    )
    running = SessionOptions(
        results=results,
        storage=storage,
        concurrency=concurrency,
        gpus_per_trial=gpus_per_trial,
        cpus_per_trial=cpus_per_trial,
        trial_timeout=quantities.duration(trial_timeout, "--trial-timeout") if trial_timeout else None,
        trial_memory=quantities.size(trial_memory, "--trial-memory") if trial_memory else 0,
        deterministic=deterministic,
        address=address,
        ray_dashboard=ray_dashboard,
        warm_start=warm_start,
        patience=patience,
        target=target,
        failures=failures,
        verbose=verbose,
    )
    search(options, running)


def _given(context: typer.Context) -> frozenset[str]:
    """The options that stand on the command line, by their names in `Options`."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return frozenset(n for n, source in sources.items() if source is not None and source.name == "COMMANDLINE")


def _assignments(pairs: list[str]) -> dict[str, str]:
    """`NAME=VALUE` options by name.

    Raises:
        InputError: one is not of that form.
    """
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip() or not value.strip():
            raise InputError(f"--fix {pair!r}: write NAME=VALUE, for example --fix batch_size=32.")
        found[name.strip()] = value.strip()
    return found


def check(options: StudyOptions, running: SessionOptions) -> None:
    """Refuse what can be refused before anything slow is imported or read.

    Raises:
        InputError: with what to change.
    """
    for option, number in (("--trials", options.trials), ("--patience", running.patience)):
        if number is not None and number < 1:
            raise InputError(f"{option} must be 1 or more, not {number}.")
    if running.failures is not None and not 0 < running.failures <= 1:
        raise InputError(f"--failures must be a share above 0 and up to 1, not {running.failures:g}: 0.5 is half.")
    if not options.beta > 0:
        raise InputError(f"--beta must be above 0, not {options.beta:g}: 2 counts recall twice, 1 is plain F1.")
    if options.seed < 0 or options.max_epochs < 0:
        raise InputError("--seed and --max-epochs can't be negative.")
    for option, chosen, known in (
        ("--objective", options.objective, tuple(Objective)),
        ("--fit", options.fit, ("crop", "pad", "squash")),
        ("--sampler", options.sampler or SAMPLERS[0], SAMPLERS),
        ("--precision", options.precision, ("auto", "float32", "bfloat16")),
        ("--pruner", options.pruner, PRUNERS),
    ):
        if chosen not in known:
            raise InputError(f"{option} {chosen!r} is not known. There are: {', '.join(known)}.")
    if options.objectives[0] != "f_beta" or len(options.objectives) > 2 or not all(options.objectives):
        raise InputError("--objectives: f_beta first, and at most one more: f_beta,parameters.")
    if len(options.objectives) > 1 and options.pruner in {"median", "hyperband"}:
        raise InputError(
            f"--pruner {options.pruner} is Optuna's and can't prune with two objectives. Use asha (on f_beta) or none."
        )
    if options.resume and options.study is None:
        raise InputError("--resume needs the study's name: --study NAME. See: python -m search.leaderboard")


def search(options: StudyOptions, running: SessionOptions | None = None) -> StudyView:
    """Search, show it, keep it.

    Args:
        options: what is searched.
        running: how.

    Returns:
        The study as it stands at the end.

    Raises:
        FatalError: and its kinds; the message is for the user.
    """
    running = running or SessionOptions()
    check(options, running)
    name = check_name(options.study) if options.study else dated_name(running.results)
    lock = StudyLock(running.results, name)
    made = False
    try:
        from search.cli.live_view import Progress

        with Progress(begun=running.begun, verbose=running.verbose) as progress:
            progress.step(0, 0, "preparing")
            options, stored, cache = _completed(options, running, name, progress)
            prepared = prepare(options, name, cache, progress.step, stored)
            progress.label, progress.demonstration = prepared.spec.label, prepared.spec.demonstration
            for note in prepared.notes:
                progress.detail(note)
            for line in prepared.opening:
                progress.note(line)
            first = _check_study(options, running, prepared)
            plan, cluster = _cluster(running, cache)
            progress.step(0, 0, "starting Ray")
            with cluster:
                if cluster.joined:
                    plan = plan.joined(cluster.machines(), running.gpus_per_trial)
                study = _make(options, running, prepared, name, lock, first)
                made = True
                conductor, preparation = _run(options, running, prepared, study, progress, cluster, plan)
    except BaseException:
        if not made:
            lock.release(remove=True)
        raise
    return _ended(study, conductor, running, options, preparation)


def _completed(
    options: StudyOptions, running: SessionOptions, name: str, progress: Progress
) -> tuple[StudyOptions, StudySpec | None, Path]:
    """The options with what a resumed study and the defaults say, that study's specification, and the cache folder."""
    from search.study.view import check_free, request, stored_spec
    from xraytune.data import cache as data_cache

    stored = None
    if options.resume:
        stored = stored_spec(name, running.results, running.storage)
        options = options.completed(request(name, running.results, running.storage))
        check(options, running)
    else:
        check_free(name, running.results, running.storage)
    options = replace(options, sampler=options.sampler or (stored.sampler if stored else SAMPLERS[0]))
    if running.deterministic:
        os.environ["TF_DETERMINISTIC_OPS"] = "1"
    if options.cache:
        os.environ["XRAYTUNE_CACHE"] = str(options.cache.absolute())  # for the workers too
    demonstration = is_demo(options.data)
    trials, seconds = budget(options.trials, options.seconds, demonstration=demonstration)
    progress.label, progress.demonstration = objective_label(options.objective, options.beta), demonstration
    progress.trials, progress.max_epochs = trials, options.max_epochs
    progress.end = running.begun + seconds if seconds is not None and not options.resume else None
    return replace(options, trials=trials, seconds=seconds), stored, data_cache.folder()


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

    failing = conductor.why_over if conductor.failed else study.failing(1.0, least=1)
    study.note(stopped=conductor.why_over)
    view = study.view()
    study.close()
    summarize(view, conductor.why_over, running.where)
    if failing:
        raise FatalError(f"Stopped: {failing}\nWhat workers printed: {study.folder / 'logs'}")
    if not study.counts["COMPLETE"]:
        raise FatalError(why_none(options.seconds, preparation, f"{view.name}{running.where}"))
    return view


def _check_study(options: StudyOptions, running: SessionOptions, prepared: Prepared) -> FirstTrials:
    """What is tried first; before Ray is started, a study made with something else and a useless warm start refused."""
    from search import first_trials
    from search.study.create import check_existing
    from search.study.objectives import directions

    if options.resume:
        check_existing(prepared.spec, running.results, running.storage, directions(options.objectives))
    warm = first_trials.warm(prepared, running.warm_start, running.results, running.storage)
    return first_trials.first_trials(prepared, warm)


def _make(
    options: StudyOptions, running: SessionOptions, prepared: Prepared, name: str, lock: StudyLock, first: FirstTrials
) -> Study:
    """Make or resume the study, with its queue of first trials."""
    from search.hyperparameters.suggestion import Narrowing
    from search.samplers import factory
    from search.study import create
    from search.study import objectives as study_objectives
    from search.study import view as storage
    from search.tuner import pruning

    existing = 0
    if options.resume and storage.exists(name, running.results, running.storage):
        existing = storage.count(name, running.results, running.storage)
    study = create.create(
        prepared.spec,
        prepared.declaration,
        running.results,
        lock,
        resume=options.resume,
        storage=running.storage,
        sampler=factory.make_sampler(
            prepared.spec.sampler,
            options.seed,
            declaration=prepared.declaration,
            narrowing=Narrowing(prepared.spec.fixed, prepared.spec.narrowed),
            existing=existing,
            objectives=len(options.objectives),
        ),
        pruner=pruning.make_pruner(options.pruner),
        directions=study_objectives.directions(options.objectives),
    )
    for one in first:
        study.enqueue(one.values, one.origin, one.recipe)
    return study


def _run(
    options: StudyOptions,
    running: SessionOptions,
    prepared: Prepared,
    study: Study,
    progress: Progress,
    cluster: Cluster,
    plan: Resources,
) -> tuple[Orchestrator, float]:
    """Run the trials; the conductor, which knows why they ended, and the seconds before the first of them."""
    from search import opening
    from search.study.study import FAILURE_SHARE
    from search.tuner import engine
    from search.tuner.orchestrator import Budget

    earlier = study.view().trials()
    best = (study.best[0], study.view().trial(study.best[0]).family, study.best[1]) if study.best else None
    families = Counter(trial.family for trial in earlier if trial.counts)
    progress.start_from(study.counts, families, best)
    end = running.begun + options.seconds - study.seconds_spent() if options.seconds is not None else None
    progress.end = end
    progress.log_to(study.folder)
    job = prepared.make_job(progress.step)
    study.note(request={**options.to_request(), "trials": options.trials, "seconds": options.seconds})
    study.begin(running.begun, **running.settings(plan))
    progress.note(
        opening.on_study(study.spec.name, study.ended, plan, options.trials, options.seconds, joined=cluster.joined)
    )
    progress.note(opening.on_results(study.folder))
    preparation = time.time() - running.begun
    conductor = engine.run(
        study,
        job,
        progress,
        cluster=cluster,
        resources=plan,
        budget=Budget(
            options.trials,
            end,
            running.patience,
            running.target,
            running.trial_timeout,
            FAILURE_SHARE if running.failures is None else running.failures,
        ),
        begun=running.begun,
        pruner=options.pruner,
        max_epochs=options.max_epochs,
        earlier=earlier,
        trial_memory=running.trial_memory,
        where=running.where,
    )
    return conductor, preparation


if __name__ == "__main__":
    console.run(main, examples=EXAMPLES, removed=REMOVED)
