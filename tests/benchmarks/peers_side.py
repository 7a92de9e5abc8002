"""One search of a peer, in a process of its own: `python -m tests.benchmarks.peers_side SIDE SEED FOLDER BEGUN`.

The peers get our HyperModel with the space that our search of the same time has, the decoded images and the shifted
views. They train through the HyperModel's own `fit` hook. Each trial that ends, or is stopped, leaves one line in
`FOLDER/events.jsonl`: seconds since the start, what the search saw of it, and the judge's score: the robust score of
the weights that it ended with, on `PER_CLASS` images of each class under every view. It runs until it is stopped.
"""

from __future__ import annotations

import itertools
import json
import os
import pickle
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from xraytune.evaluation import metrics, robust_score
from xraytune.training import epoch_evaluation

PER_CLASS = epoch_evaluation.PER_CLASS_PREFIX
"""The images that every trial of every side is judged on: our own trials with frozen features see no others."""

MOST_EPOCHS = 30
BETA = 2.0
JOB = "job.pickle"


class Judge:
    """Robust score and validation F-beta of a network, on the prepared job's images."""

    def __init__(self, job: Any) -> None:
        self.job, self.data = job, job.data
        self._viewed: dict[int, Any] = {}

    def pool(self, size: int) -> Any:
        """All images at a network's size."""
        return np.load(self.data.pools[size], mmap_mode="r")

    def robust(self, model: Any) -> float:
        """The judge's score."""
        size = int(model.input_shape[1])
        if size not in self._viewed:
            self._viewed[size] = epoch_evaluation.draw(
                self.pool(size), np.asarray(self.data.validation), self.data.labels, self.data.views,
                per_class=PER_CLASS, fingerprint=self.data.fingerprint, cache=self.data.cache,
            )  # fmt: skip
        viewed = self._viewed[size]
        answers = viewed.predictions(lambda pool, rows: answer(model, pool[rows]), viewed.chosen(PER_CLASS))
        if not all(np.isfinite(of_view).all() for of_view in answers.values()):
            return 0.0  # a training that diverged
        return robust_score.score(viewed.labels, answers, self.data.positive, beta=BETA).value

    def plain(self, model: Any) -> float:
        """F-beta of the validation images at threshold 0.5: what people optimise."""
        rows, pool = np.asarray(self.data.validation), self.pool(int(model.input_shape[1]))
        found = metrics.summary(self.data.labels[rows], answer(model, pool[rows]), self.data.positive, beta=BETA)
        return float(found["f_beta"])


def answer(model: Any, images: Any) -> np.ndarray:
    """Probabilities `(n, k)`."""
    return np.asarray(model.predict(np.asarray(images), batch_size=64, verbose=0), np.float32)


