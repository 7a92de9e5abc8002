"""`make curves`: train every configuration of the design to its end and keep each of its epochs.

One file a training, `results/evidence/curves/SET/NNN.json`. A unit stops between two epochs and keeps the training that
it was in; the next unit goes on there. Each epoch is judged over all views that the training has, at full size; what
that costs is counted apart. Seconds are processor time of one thread, so that a busy machine trains the same.
`time_network` measures each network alone on a quiet machine.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import pickle
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import filelock
import numpy as np

from tests.benchmarks.harness import UnavailableError, real_data
from tests.evidence import networks
from tests.evidence.curves.design import Planned, SetInfo, design, interleaved
from tests.evidence.sets import SETS
from xraytune import artifacts
from xraytune.data.sources import demo, synthetic_images

SEARCH_SECONDS = 1800.0
"""The search whose space is drawn from: the default time, in the middle of the times that are simulated."""

MOST_SECONDS = 1200.0
"""Of one core, after which a training ends with the epoch that it is in."""

TIMED_IMAGES = 512
TIMED_EPOCHS = 3
"""Of a timing: the first epoch includes tracing the graph, the fastest of the others counts."""


def _tiny(folder: Path) -> Path:
    root = folder / "tiny-curves"
    if not root.exists():
        demo.write(root, synthetic_images.draw_plan(3, 60, shortcut="aspect", strength=0.9, depth=2.0))
    return root


@dataclass(frozen=True)
class Scope:
    """A design and where its trainings are kept."""

    folder: Path
    places: Mapping[str, Callable[[Path], Path]]
    """What `DATA=` is given, by set; made under a folder where it is synthetic."""

    counts: Mapping[str, int]
    """Trainings of each set, beside the linear model's."""

    hours: float
    """Of two cores, all predicted trainings together."""

    max_epochs: int = 0
    search_seconds: float = SEARCH_SECONDS

    def path(self, planned: Planned) -> Path:
        """Where a training is kept."""
        return self.folder / planned.set / f"{planned.number:03d}.json"

    def timing(self, planned: Planned) -> Path:
        """Where its timing is kept."""
        return self.folder / planned.set / f"{planned.number:03d}.timing.json"

    def designs(self) -> list[list[Planned]]:
        """The design of each set that was prepared."""
        total = sum(self.counts.values())
        return [
            design(info, self.counts[name], self.hours * self.counts[name] / total, index)
            for index, name in enumerate(self.places)
            if (info := self.info(name)) is not None
        ]

    def order(self) -> list[Planned]:
        """All trainings, in the order in which they are made."""
        return interleaved(self.designs())

    def info(self, name: str) -> SetInfo | None:
        """What is known of a set; None before it was prepared."""
        path = self.folder / name / "set.json"
        return SetInfo.from_json(artifacts.read_json(path)) if path.exists() else None


SYNTHETIC = ("aspect", "brightness", "framing", "clinic")
FULL = Scope(
    networks.RESULTS / "curves",
    {"chest_xray": lambda _: real_data("chest_xray") / "train"}
    | {name: SETS[name].place for name in ("covid19", *SYNTHETIC)},
    {"chest_xray": 75, "covid19": 20} | dict.fromkeys(SYNTHETIC, 10),
    hours=5.5,
)
"""The folder of training images alone is given as the X-rays: what is held out as a test set is a part of it, and the
official test images are not read."""

TINY = Scope(networks.RESULTS / "curves-tiny", {"tiny": _tiny}, {"tiny": 5}, 0.2, max_epochs=3, search_seconds=120.0)
SCOPES = {"full": FULL, "tiny": TINY}


def prepare(scope: Scope, name: str) -> None:
    """Decode a set, plan its views and its space, once; later calls do nothing.

    Raises:
        UnavailableError: its images are not here.
    """
    folder = scope.folder / name
    folder.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder / "set.lock"):
        if (folder / "job.pickle").exists() and all(Path(p).exists() for p in _job(scope, name).data.pools.values()):
            return
        place = scope.places[name](networks.RESULTS / "sets")
        known = scope.info(name)
        job, info = _prepared(name, place, scope.search_seconds, known)
        if known not in (None, info):
            sys.exit(f"{name}: its images or its audit are no longer those of {folder}; move that folder away")
        with artifacts.atomic_write(folder / "job.pickle") as temporary:
            temporary.write_bytes(pickle.dumps(job))
        artifacts.write_json(folder / "set.json", info.to_json())


def _job(scope: Scope, name: str) -> Any:
    """The prepared job of a set."""
    return pickle.loads((scope.folder / name / "job.pickle").read_bytes())


