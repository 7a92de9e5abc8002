"""Networks drawn from the space, trained once, with all they answer kept: what every candidate score is made from.

One file a network, `results/evidence/networks/SET/07.npz`, so that a run that was stopped goes on. Half of the networks
have what hides the audit's findings (shape jitter, exposure jitter, focus jitter, masking; light or strong) and each of
the other countermeasures one time in four, half have none; families take turns, those that
a space of ten minutes offers on this machine. Each trains for at most `SECONDS` on one core and restores its best epoch
by clean F-beta, as a search with objective clean does, so that no robust score has a part in making the networks it
ranks.
"""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras_tuner
import numpy as np

from tests.evidence.sets import SETS
from xraytune import artifacts
from xraytune.data import Dataset, arrays
from xraytune.evaluation import shortcut_audit
from xraytune.records import TrialConfig
from xraytune.training.inputs.trial_data import TrialData

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "results" / "evidence"
SECONDS = 40.0
"""Of one processor core a training, at most: counted in processor time, so that a busy machine trains the same."""

REACHES = (0.5, 1.0, 2.0)
"""Strengths of the views, in within-class standard deviations."""

OTHERS = 1 / 4
"""How often a network has a countermeasure that the audit did not ask for."""

PLANTED_SHIFTS = (("narrower", "darker"), ("wider", "blurred"), ("flatter", "shifted"))
"""What is planted into the test images of a set without a shortcut: each two views at once, so that none is a view."""

PER_CLASS = 100
EDGE = 96


def path(name: str, number: int) -> Path:
    """Where a network's answers are kept."""
    return RESULTS / "networks" / name / f"{number:02d}.npz"


def draw(
    space: keras_tuner.HyperModel, family: str, countermeasures: tuple[str, ...] | None, seed: int
) -> dict[str, Any]:
    """A random point of one family, with these countermeasures for certain; None switches all of them off."""
    from xraytune.training.inputs.augmentation import CHOICES, COUNTERMEASURES

    rng = np.random.default_rng([seed, 77])
    declared = keras_tuner.HyperParameters()
    space.declare_hyperparameters(declared)
    drawn = keras_tuner.HyperParameters()
    for parameter in declared.space:
        drawn._register(parameter)
        if drawn.is_active(parameter):
            value = parameter.random_sample(seed=int(rng.integers(2**31)))
            drawn.values[parameter.name] = family if parameter.name == "family" else value
    shared = {n: v for n, v in space.active(drawn).items() if n.partition("/")[2] not in CHOICES}
    values = shared | dict.fromkeys(COUNTERMEASURES, "none")
    for name, choices in COUNTERMEASURES.items() if countermeasures is not None else ():
        if name in countermeasures or rng.random() < OTHERS:
            values[name] = str(rng.choice(choices[1:]))
    return values


@dataclass(frozen=True)
class Workshop:
    """A set as its networks are trained on it, on one thread."""

    name: str
    families: tuple[str, ...]
    shortcut: bool
    job: Any
    """The `search.tuner.job.Job` that a search of it would have."""
    space: Any
    data: TrialData
    dataset: Dataset
    countermeasures: tuple[str, ...]
    """What hides the audit's findings."""
    views: Mapping[float, Any]
    """By reach."""

    def network(self, config: TrialConfig, target: Path) -> None:
        """Train one and keep all that it answers; that it answers on the test images stands in the set's ledger."""
        from search.study import access_log
        from xraytune.errors import TrialError
        from xraytune.training.trainer import Trainer

        started = time.process_time()
        target.parent.mkdir(parents=True, exist_ok=True)
        kept: dict[str, Any] = {"values": json.dumps(dict(config.values))}
        try:
            training = Trainer(self.space, config, dataclasses.replace(self.data, views=()))
            begun = time.process_time()
            while not training.step().done and time.process_time() - begun < SECONDS:
                pass
            training.finish()
            opened = {"what": f"evidence, network {target.stem}", "test_fingerprint": self.dataset.test_fingerprint}
            access_log.append(target.parent, opened)
            test = np.load(arrays.test(self.dataset, training.images.pool.shape[1]))
            kept |= _answers(training, self.data, self.views, test)
            kept["test_labels"] = np.array([image.label for image in self.dataset.select("test")], np.int32)
            if not self.shortcut:
                kept["test_shifted"] = _shifted(training, self.views[1.0], test)
        except TrialError as error:
            kept["failed"] = str(error)
        kept["seconds"] = time.process_time() - started
        with artifacts.atomic_write(target) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **kept)
        seconds, failed = kept["seconds"], kept.get("failed", "")
        print(f"{self.name} {target.stem}: {config.family} {seconds:.0f} s {failed}", flush=True)