class Search:
    """What both peers need: the space, the images, and how an epoch is reported.

    Args:
        folder: the search's.
        plain: whether the peer's own objective is the validation F-beta instead of the robust score.
        begun: when the search began, seconds since 1970.
    """

    def __init__(self, folder: Path, plain: bool, begun: float) -> None:
        import spaces

        job = pickle.loads((folder.parent / JOB).read_bytes())
        self.folder, self.is_plain, self.begun = folder, plain, begun
        self.judge, self.space = Judge(job), spaces.get(job.space, job.context)

    def seen(self, model: Any) -> float:
        """What the search is shown after an epoch."""
        return self.judge.plain(model) if self.is_plain else self.judge.robust(model)

    def ended(self, trial: str, model: Any, seen: float) -> None:
        """Note a trial, by its name, with the judge's score of the weights that it has now."""
        score = self.judge.robust(model) if self.is_plain else seen
        line: dict[str, Any] = {
            "trial": trial,
            "seconds": round(time.time() - self.begun, 2),
            "seen": round(seen, 5),
            "score": round(score, 5),
        }
        with (self.folder / "events.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def fit(self, hp: Any, model: Any, callback: Any, **options: Any) -> Any:
        """Train as the space's hook does, on the images at the network's size."""
        data = self.judge.data
        pool, train, validation = (
            self.judge.pool(int(model.input_shape[1])), np.asarray(data.train), np.asarray(data.validation),
        )  # fmt: skip
        return self.space.fit(
            hp, model, pool[train], data.labels[train], validation_data=(pool[validation], data.labels[validation]),
            callbacks=[callback, *(options.pop("callbacks", None) or [])], verbose=0, **options,
        )  # fmt: skip


def keras_tuner_search(search: Search, seed: int) -> None:
    """KerasTuner's Hyperband over our HyperModel, until the process is stopped."""
    import keras
    import keras_tuner

    kept = {"epochs", "initial_epoch", "callbacks"}  # its callbacks save the weights that later rounds go on with

    class Report(keras.callbacks.Callback):
        seen = 0.0

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.seen = search.seen(self.model)
            if logs is not None:
                logs["val_seen"] = self.seen

    class Reporting(keras_tuner.HyperModel):
        def build(self, hp: Any) -> Any:
            return search.space.build(hp)

        def fit(self, hp: Any, model: Any, *args: Any, **options: Any) -> dict[str, float]:
            options.pop("verbose", None)
            report = Report()
            search.fit(hp, model, report, **{k: v for k, v in options.items() if k in kept})
            search.ended(str(next(number)), model, report.seen)
            return {"val_seen": report.seen}

    round_, number = 0, itertools.count()
    while True:  # one run of Hyperband after another
        tuner = keras_tuner.Hyperband(
            Reporting(), objective=keras_tuner.Objective("val_seen", "max"), max_epochs=MOST_EPOCHS, factor=3,
            seed=seed + 1000 * round_, directory=str(search.folder), project_name=f"tuner-{round_}", overwrite=True,
            max_consecutive_failed_trials=20,
        )  # fmt: skip
        tuner.search(verbose=0)
        round_ += 1


def ray_search(folder: Path, plain: bool, seed: int, begun: float) -> None:
    """Stock Ray Tune with OptunaSearch and ASHA over our HyperModel, two trials at once, until it is stopped."""
    import ray
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    import spaces
    from search.hyperparameters.suggestion import SuggestedHyperParameters

    job = pickle.loads((folder.parent / JOB).read_bytes())
    space = spaces.get(job.space, job.context)

    def suggest(trial: Any) -> dict[str, Any]:
        hp = SuggestedHyperParameters(trial)
        space.declare_hyperparameters(hp)
        return dict(hp.values)

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, _temp_dir=str(ray_folder(folder)))
    tune.run(
        tune.with_parameters(train_for_ray, folder=str(folder), plain=plain, begun=begun),
        num_samples=-1, resources_per_trial={"cpu": 1}, verbose=0, storage_path=str(folder / "ray"),
        search_alg=OptunaSearch(space=suggest, metric="seen", mode="max", seed=seed),
        scheduler=ASHAScheduler(metric="seen", mode="max", max_t=MOST_EPOCHS, grace_period=1, reduction_factor=3),
    )  # fmt: skip


def ray_folder(folder: Path) -> Path:
    """Ray's own folder: its sockets' paths must be short."""
    return Path("/tmp") / f"xp-{zlib.crc32(str(folder).encode())}"


def train_for_ray(config: dict[str, Any], folder: str, plain: bool, begun: float) -> None:
    """One trial in a worker; its last whole epoch is noted before it is reported, for ASHA may end it there."""
    import keras
    import keras_tuner
    from ray import tune
    from ray.tune.utils.util import flatten_dict

    from xraytune.training.machine import configure_threads

    configure_threads(1)
    keras.backend.clear_session()
    search = Search(Path(folder), plain, begun)
    hp = keras_tuner.HyperParameters()
    hp.values = flatten_dict(config)  # OptunaSearch makes "cnn/width" a dictionary in a dictionary
    model = search.space.build(hp)

    class Report(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            seen = search.seen(self.model)
            search.ended(tune.get_context().get_trial_id(), self.model, seen)
            tune.report({"seen": seen})

    search.fit(hp, model, Report())


def main() -> None:
    """Run one side until the process is stopped."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    side, seed, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    begun, plain = float(sys.argv[4]), side.endswith("_plain")
    if side.startswith("keras_tuner"):
        import keras

        keras.utils.set_random_seed(seed)
        keras_tuner_search(Search(folder, plain, begun), seed)
    else:
        ray_search(folder, plain, seed, begun)


if __name__ == "__main__":
    main()