def _prepared(name: str, place: Path, seconds: float, known: SetInfo | None) -> tuple[Any, SetInfo]:
    """A set's job and what is known of it; space and speed are those of the machine that prepared it first."""
    from search.driver.options import StudyOptions
    from search.driver.prepare import prepare as prepare_search
    from xraytune import data as data_package
    from xraytune.data import cache
    from xraytune.evaluation import shortcut_audit
    from xraytune.models.cost import Machine, this_machine

    weights = Path(os.environ["XRAYTUNE_WEIGHTS"]) if "XRAYTUNE_WEIGHTS" in os.environ else None
    options = StudyOptions(
        data=str(place), time=seconds, objective="robust", recipes="none", precision="float32", weights_dir=weights
    )
    found = prepare_search(options, f"curves-{name}", cache.folder(), _silent, deterministic=True)
    if known:
        stored = dataclasses.replace(found.spec, narrowed=known.narrowed)
        found = prepare_search(options, stored.name, cache.folder(), _silent, stored, deterministic=True)
    job: Any = found.make_job(_silent)
    context = job.context
    machine = Machine(known.rate, 1, forward=known.forward) if known else this_machine()
    countermeasures = shortcut_audit.audit(data_package.load(str(place))).countermeasures
    return job, SetInfo(
        name=name, classes=context.classes, channels=context.channels, counts=tuple(context.counts),
        validation=len(job.data.validation), weights=tuple(context.weights), narrowed=dict(context.narrowed),
        countermeasures=tuple(countermeasures), positive=job.data.positive,
        rate=machine.rate, forward=machine.forward,
    )  # fmt: skip


def _silent(_done: int, _total: int, _what: str) -> None:
    """Preparing says nothing: trainings say when they are done."""


# ── one training ────────────────────────────────────────────────────────────────────────────────────────────────────


def _judged_everywhere() -> type:
    """A trainer that looks at all views after every epoch whose weights would now be restored."""
    from xraytune.training.trainer import Trainer

    class Judged(Trainer):
        seen = 0

        def _look_at_rung(self, newest: Any) -> bool:
            if self.seen != self._course.best:
                self.shell.set_weights(self._course.restored()[0])
                self._look()
                self.shell.set_weights(newest)
                self.seen = self._course.best
            return True

    return Judged


def processor_clock() -> Any:
    """A training's phases in processor seconds while this context is open."""
    from xraytune.training import clock

    return mock.patch.object(clock, "time", SimpleNamespace(perf_counter=time.process_time, monotonic=time.monotonic))


def _begin(scope: Scope, planned: Planned, data: Any, trainer: type) -> Any:
    import spaces
    from xraytune.records import TrialConfig

    context = _job(scope, planned.set).context
    config = TrialConfig(planned.family, dict(planned.values), 1000 + planned.number)
    space = spaces.get("chest_xray", context)
    return trainer(space, config, data, objective="robust", max_epochs=scope.max_epochs)


def train(scope: Scope, planned: Planned, until: float) -> bool:
    """Train one configuration, or go on with it, until its end or the time `until` (`time.monotonic()`).

    Returns:
        Whether it has ended: only then its file exists.
    """
    from xraytune.errors import TrialError

    target = scope.path(planned)
    part = target.with_suffix(".part")
    kept: dict[str, Any] = {"epochs": [], "seconds": 0.0, **_described(planned)}
    job = _job(scope, planned.set)
    # frozen features of its own: what they cost is then part of each training that needs them
    data = dataclasses.replace(job.data, cache=part / "cache")
    part.mkdir(parents=True, exist_ok=True)
    begun = time.process_time()
    try:
        with processor_clock():
            training = _begin(scope, planned, data, _judged_everywhere())
            if (part / "kept.json").exists():
                kept = artifacts.read_json(part / "kept.json")
                training.restore(part / "checkpoint")
            before = kept["seconds"]
            while not training.done and kept["seconds"] < MOST_SECONDS:
                if time.monotonic() > until and kept["epochs"]:
                    training.save(part / "checkpoint")
                    artifacts.write_json(part / "kept.json", kept)
                    return False
                report = training.step()
                kept["epochs"].append(_row(report, training))
                kept["seconds"] = before + time.process_time() - begun
            result = training.finish()
            kept |= {
                "score": result.value, "best_epoch": result.best_epoch, "parameters": result.parameters,
                "cut": not training.done, "peak_memory_mb": result.peak_memory_mb,
                "by_view": result.by_view,
            }  # fmt: skip
    except TrialError as error:
        kept["failed"] = str(error)
    artifacts.write_json(target, kept)
    shutil.rmtree(part, ignore_errors=True)
    print(f"{planned.set} {planned.number:03d}: {planned.family} {kept['seconds']:.0f} s, predicted "
          f"{planned.seconds:.0f} s: {kept.get('failed') or round(kept['score'], 3)}", flush=True)  # fmt: skip
    return True