def workshop(name: str) -> Workshop:
    """A set, made ready in this process."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import spaces
    from search.driver.options import StudyOptions
    from search.driver.prepare import prepare
    from xraytune import data as data_package
    from xraytune.data import cache
    from xraytune.training.machine import configure_threads

    configure_threads(1)
    chosen = SETS[name]
    place = chosen.place(RESULTS / "sets")
    options = StudyOptions(
        data=str(place), time=600.0, objective="robust", families=chosen.families, recipes="none",
        weights_dir=Path(os.environ["XRAYTUNE_WEIGHTS"]) if "XRAYTUNE_WEIGHTS" in os.environ else None,
    )  # fmt: skip
    job: Any = prepare(options, f"evidence-{chosen.name}", cache.folder(), _silent).make_job(_silent)
    dataset = data_package.load(str(place))
    space = spaces.get(job.space, _small(job.context))
    families = tuple(family for family in chosen.families if family in space.families)
    return Workshop(
        chosen.name, families, chosen.shortcut, job, space, job.data,
        dataset, shortcut_audit.audit(dataset).countermeasures, {reach: _planned(job.data, reach) for reach in REACHES},
    )  # fmt: skip


def train(name: str, numbers: list[int]) -> None:
    """Train those networks of a set, one after another."""
    place = workshop(name)
    for number in numbers:
        family = place.families[number % len(place.families)]
        hidden = place.countermeasures if (number // len(place.families)) % 2 else None
        values = draw(place.space, family, hidden, number)
        place.network(TrialConfig(family, values, 1000 + number), path(name, number))


def _small(context: Any) -> Any:
    """The space of a short search without its largest images."""
    sizes = {
        name: tuple(v for v in context.narrowed.get(name, (28, 48, 64, 96)) if v <= EDGE)
        for name in (f"{family}/image_size" for family in ("dense", "cnn", "vgg_frozen", "vgg_finetuned", "densenet"))
    }
    return dataclasses.replace(context, narrowed={**context.narrowed, **sizes})


def _planned(data: Any, reach: float) -> Any:
    from xraytune.training.inputs import batches, shifted_views

    size = min(data.pools, key=lambda size: (abs(size - 64), size))
    pool, rows = batches.mapped(data.pools[size]), np.asarray(data.train)
    return shifted_views.plan_views(pool, data.labels, rows, classes=data.classes, reach=reach)


def _answers(training: Any, data: Any, views: Any, test: np.ndarray) -> dict[str, Any]:
    """Every prediction: validation images, views of some of them at each strength, test images."""
    from xraytune.training.inputs import shifted_views

    validation, labels = np.asarray(data.validation), np.asarray(data.labels)
    positions = shifted_views.subset(labels[validation], PER_CLASS if training.prefix is None else PER_CLASS // 2)
    images = np.asarray(training.images.pool[validation[positions]])
    kept: dict[str, Any] = {
        "positive": -1 if data.positive is None else data.positive,
        "labels": labels[validation],
        "validation": training.validation_predictions(),
        "view_labels": labels[validation][positions],
        "test": _predict(training, test),
    }
    for reach, planned in views.items():
        kept[f"views_{reach:g}"] = np.stack([_predict(training, shifted_views.draw(images, view)) for view in planned])
        kept["view_names"] = np.array([view.name for view in planned])
    return kept


def _shifted(training: Any, planned: Any, test: np.ndarray) -> np.ndarray:
    """Predictions of the test images under each of `PLANTED_SHIFTS`, `(shifts, n, k)`."""
    from xraytune.training.inputs import shifted_views

    by_name = {view.name: view for view in planned}
    return np.stack(
        [
            _predict(training, shifted_views.draw(shifted_views.draw(test, by_name[first]), by_name[second]))
            for first, second in PLANTED_SHIFTS
        ]
    )


def _predict(training: Any, images: np.ndarray) -> np.ndarray:
    return np.asarray(training.model.predict(images, batch_size=64, verbose=0), np.float32)


def _silent(_done: int, _total: int, _what: str) -> None:
    """No progress of preparation: trainings say when they are done."""


def make(name: str, count: int, workers: int) -> None:
    """Train what is missing of a set's networks, in `workers` processes of one thread each."""
    spread(train, name, [number for number in range(count) if not path(name, number).exists()], workers)


def spread(train: Callable[[str, list[Any]], None], name: str, missing: list[Any], workers: int) -> None:
    """Call `train` with shares of what is missing of a set, in `workers` processes."""
    if not missing:
        return
    SETS[name].place(RESULTS / "sets")
    context = multiprocessing.get_context("spawn")
    running = [context.Process(target=train, args=(name, missing[w::workers])) for w in range(workers)]
    for process in running:
        process.start()
    for process in running:
        process.join()
    if any(process.exitcode for process in running):
        sys.exit(f"training the networks of {name} failed; what is done is kept, call it again")
