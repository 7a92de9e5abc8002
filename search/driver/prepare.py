"""From options to a study that can be searched: data, space, weights, specification. All is checked first."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.driver import options as driver_options
from search.driver.initial_trials import _recipes, as_held
from search.driver.options import StudyOptions
from search.driver.prepared import Prepared
from search.samplers import SAMPLERS
from xraytune.errors import InputError
from xraytune.evaluation import shortcut_audit
from xraytune.records import Objective, StudySpec, Value

if TYPE_CHECKING:
    from search.tuner.job import Job
    from xraytune.data import Dataset, Progress
    from xraytune.evaluation.shortcut_audit import Audit


def check_names(options: StudyOptions) -> None:
    """Refuse unknown families and hyperparameters before the data are read, which may take minutes.

    Values are compared with all that the space offers with every pretrained network available; `prepare` compares them
    again with what is left of it.

    Raises:
        InputError: the space, a family, a fixed hyperparameter or its value is not known.
    """
    space_name = options.space or "chest_xray"
    if ":" in space_name or not (options.families or options.fix or options.space):
        return
    import spaces
    from search.hyperparameters.declaration import check_narrowing, declared_parameters
    from search.hyperparameters.suggestion import Narrowing
    from xraytune.models import backbones

    if options.families and space_name in spaces.SPACES:
        _check_families(options.families)
    everything = spaces.SpaceContext(families=options.families, weights=dict.fromkeys(backbones.BACKBONES, ""))
    space = spaces.get(space_name, everything)
    check_narrowing(declared_parameters(space.declare_hyperparameters), Narrowing(dict(options.fix)))


def prepare(
    options: StudyOptions, name: str, cache: Path, progress: Progress, stored: StudySpec | None = None
) -> Prepared:
    """Check everything the user gave and read the data; writes nothing but the cache.

    Args:
        options: what the user asked for.
        name: the study's name.
        cache: the cache folder.
        progress: told what is being done.
        stored: what a study that is resumed was made with; its narrowing holds, whatever this machine affords now.

    Raises:
        InputError: what was asked can't be had; the message says what to change.
    """
    begun = time.monotonic()
    check_names(options)
    dataset = None
    if (
        options.space is None or ":" not in options.space
    ):  # data first: what is wrong with them is said before slow imports
        dataset = _load(options, progress)
    import spaces
    from search.driver import precision, pretrained_weights
    from search.hyperparameters.declaration import check_narrowing, declared_parameters, signature
    from search.hyperparameters.suggestion import Narrowing
    from spaces import shortcut_countermeasures
    from spaces.narrowing import cache_size
    from xraytune.models import backbones

    space_name = options.space or "chest_xray"
    if space_name in spaces.SPACES and options.families:
        _check_families(options.families)
    elif space_name not in spaces.SPACES:
        foreign = spaces.get(space_name, spaces.SpaceContext(families=options.families))
        if hasattr(foreign, "job"):
            return _without_images(options, name, space_name, foreign)
    dataset = dataset or _load(options, progress)
    asked = (options.families, options.weights_dir)
    at_hand, damaged = pretrained_weights.found(space_name, *asked, stored.weights if stored else None)
    computed_in, precision_notes = precision.decide(options.precision, space_name, options.seconds, stored)
    context = spaces.SpaceContext(
        classes=len(dataset.classes),
        channels=dataset.channels,
        counts=tuple(dataset.counts("train").values()),
        families=options.families,
        weights={backbone: str(path) for backbone, path in at_hand.items()},
        images=len(dataset.select("train")),
        narrowed=computed_in,
    )
    audit = shortcut_audit.audit(dataset, progress=progress)
    seconds, assumed = driver_options.reckoned(options.seconds, demonstration=dataset.demonstration)
    costed = dataclasses.replace(options, time=seconds)
    spent = time.monotonic() - begun if options.seconds is not None else 0.0  # without TIME nothing runs out
    context, narrowed, notes = _narrow(space_name, context, costed, stored, audit, spent)
    space = spaces.to_search(space_name, context, progress)
    families = tuple(getattr(space, "families", ()))
    space_parameters = declared_parameters(space.declare_hyperparameters)
    fixed: dict[str, Value] = dict(options.fix)
    check_narrowing(space_parameters, Narrowing(fixed))
    fixed = _typed(fixed, space_parameters)
    used = pretrained_weights.used(space_parameters, at_hand)
    own = space_name in spaces.SPACES and space_name != "smoke"
    if stored is None and own:
        left_out = pretrained_weights.left_out(options.families, families, at_hand, options.weights_dir)
        notes = (*assumed, *notes, *left_out, *backbones.remarks(used))
    spec = StudySpec(
        name=name,
        data=dataset.name,
        train_fingerprint=dataset.train_fingerprint,
        test_fingerprint=dataset.test_fingerprint,
        classes=dataset.classes,
        positive=dataset.positive,
        space=space_name,
        space_signature=signature(space_parameters),
        families=families,
        fixed=fixed,
        narrowed=narrowed,
        objective=options.objective,
        objectives=options.objectives,
        beta=options.beta,
        fit=options.fit,
        sampler=options.sampler or SAMPLERS[0],
        pruner=options.pruner,
        seed=options.seed,
        max_epochs=options.max_epochs,
        weights=used,
        options=kept_options(options),
        demonstration=dataset.demonstration,
    )

    found, recipe_notes = _recipes(costed, space_name, space, context)
    caches = cache_size.cache_size(
        space_name,
        context,
        images=len(dataset.select("train")) + len(dataset.select("val")),
        sizes=_sizes(space, dataset)[0],
        cache=cache,
        limit=options.cache_limit,
    )
    begin_with = shortcut_countermeasures.against_shortcuts(space, families, audit.remedies) if own else []
    begin_held, _ = as_held(begin_with, fixed)
    recipes_held, held_notes = as_held(found, fixed)
    found_out = (*_shortcuts(audit, dataset), *damaged, *precision_notes)
    all_notes = (*dataset.notes, *found_out, *notes, *recipe_notes, *held_notes)

    def make_job(report: Progress) -> Job:
        return _keras_job(options, dataset, space, space_name, context, cache, report)

    return Prepared(
        spec=spec,
        declaration=space.declare_hyperparameters,
        families=families,
        recipes=tuple(recipes_held),
        starts=tuple(begin_held),
        make_job=make_job,
        notes=(*all_notes, *([caches] if caches else [])),
        opening=_opening(options, dataset, audit, families, at_hand if own else None),
    )


def _opening(
    options: StudyOptions, dataset: Dataset, audit: Audit, families: tuple[str, ...], weights: Mapping[str, Path] | None
) -> tuple[str, ...]:
    """What everybody should read; `weights` are those available, None for a space that asks for none."""
    from search.driver import opening
    from xraytune.models import FAMILIES, backbones

    wanted = options.families or FAMILIES
    missing = [name for name in backbones.of(wanted) if name not in weights] if weights is not None else []
    gone = [family for family in wanted if missing and backbones.of([family]) and family not in families]
    return (*opening.on_data(dataset, audit), *opening.on_space(families, gone, missing))


def _load(options: StudyOptions, progress: Progress) -> Dataset:
    from xraytune import data as data_room

    return data_room.load(
        options.data,
        fit=options.fit,
        positive=options.positive,
        seed=options.seed,
        patient_regex=options.patient_regex,
        label=options.label,
        negative=options.negative,
        uncertain=options.uncertain,
        quarantine=options.quarantine,
        progress=progress,
    )


def _shortcuts(audit: Audit, dataset: Dataset) -> tuple[str, ...]:
    """What the audit found that a network can cheat with, said before the first trial."""
    return (f"{audit.headline} More: python -m search.verify {dataset.name}",) if audit.headline else ()


def _without_images(options: StudyOptions, name: str, space_name: str, space: Any) -> Prepared:
    """A space that evaluates its configurations itself: there are no images that could be shifted."""
    from search.hyperparameters.declaration import check_narrowing, declared_parameters, signature
    from search.hyperparameters.suggestion import Narrowing

    space_parameters = declared_parameters(space.declare_hyperparameters)
    fixed: dict[str, Value] = dict(options.fix)
    check_narrowing(space_parameters, Narrowing(fixed))
    families = tuple(f for f in space.families if not options.families or f in options.families)
    if not families:
        raise InputError(f"--families {','.join(options.families)}: {space_name} has {', '.join(space.families)}.")
    spec = StudySpec(
        name=name,
        data="none",
        train_fingerprint="",
        test_fingerprint="",
        classes=("low", "high"),
        positive=1,
        space=space_name,
        space_signature=signature(space_parameters),
        families=families,
        fixed=_typed(fixed, space_parameters),
        narrowed={"family": families} if options.families else {},
        objective=Objective.CLEAN,
        objectives=options.objectives,
        beta=options.beta,
        sampler=options.sampler or SAMPLERS[0],
        pruner=options.pruner,
        seed=options.seed,
        options=kept_options(options),
    )
    return Prepared(spec, space.declare_hyperparameters, families, (), (), lambda _: space.job(), ())


def _check_families(families: tuple[str, ...]) -> None:
    from xraytune.models import FAMILIES

    unknown = [family for family in families if family not in FAMILIES]
    if unknown:
        raise InputError(f"--families: unknown {', '.join(map(repr, unknown))}. There are: {', '.join(FAMILIES)}.")


def _typed(fixed: Mapping[str, Value], space_parameters: list[Any]) -> dict[str, Value]:
    """Fixed values in their parameters' own types, as the study stores them."""
    from search.hyperparameters.suggestion import convert

    typed: dict[str, Value] = {}
    for name, value in fixed.items():
        for hp in space_parameters:
            if hp.name == name:
                try:
                    typed[name] = convert(hp, value)
                    break
                except InputError:
                    continue
    return typed


