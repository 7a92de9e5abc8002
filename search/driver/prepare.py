"""From options to a study that can be searched: data, space, weights, specification. All is checked first."""

from __future__ import annotations

import dataclasses
import importlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.cli.shared import Reading, Source
from search.driver import options as driver_options
from search.driver.options import StudyOptions
from search.driver.prepared import Prepared
from search.samplers import SAMPLERS
from xraytune import data
from xraytune.errors import InputError
from xraytune.evaluation import shortcut_audit
from xraytune.records import Objective, StudySpec

if TYPE_CHECKING:
    from search.tuner.job import Job
    from spaces import SearchContext, Space, SpaceContext
    from xraytune.data import Dataset, Progress
    from xraytune.evaluation.shortcut_audit import Audit
    from xraytune.models.file_backbones.backbone import FileBackbone

COPIES_SHARE = 0.25
"""Part of its time that a worker may spend on augmented copies of frozen features, so that it trains meanwhile. A
deterministic search, which must not depend on a clock, makes every copy when a trial first asks for it."""

DEFAULT = "chest_xray"
"""The space where the user names none."""


def check_names(options: StudyOptions, files: Mapping[str, FileBackbone] | None = None) -> Space | None:
    """Refuse unknown families and hyperparameters before the data are read, which may take minutes.

    Values are compared with all that the space offers with every pretrained network available; `prepare` compares them
    again with what is left of it.

    Args:
        options: what the user asked for.
        files: the user's own backbones by name.

    Returns:
        The space as it is before the data are read; None where the user named nothing that could be wrong: importing a
        space takes seconds.

    Raises:
        InputError: the space, a family, a fixed hyperparameter or its value is not known.
    """
    if not (options.families or options.fix or options.space or options.backbone):
        return None
    import spaces
    from search.hyperparameters.declaration import declared_parameters, held

    space = spaces.offered(options.space or DEFAULT, options.families, files)
    if space.declares_all:
        held(declared_parameters(space.declare_hyperparameters), options.fix)
    return space


def prepare(
    options: StudyOptions,
    name: str,
    cache: Path,
    progress: Progress,
    stored: StudySpec | None = None,
    *,
    deterministic: bool = False,
    after_reading: Callable[[], object] = lambda: None,
) -> Prepared:
    """Check everything the user gave and read the data; writes nothing but the cache.

    Args:
        options: what the user asked for.
        name: the study's name.
        cache: the cache folder.
        progress: told what is being done.
        stored: what a study that is resumed was made with; its narrowing holds, whatever this machine affords now.
        deterministic: whether everything must follow from the options, so that nothing measured is used.
        after_reading: called once the data are read and not refused, to begin what else takes time.

    Raises:
        InputError: what was asked can't be had; the message says what to change.
    """
    begun = time.monotonic()
    files = files_of(options, stored)
    space = check_names(options, files)
    if space is not None and (job := space.job()) is not None:
        return _without_images(options, name, space, job)
    with _imported_meanwhile("spaces", "search.driver.initial_trials"):
        dataset = data.load(options.data, **options.of(Reading), validate_on=options.validate_on, progress=progress)
        after_reading()
    return _with_images(_Given(options, dataset, cache, progress, stored, deterministic, begun, files), name)


def files_of(options: StudyOptions, stored: StudySpec | None = None) -> dict[str, FileBackbone]:
    """The user's own backbones; those of a study that is resumed, unchanged.

    Raises:
        InputError: a file can't be used, or is not the study's.
    """
    asked = (options.backbone, options.backbone_input, options.backbone_licence)
    if not any(asked) and not (stored and stored.backbones):
        return {}
    from xraytune.models import FAMILIES
    from xraytune.models.file_backbones import reading

    if stored is None:
        return reading.read(*asked, FAMILIES)
    kept = reading.kept(stored.backbones, options.backbone, stored.name)
    for name, now in reading.read(*asked, FAMILIES).items():
        if now.key != kept[name].key:
            raise InputError(
                f"--backbone-input {name}=…: study {stored.name!r} was made with other settings of it. Leave the "
                "option out to continue, or give another name with --study."
            )
    return kept


