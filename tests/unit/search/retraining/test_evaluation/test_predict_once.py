"""What comes before the record of the test set's evaluation, and what comes after it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from search.cli import progress_bars
from search.retraining.test_evaluation import evaluation
from search.retraining.test_evaluation.evaluation import FinalModel, predict_once
from search.retraining.workers.tasks import NetworkTask, PredictTask
from search.retraining.workers.worker_pool import TaskOutcome
from search.study import access_log
from tests.inputs.made_studies import trial
from xraytune.data import arrays
from xraytune.errors import FatalError, TrialError
from xraytune.evaluation import calibration, shortcut_audit
from xraytune.inference.model_card import Member, ModelCard, write_card
from xraytune.records import FailureCause

EDGE = 224


class Pool:
    """Answers tasks as workers do, and remembers which were recorded by then."""

    def __init__(self, study: Path, failing: type | None = None) -> None:
        self.study, self.failing = study, failing
        self.asked: list[tuple[str, int | None, int]] = []

    def run(self, tasks: Any) -> Iterator[TaskOutcome]:
        for i, task in enumerate(tasks):
            self.asked.append((type(task).__name__, task.first, len(access_log.read(self.study))))
            if isinstance(task, self.failing or ()):
                yield TaskOutcome(i, error=TrialError(FailureCause.OOM, "no memory"))
            else:
                yield TaskOutcome(i, np.full((3, 2), 0.5, np.float32))


@pytest.fixture
def once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`predict_once` of a model and a retrained recipe, with this pool; test images and audit are made up."""
    folder = tmp_path / "winner"
    folder.mkdir()
    member = Member("model.keras", "0" * 64, EDGE, 1.0).to_json()
    write_card(folder, ModelCard(("a", "b"), 1, 1, "crop", 0.5, "0.5", calibration.none(2).to_json(), {}, (member,)))
    found = SimpleNamespace(to_json=lambda: {"shifts": []})
    monkeypatch.setattr(arrays, "test", lambda dataset, size, progress: tmp_path / f"{size}.npy")
    monkeypatch.setattr(shortcut_audit, "audit", lambda *_, **__: found)
    recipe = SimpleNamespace(
        name="kermany", trial=trial(1), image_size=EDGE,
        network=SimpleNamespace(path=tmp_path / "recipe.keras", sha256="", error=""),
    )  # fmt: skip
    choice = SimpleNamespace(kind="refit", finalists=[(SimpleNamespace(trial=trial(0)), 1.0)])
    made: Any = FinalModel(folder, choice, None, (), None, (recipe,))  # type: ignore[arg-type]
    study: Any = SimpleNamespace(folder=tmp_path, spec=SimpleNamespace(max_epochs=0))
    setup: Any = SimpleNamespace(data=SimpleNamespace(pools={EDGE: tmp_path / "pool.npy"}))
    dataset: Any = SimpleNamespace(test_fingerprint="t")
    return lambda pool: predict_once(study, "best", made, dataset, setup, pool)


def test_models_are_tried_on_training_images_before_the_record_and_the_predictions_follow_it_at_once(
    once: Any, tmp_path: Path
) -> None:
    pool = Pool(tmp_path)
    found = once(pool)
    assert pool.asked == [("PredictTask", 32, 0), ("NetworkTask", 32, 0), ("PredictTask", None, 1)]
    assert found.number == 1
    assert found.raw.shape == (3, 2)
    [entry] = access_log.read(tmp_path)
    assert (entry["what"], entry["trials"], entry["compared"]) == ("retrain best", [0], ["kermany"])


def broken(*_: Any, **__: Any) -> Any:
    raise RuntimeError("broken")


@pytest.mark.parametrize(
    ("module", "name"),
    [(arrays, "test"), (shortcut_audit, "audit"), (progress_bars, "progress"), (evaluation, "read_card")],
)
def test_nothing_is_recorded_where_what_comes_before_the_predictions_fails(
    once: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Any, name: str
) -> None:
    monkeypatch.setattr(module, name, broken)
    with pytest.raises(RuntimeError, match="broken"):
        once(Pool(tmp_path))
    assert access_log.read(tmp_path) == []


@pytest.mark.parametrize("failing", [PredictTask, NetworkTask])
def test_nothing_is_recorded_where_a_network_can_not_be_used(once: Any, tmp_path: Path, failing: type) -> None:
    with pytest.raises(FatalError, match="no memory"):
        once(Pool(tmp_path, failing))
    assert access_log.read(tmp_path) == []