def _described(planned: Planned) -> dict[str, Any]:
    return {
        "set": planned.set, "number": planned.number, "family": planned.family, "countered": planned.countered,
        "values": dict(planned.values), "predicted": planned.seconds,
    }  # fmt: skip


def _row(report: Any, training: Any) -> dict[str, float]:
    """An epoch: what it is worth, and its processor seconds by phase."""
    measured = {n: float(v) for n, v in report.metrics.items() if not n.startswith("view_")}
    seconds = {f"seconds_{phase}": float(v) for phase, v in report.seconds.items()}
    steps = training.images.epoch_size // training.plan.batch_size
    return {"epoch": report.epoch, "robust": report.value, "steps": steps, **measured, **seconds}


def time_network(scope: Scope, planned: Planned) -> None:
    """Time one network's steps alone, on a few hundred images; keeps wall seconds of one thread."""
    from xraytune.errors import TrialError
    from xraytune.training.trainer import Trainer

    job, target = _job(scope, planned.set), scope.timing(planned)
    folder = target.with_suffix(".part")
    rng = np.random.default_rng(0)
    few = {
        name: np.sort(rng.permutation(rows)[:TIMED_IMAGES])
        for name, rows in (("train", np.asarray(job.data.train)), ("validation", np.asarray(job.data.validation)))
    }
    data = dataclasses.replace(job.data, cache=folder, **few)
    try:
        training = _begin(scope, planned, data, Trainer)
        reports = []
        while not training.done and len(reports) < TIMED_EPOCHS:
            reports.append(training.step())
        steps = training.images.epoch_size // training.plan.batch_size
        later = reports[1:] or reports
        found = {
            "step_seconds": min(r.seconds.get("train", 0.0) for r in later) / max(steps, 1),
            "validation_image_seconds": min(r.seconds.get("validate", 0.0) for r in later) / len(few["validation"]),
            "first_epoch_seconds": sum(reports[0].seconds.values()),
            "load": os.getloadavg()[0],
        }
    except TrialError as error:
        found = {"failed": str(error)}
    artifacts.write_json(target, found)
    shutil.rmtree(folder, ignore_errors=True)
    print(f"{planned.set} {planned.number:03d}: {planned.family} timed {found}", flush=True)


# ── units ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def ready(scope: Scope) -> list[str]:
    """Prepare every set that is here; the names of the others, each said in one line."""
    left_out = []
    for name in scope.places:
        try:
            prepare(scope, name)
        except UnavailableError as missing:
            print(f"{name} is left out: {missing}.", flush=True)
            left_out.append(name)
    return left_out


def work(scope_name: str, timing: bool, seconds: float) -> None:
    """Make what is missing, in order, for so many seconds; several processes may do it at once."""
    from xraytune.training.machine import configure_threads

    until, scope = time.monotonic() + seconds, SCOPES[scope_name]
    configure_threads(1)
    for planned in scope.order():
        target = scope.timing(planned) if timing else scope.path(planned)
        if time.monotonic() > until:
            return
        if target.exists():
            continue
        lock = filelock.FileLock(target.with_suffix(".lock"))
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:  # another process has it
            continue
        with lock:
            if not target.exists():
                if timing:
                    time_network(scope, planned)
                else:
                    train(scope, planned, until)


def unit(scope_name: str, *, timing: bool = False, minutes: float = 0.0, workers: int = 2) -> int:
    """One unit of work: what is missing for so many minutes (0: all of it); how many are missing after it."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    begun, scope = time.monotonic(), SCOPES[scope_name]
    ready(scope)
    seconds = minutes * 60 - (time.monotonic() - begun) if minutes else float("inf")
    context = multiprocessing.get_context("spawn")
    running = [
        context.Process(target=work, args=(scope_name, timing, seconds)) for _ in range(1 if timing else workers)
    ]
    for process in running:
        process.start()
    for process in running:
        process.join()
    if any(process.exitcode for process in running):
        sys.exit("a worker failed; what is done is kept, call it again")
    order = scope.order()
    return sum(not (scope.timing(one) if timing else scope.path(one)).exists() for one in order)
