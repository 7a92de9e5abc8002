"""One side of the engine's benchmarks: 50 trivial trials on a study that already has some, ours or stock Ray + Optuna.

Both sides: SQLite, the same sampler (`tpe`: stock pickles it every ten seconds, which ours does not bear),
two workers of one core, `reuse_actors`, a conditional space. The clock runs from the first trial's start on a worker to
the last one's end: what Ray needs to start is not in it. What the sampler itself thinks for is taken off on both sides
and shown apart.
"""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import tempfile
import time
from pathlib import Path

import optuna

from search.hyperparameters.suggestion import SuggestedHyperParameters
from search.samplers import SAMPLERS, factory
from search.testing.synthetic_space import Branches
from search.testing.synthetic_trial import SyntheticJob, branch_value
from xraytune.records import StudySpec, TrialConfig

FURTHER = 50
SPACE = Branches()
KEPT = Path(tempfile.gettempdir()) / f"xraytune-bench-{os.getuid()}"


class Thought:
    """The seconds that a sampler's own methods take, all together.

    They are timed on the sampler's class: stock pickles its sampler, which must stay as it is.
    """

    METHODS = ("infer_relative_search_space", "sample_relative", "sample_independent", "before_trial", "after_trial")

    def __init__(self, kind: type[optuna.samplers.BaseSampler]) -> None:
        self.seconds, self._inside = 0.0, False
        for name in self.METHODS:
            setattr(kind, name, self._timed(getattr(kind, name)))

    def _timed(self, method):
        def timed(sampler, *args, **kwargs):
            if self._inside:  # samplers call their own methods
                return method(sampler, *args, **kwargs)
            self._inside, begun = True, time.perf_counter()
            try:
                return method(sampler, *args, **kwargs)
            finally:
                self._inside = False
                self.seconds += time.perf_counter() - begun

        return timed


def sampler(name: str) -> optuna.samplers.BaseSampler:
    return factory.make_sampler(name, 1, declaration=SPACE.declare_hyperparameters)


def suggest(trial: optuna.Trial) -> dict:
    hp = SuggestedHyperParameters(trial)
    SPACE.declare_hyperparameters(hp)
    return dict(hp.values)


def prefilled(trials: int) -> Path:
    """A database with a study of so many ended trials; made once, then copied."""
    KEPT.mkdir(exist_ok=True)
    master = KEPT / f"{trials}.db"
    if not master.exists():
        filled = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0), direction="maximize")
        for number in range(trials):
            trial = filled.ask()
            values = suggest(trial)
            trial.set_user_attr("config", TrialConfig(values["family"], values, number).to_json())
            filled.tell(trial, branch_value(values, 0))
        scratch = KEPT / f"{trials}.{os.getpid()}"

        def connect() -> sqlite3.Connection:
            connection = sqlite3.connect(scratch, check_same_thread=False)
            connection.execute("PRAGMA synchronous=OFF")  # many trials to write; the file may be lost
            return connection

        database = optuna.storages.RDBStorage(f"sqlite:///{scratch}", engine_kwargs={"creator": connect})
        study = optuna.create_study(study_name="bench", storage=database, direction="maximize")
        study.add_trials(filled.get_trials(deepcopy=False))
        database.remove_session()
        database.engine.dispose()
        scratch.rename(master)
    copy = Path(tempfile.mkdtemp(dir=KEPT)) / "studies.db"
    shutil.copy(master, copy)
    return copy


class Clock:
    """A view that notes when trials start and end; the sampler's thoughts don't count."""

    def __init__(self, thought: Thought) -> None:
        self.first = self.last = 0.0
        self.thought = thought

    def now(self) -> float:
        return time.perf_counter() - self.thought.seconds

    def started(self, number, config) -> None:
        self.first = self.first or self.now()

    def ended(self, number, state, value, cause, message) -> None:
        self.last = self.now()

    def epoch(self, number, report) -> None: ...

    def note(self, message) -> None: ...

    def tick(self) -> None: ...


def ours(trials: int) -> float:
    """Seconds that `FURTHER` trials took."""
    from search.study.lock import StudyLock
    from search.study.study import Study
    from search.tuner import engine, resources
    from search.tuner.cluster import Cluster
    from search.tuner.orchestrator import Budget

    database = prefilled(trials)
    results = database.parent
    spec = StudySpec("bench", "none", "", "", ("low", "high"), 1, "branches", "", SPACE.families)
    from search.study.database import open_database

    suggesting = sampler("tpe")
    storage = open_database(results)
    study = optuna.load_study(study_name="bench", storage=storage, sampler=suggesting)
    (results / "bench").mkdir()
    owned = Study(study, storage, results, spec, SPACE.declare_hyperparameters, StudyLock(results, "bench"))
    owned.recover()
    clock = Clock(Thought(type(suggesting)))
    plan = resources.share_resources(2, 1, 0)
    with Cluster(plan, KEPT) as cluster:
        limits = engine.Limits(plan, Budget(trials + FURTHER), pruner="none")
        engine.run(owned, SyntheticJob(epochs=1), clock, cluster, limits)
    shutil.rmtree(results)
    return clock.last - clock.first


def stock(trials: int) -> float:
    """Seconds that `FURTHER` trials took."""
    import ray
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch
    from ray.tune.utils.util import flatten_dict

    logging.getLogger("ray").setLevel(logging.CRITICAL)
    database = prefilled(trials)
    storage = optuna.storages.RDBStorage(f"sqlite:///{database}")
    suggesting = sampler("tpe")
    clock = Clock(Thought(type(suggesting)))

    class Watch(tune.Callback):
        def on_trial_start(self, iteration, trials, trial, **info) -> None:
            clock.started(0, None)

        def on_trial_complete(self, iteration, trials, trial, **info) -> None:
            clock.ended(0, "", None, "", "")

    class Trivial(tune.Trainable):
        def setup(self, config) -> None:
            self.values = flatten_dict(config)  # OptunaSearch makes "steps/rate" a dictionary in a dictionary

        def reset_config(self, new_config) -> bool:
            self.setup(new_config)
            return True

        def step(self) -> dict:
            return {"value": branch_value(self.values, 0), "done": True}

    search = OptunaSearch(
        space=suggest, metric="value", mode="max", sampler=suggesting, storage=storage, study_name="bench"
    )
    folder = tempfile.mkdtemp(prefix="xb", dir="/tmp")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR, _temp_dir=folder)
    tune.run(
        tune.with_resources(Trivial, {"cpu": 1}),
        num_samples=FURTHER,
        search_alg=search,
        reuse_actors=True,
        verbose=0,
        callbacks=[Watch()],
        storage_path=folder,
    )
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(database.parent)
    return clock.last - clock.first


def overhead(side: str, trials: str) -> None:
    """Print the seconds a trial that the engine adds."""
    print((ours if side == "ours" else stock)(int(trials)) / FURTHER)


def suggestion(side: str, trials: str) -> None:
    """Print the seconds of one suggestion, by the default sampler or by Optuna's own."""
    database = prefilled(int(trials))
    suggesting = sampler(SAMPLERS[0]) if side == "ours" else optuna.samplers.TPESampler(seed=1)
    study = optuna.load_study(study_name="bench", storage=f"sqlite:///{database}", sampler=suggesting)
    suggest(study.ask())
    begun = time.perf_counter()
    for _ in range(5):
        suggest(study.ask())
    print((time.perf_counter() - begun) / 5)
    shutil.rmtree(database.parent)