@contextmanager
def _imported_meanwhile(*modules: str) -> Iterator[None]:
    """Import modules in a thread while something else is done, which mostly waits for other processes.

    A module that can't be imported is imported again, and fails, where it is used.
    """

    def imported() -> None:
        for module in modules:
            try:
                importlib.import_module(module)
            except Exception:  # told by the import that needs it
                return

    thread = threading.Thread(target=imported, daemon=True)
    thread.start()
    yield
    thread.join()


@dataclass(frozen=True)
class _Given:
    """What preparing a search begins with."""

    options: StudyOptions
    dataset: Dataset
    cache: Path
    progress: Progress
    stored: StudySpec | None
    deterministic: bool
    begun: float
    """When preparing began, by the monotonic clock."""
    files: Mapping[str, FileBackbone]
    """The user's own backbones by name."""


def _with_images(given: _Given, name: str) -> Prepared:
    """A search of networks that are trained on images."""
    import spaces
    from search.driver import initial_trials, opening, pretrained_weights
    from search.hyperparameters.declaration import declared_parameters
    from spaces.narrowing.cache_size import cache_size
    from xraytune.models import backbones

    options, dataset = given.options, given.dataset
    asked = spaces.offered(options.space or DEFAULT, options.families, given.files)
    weights, damaged = pretrained_weights.found(
        asked, options.weights_dir, given.stored.weights if given.stored else None
    )
    audit = shortcut_audit.audit(dataset, progress=given.progress)
    whole, context, search, notes = _whole(given, asked, weights, audit)
    space, context, lines = _narrowed(given, whole, context, search)
    notes += lines
    parameters = declared_parameters(space.declare_hyperparameters)
    used = pretrained_weights.used(parameters, weights)
    left = pretrained_weights.LeftOut()
    if given.stored is None:
        left = pretrained_weights.left_out(space, whole, asked, weights)
        notes += [*left.lines(options.weights_dir), *backbones.remarks(used)]
        notes += [one.line for one in given.files.values()]
    spec = _spec(
        options, name, parameters,
        narrowed=context.narrowed, families=space.families, objective=options.objective, fit=options.fit,
        data=dataset.name, classes=dataset.classes, positive=dataset.positive,
        train_fingerprint=dataset.train_fingerprint, test_fingerprint=dataset.test_fingerprint,
        max_epochs=options.max_epochs, weights=used,
        backbones=given.stored.backbones if given.stored else {n: one.to_json() for n, one in given.files.items()},
        demonstration=dataset.demonstration, sites=dataset.sites,
    )  # fmt: skip
    starts, recipes, recipe_notes = initial_trials.of_space(space, search, spec.fixed)
    sizes, crop_size = _sizes(space, dataset)
    caches = cache_size(
        space.cached_features(),
        images=len(dataset.select("train")) + len(dataset.select("val")),
        channels=dataset.channels,
        sizes=sizes,
        cache=given.cache,
        limit=options.cache_limit,
    )
    shortcuts = [f"{audit.headline} More: python -m search.verify {dataset.name}"] if audit.headline else []
    return Prepared(
        spec=spec,
        declaration=space.declare_hyperparameters,
        families=space.families,
        recipes=tuple(recipes),
        starts=tuple(starts),
        make_job=lambda progress: _keras_job(given, context, sizes, crop_size, progress),
        notes=(*dataset.notes, *shortcuts, *damaged, *notes, *recipe_notes, caches),
        opening=(*opening.on_data(dataset, audit), *opening.on_space(space.families, left)),
        once=space.once,
        caches=caches,
    )


def _whole(
    given: _Given, asked: Space, weights: Mapping[str, Path], audit: Audit
) -> tuple[Space, SpaceContext, SearchContext, list[str]]:
    """The space before it is narrowed; that of a study that is resumed as it was searched.

    Returns:
        The space, what it was given, what it is told of the search, and a line on the precision.
    """
    import spaces
    from search.driver import precision
    from xraytune.models.cost import this_machine

    options, dataset, stored = given.options, given.dataset, given.stored
    computed_in, notes = precision.decide(options.precision, asked, options.time, stored)
    context = spaces.SpaceContext(
        classes=len(dataset.classes),
        channels=dataset.channels,
        counts=tuple(dataset.counts("train").values()),
        families=options.families,
        weights={backbone: str(path) for backbone, path in weights.items()},
        files=given.files,
        images=len(dataset.select("train")),
        narrowed=stored.narrowed if stored else computed_in,
    )
    seconds, _ = driver_options.reckoned(options.time, demonstration=dataset.demonstration)
    search = spaces.SearchContext(
        audit=audit,
        machine=this_machine(),
        objective=options.objective,
        fixed=options.fix,
        seconds=seconds,
        trials=options.trials,
        # without TIME nothing runs out; a repeated search must not depend on a clock
        spent=0.0 if options.time is None or given.deterministic else time.monotonic() - given.begun,
        recipes=options.recipes,
    )
    return spaces.to_search(options.space or DEFAULT, context, given.progress), context, search, list(notes)


