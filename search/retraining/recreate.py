"""The study's data, space and pretrained weights as they were at the search, or a refusal that says what changed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import spaces
from search.cli import progress_bars
from search.cli.options import declared
from search.cli.shared import Source
from search.hyperparameters.declaration import declared_parameters, signature
from search.retraining.options import RetrainingOptions
from search.retraining.records import TrainingSetup, image_size
from search.study.view import StudyView, TrialRecord
from xraytune import artifacts, data
from xraytune.data import arrays, cache
from xraytune.data.dataset import Dataset, difference
from xraytune.errors import StudyError, WeightsError
from xraytune.models import backbones
from xraytune.models.file_backbones import reading
from xraytune.training.inputs import random_crops
from xraytune.training.inputs.trial_data import TrialData


def dataset(study: StudyView, options: RetrainingOptions) -> Dataset:
    """The study's data, verified and compared with its fingerprints.

    Raises:
        DataError: they can't be read.
        StudyError: they are not those of the search, or have no test images.
    """
    spec = study.spec
    positive = None if spec.positive is None else spec.classes[spec.positive]
    where = options.data or spec.data
    extra: dict[str, Any] = {k: v for k, v in spec.options.items() if k in declared(Source)}
    with progress_bars.progress() as progress:
        found = data.load(
            where, fit=spec.fit, positive=positive, seed=spec.seed, progress=progress,
            validate_on="site" if spec.sites else "patient", **extra,
        )  # fmt: skip
    changed = difference(found, spec.train_fingerprint, kept=study.folder) or difference(
        found, spec.test_fingerprint, test=True, kept=study.folder
    )
    if changed:
        raise StudyError(
            f"The data are not those that study {spec.name!r} was made with. {changed} Restore them, or start "
            "a new search on the present data: python -m search.run"
        )
    if not found.select("test"):
        raise StudyError(f"{found.name} has no test images: a final model can't be evaluated.")
    return found


def setup(
    study: StudyView, trials: Sequence[TrialRecord], options: RetrainingOptions, dataset: Dataset
) -> TrainingSetup:
    """How the trials' networks are trained: the study's space and weights, its images decoded at their sizes.

    Args:
        study: the study.
        trials: those that are trained again, finalists and recipes.
        options: what was asked for.
        dataset: from `dataset`.

    Raises:
        WeightsError: pretrained weights or a backbone's file are missing, or are not those of the search.
        StudyError: the space declares something else now.
    """
    spec = study.spec
    trained = [t for t in trials if t.config]
    files = _weights(study, trained, options)
    context = spaces.SpaceContext(
        classes=len(spec.classes),
        channels=dataset.channels,
        counts=tuple(dataset.counts("train").values()),
        families=spec.families,
        weights=files,
        files=reading.kept(spec.backbones, options.backbone, spec.name),
        narrowed=spec.narrowed,
        images=len(dataset.select("train")),
    )
    _check_space(study, context)
    drawn = [item for t in trained if t.config for item in t.config.values.items()]
    cropping = any(name.rpartition("/")[2] == "crop" and value != "none" for name, value in drawn)
    crop_size = random_crops.source_edge(dataset.select("train").shapes) if cropping else 0
    sizes = {image_size(t) for t in trained} | ({crop_size} - {0})
    with progress_bars.progress() as progress:
        pools = arrays.pools(dataset, sizes, progress)
    trial_data = TrialData.of(
        dataset, pools,
        refit=True, cache=cache.folder(), cache_limit=options.cache_limit,
        weights_dir=options.weights_dir, crop_size=crop_size,
    )  # fmt: skip
    fingerprint = spaces.fingerprint(spec.space)
    return TrainingSetup(spec.space, context, trial_data, spec.objective, spec.beta, spec.max_epochs, fingerprint)


def _weights(study: StudyView, trained: Sequence[TrialRecord], options: RetrainingOptions) -> dict[str, str]:
    """The files of pretrained weights by backbone, those that are available; all that `trained` need are."""
    spec = study.spec
    files = backbones.reachable(options.weights_dir, names=tuple(spec.weights)) if spec.weights else {}
    for name, expected in spec.weights.items():
        if name in files and artifacts.sha256(files[name]) != expected:
            raise WeightsError(
                f"{files[name]} is not the file that study {spec.name!r} was searched with (sha256 differs). "
                "Give the folder of the right file with --weights-dir."
            )
    named = {value for t in trained if t.config for value in t.config.values.values()}
    missing = [name for name in spec.weights if name in named and name not in files]
    if missing:
        raise WeightsError(backbones.missing(missing, options.weights_dir))
    return {name: str(path) for name, path in files.items()}


def _check_space(study: StudyView, context: spaces.SpaceContext) -> None:
    """Refuse a space that declares something else than the study's did.

    Raises:
        StudyError: it does.
    """
    spec = study.spec
    whole = dataclasses.replace(context, weights=dict.fromkeys(spec.weights, ""))  # the names alone are declared
    with progress_bars.progress() as progress:
        space = spaces.to_search(spec.space, whole, progress)
    if signature(declared_parameters(space.declare_hyperparameters)) != spec.space_signature:
        raise StudyError(
            f"The space {spec.space!r} is not the one that study {spec.name!r} was searched with: it now declares "
            "other hyperparameters, ranges or defaults. Restore it, or start a new search: python -m search.run"
        )