def _narrow(
    space_name: str, context: Any, options: StudyOptions, stored: StudySpec | None, audit: Audit, spent: float
) -> tuple[Any, dict[str, tuple[Value, ...]], tuple[str, ...]]:
    """Take out of the space what nothing speaks for, and what this machine can't afford in the time there is."""
    from spaces.narrowing import narrow

    if stored is not None:
        return dataclasses.replace(context, narrowed=stored.narrowed), dict(stored.narrowed), ()
    context, remedies = narrow.to_audit(space_name, context, audit, options.objective, options.fix)
    narrowed_context, notes = narrow.narrow(
        space_name,
        context,
        seconds=options.seconds,
        trials=options.trials,
        remedies=audit.remedies,
        fixed=options.fix,
        spent=spent,
    )
    return narrowed_context, dict(narrowed_context.narrowed), (*remedies, *notes)


def kept_options(options: StudyOptions) -> dict[str, Value]:
    """Whatever else must not change over a resume."""
    kept: dict[str, Value] = {}
    if options.quarantine:
        kept["quarantine"] = True
    if options.patient_regex:
        kept["patient_regex"] = options.patient_regex
    if options.label:
        kept["label"] = options.label
    if options.negative:
        kept["negative"] = options.negative
    if options.uncertain != "ignore":
        kept["uncertain"] = options.uncertain
    return kept