def _narrowed(
    given: _Given, whole: Space, context: SpaceContext, search: SearchContext
) -> tuple[Space, SpaceContext, list[str]]:
    """The space without what the audit does not ask for and what this machine can't afford in the time there is.

    Returns:
        The space, what it was given, and a line on each decision.
    """
    import spaces

    options = given.options
    if given.stored:
        return whole, context, []
    left, lines = whole.narrow(search)
    if not left:
        return whole, context, lines
    _, assumed = driver_options.reckoned(options.time, demonstration=given.dataset.demonstration)
    context = dataclasses.replace(context, narrowed={**left, **context.narrowed})
    return spaces.to_search(options.space or DEFAULT, context, given.progress), context, [*assumed, *lines]


def _spec(options: StudyOptions, name: str, parameters: list[Any], **known: Any) -> StudySpec:
    """What the study is made with.

    Args:
        options: what the user asked for.
        name: the study's.
        parameters: all that the space declares, as it is searched.
        known: the other fields of `StudySpec`.

    Raises:
        InputError: the user holds a hyperparameter that the space does not have, or at a value that it can't have.
    """
    from search.hyperparameters.declaration import held, signature

    return StudySpec(
        name=name,
        space=options.space or DEFAULT,
        space_signature=signature(parameters),
        fixed=held(parameters, options.fix),
        objectives=options.objectives,
        beta=options.beta,
        sampler=options.sampler or SAMPLERS[0],
        pruner=options.pruner,
        seed=options.seed,
        options=options.changed(Source),
        **known,
    )


def _without_images(options: StudyOptions, name: str, space: Space, job: Job) -> Prepared:
    """A space that evaluates its configurations itself: there are no images that could be shifted."""
    from search.hyperparameters.declaration import declared_parameters

    families = tuple(f for f in space.families if not options.families or f in options.families)
    if not families:
        raise InputError(f"--families {','.join(options.families)}: the space has {', '.join(space.families)}.")
    spec = _spec(
        options, name, declared_parameters(space.declare_hyperparameters),
        data="none", train_fingerprint="", test_fingerprint="", classes=("low", "high"), positive=1,
        families=families, narrowed={"family": families} if options.families else {}, objective=Objective.CLEAN,
    )  # fmt: skip
    return Prepared(spec, space.declare_hyperparameters, families, (), (), lambda _: job, ())


def _keras_job(given: _Given, context: SpaceContext, sizes: tuple[int, ...], crop_size: int, progress: Progress) -> Job:
    from search.tuner.job import KerasJob
    from xraytune.training.inputs.trial_data import TrialData, with_views

    options, dataset = given.options, given.dataset
    pools = data.arrays.pools(dataset, sizes, progress)
    found = TrialData.of(
        dataset, pools,
        cache=given.cache, cache_limit=options.cache_limit, weights_dir=options.weights_dir, crop_size=crop_size,
    )  # fmt: skip
    found = dataclasses.replace(found, copies_share=1.0 if given.deterministic else COPIES_SHARE)
    progress(0, 1, "planning shifted views")
    folds = {site: with_views(fold, options.seed) for site, fold in found.by_site(dataset).items()}
    found = found if folds else with_views(found, options.seed)
    timed = "inference_ms" in options.objectives
    return KerasJob(
        options.space or DEFAULT, context, found, options.objective, options.beta, options.max_epochs, timed, folds
    )


def _sizes(space: Space, dataset: Dataset) -> tuple[tuple[int, ...], int]:
    """The edges that images are decoded at, and of them the one that random crops are cut from, 0 without crops."""
    import spaces
    from xraytune.training.inputs import random_crops

    sizes = spaces.image_sizes(space)
    if not spaces.offers_crops(space):
        return sizes, 0
    edge = random_crops.source_edge(dataset.select("train").shapes)
    return tuple(sorted({*sizes, edge})), edge
