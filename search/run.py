"""`make search`: Optuna decides, Ray Tune runs the trials, the study keeps what they found.

From Python: `search.driver.session.search(Options(…), …)` does what the command does and returns the study for reading.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from search.cli import console, quantities
from search.driver.options import SessionOptions, StudyOptions
from search.driver.session import search
from xraytune.errors import InputError

if TYPE_CHECKING:
    pass

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
        "none"
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


if __name__ == "__main__":
    console.run(main, examples=EXAMPLES, removed=REMOVED)