def _keras_job(
    options: StudyOptions, dataset: Any, space: Any, space_name: str, context: Any, cache: Path, progress: Progress
) -> Job:
    from search.tuner.job import KerasJob
    from xraytune.data import arrays
    from xraytune.training.inputs.trial_data import TrialData, with_views

    sizes, crop_size = _sizes(space, dataset)
    pools = arrays.pools(dataset, sizes, progress)
    data = TrialData.of(
        dataset, pools,
        cache=cache, cache_limit=options.cache_limit, weights_dir=options.weights_dir, crop_size=crop_size,
    )  # fmt: skip
    progress(0, 1, "planning shifted views")
    data = with_views(data, options.seed)
    timed = "inference_ms" in options.objectives
    return KerasJob(space_name, context, data, options.objective, options.beta, options.max_epochs, timed)


def _sizes(space: Any, dataset: Dataset) -> tuple[tuple[int, ...], int]:
    """The edges that images are decoded at, and of them the one that random crops are cut from, 0 without crops."""
    import spaces
    from xraytune.training.inputs import random_crops

    sizes = spaces.image_sizes(space)
    if not spaces.offers_crops(space):
        return sizes, 0
    edge = random_crops.source_edge(dataset.select("train").shapes)
    return tuple(sorted({*sizes, edge})), edge
