"""What a retraining decides before it trains: options, finalists, plan, ledger, and that nothing half-written stays."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from search import cases, confirm, finalists, ledger, winner
from search.lock import StudyLock
from search.retrain import Options, retrain
from search.storage import TrialRecord
from xraytune import evaluation
from xraytune.data.dataset import ImageRecord
from xraytune.errors import FatalError, InputError, StudyError
from xraytune.records import TrialConfig


def trial(
    number: int, value: float | None = 0.9, state: str = "COMPLETE", seconds: float = 10.0, **attributes: Any
) -> Any:
    config = TrialConfig("cnn", {"family": "cnn", "cnn/width": number}, seed=1)
    result = SimpleNamespace(seconds={"train": seconds}, value=value)
    values = () if value is None else (value,)
    return TrialRecord(number, state, values, config, result, "", "", {}, None, None, attributes)  # type: ignore[arg-type]


class FakeStudy:
    """Only what `finalists` asks of a study; the real one is in the end-to-end tests."""

    name = "mine"

    def __init__(self, *trials: Any) -> None:
        self._trials = list(trials)

    def trials(self) -> list[Any]:
        return self._trials

    def best(self) -> Any:
        done = [t for t in self._trials if t.state == "COMPLETE"]
        if not done:
            raise StudyError("Study 'mine' has no complete trial yet.")
        return max(done, key=lambda t: t.value)

    def trial(self, number: int) -> Any:
        if number >= len(self._trials):
            raise StudyError(f"Study 'mine' has no trial {number}")
        return self._trials[number]

    def pareto(self) -> list[Any]:
        return [t for t in self._trials if t.state == "COMPLETE"]


def numbers(found: list[Any]) -> list[int]:
    return [t.number for t in found]


def test_finalists_by_every_way_of_asking() -> None:
    study: Any = FakeStudy(
        trial(0, 0.8),
        trial(1, 0.9),
        trial(2, None, "FAIL"),
        trial(3, 0.85),
        trial(4, 0.7, "PRUNED", origin="recipe kermany"),
    )
    assert numbers(finalists.choose(study, "best", 2)) == [1, 3]
    assert numbers(finalists.choose(study, "top:3", 5)) == [1, 3, 0]
    assert numbers(finalists.choose(study, "3", 5)) == [3]
    assert numbers(finalists.choose(study, "pareto:2", 5)) == [1]
    assert numbers(finalists.choose(study, "kermany", 5)) == [4]


def test_the_same_configuration_twice_is_one_finalist() -> None:
    twin = trial(0, 0.8)
    study: Any = FakeStudy(
        twin, TrialRecord(1, "COMPLETE", (0.7,), twin.config, twin.result, "", "", {}, None, None, {})
    )
    assert numbers(finalists.choose(study, "best", 5)) == [0]


@pytest.mark.parametrize(
    ("which", "says"),
    [
        ("999", "no trial 999"),
        ("2", "only a complete or pruned"),
        ("top:0", "from 1"),
        ("top:x", "from 1"),
        ("pareto:9", "1 trials"),
        ("nonsense", "best, a trial's number"),
    ],
)
def test_what_can_not_be_retrained_is_said(which: str, says: str) -> None:
    study: Any = FakeStudy(trial(0), trial(1, 0.8, "FAIL"), trial(2, None, "FAIL"))
    with pytest.raises((InputError, StudyError), match=says):
        finalists.choose(study, which, 5)


def test_a_study_without_a_complete_trial_is_refused() -> None:
    study: Any = FakeStudy(trial(0, None, "FAIL"))
    for which in ("best", "top:2", "pareto:1"):
        with pytest.raises(StudyError, match="no complete trial"):
            finalists.choose(study, which, 5)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (Options(threshold="high"), "youden"),
        (Options(final="all"), "refit, folds, ensemble"),
        (Options(folds=2), "--folds must be 3"),
        (Options(finalists=0), "--finalists"),
        (Options(seeds=0), "--seeds"),
    ],
)
def test_bad_options_are_refused_before_anything_is_read(options: Options, says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=says):
        retrain(options)


def test_no_study_at_all(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="no study"):
        retrain(Options(results=tmp_path))


def test_a_plan_shrinks_seeds_then_finalists_then_folds_and_never_below_one_by_three_by_one() -> None:
    five = [trial(i, seconds=30.0) for i in range(5)]

    def shape(budget: float) -> tuple[int, int, int]:
        plan = confirm.make_plan(five, 5, 3, budget=budget, workers=2)
        return len(plan.finalists), plan.folds, plan.seeds

    assert shape(10_000) == (5, 5, 3)
    assert shape(900) == (5, 5, 2)
    assert shape(500) == (5, 5, 1)
    assert shape(265) == (2, 5, 1)
    assert shape(145) == (1, 4, 1)
    assert shape(1) == (1, 3, 1)


def test_the_plan_says_how_long_it_will_take() -> None:
    plan = confirm.make_plan([trial(0, seconds=60.0)], 4, 1, budget=10_000, workers=2)
    # the start, four trainings on two workers, half a training of waiting for the last, the refit, test set and report
    assert plan.seconds == pytest.approx(confirm.START + 120 + 30 + 60 + confirm.AFTER)
    folds = confirm.make_plan([trial(0, seconds=60.0)], 4, 1, budget=10_000, workers=2, final="folds")
    assert plan.seconds - folds.seconds == 60
    three = [trial(i, seconds=60.0) for i in range(3)]
    ensemble = confirm.make_plan(three, 4, 1, budget=10_000, workers=2, final="ensemble")
    assert ensemble.final == 2  # three networks, two at a time


def test_every_opening_is_in_the_ledger(tmp_path: Path) -> None:
    assert ledger.append(tmp_path, {"what": "retrain best"}) == 1
    assert ledger.append(tmp_path, {"what": "retrain 3"}) == 2
    entries = ledger.read(tmp_path)
    assert [e["what"] for e in entries] == ["retrain best", "retrain 3"]
    assert all(e["when"] for e in entries)


def test_a_line_torn_by_a_full_disk_counts_as_an_opening(tmp_path: Path) -> None:
    ledger.append(tmp_path, {"what": "a"})
    with (tmp_path / ledger.NAME).open("a") as file:
        file.write('{"when": "20')
    assert ledger.append(tmp_path, {"what": "b"}) == 3
    assert json.loads((tmp_path / ledger.NAME).read_text().splitlines()[-1])["what"] == "b"


def test_the_set_stays_closed_where_the_ledger_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / ledger.NAME).mkdir()
    with pytest.raises(FatalError, match="stays closed"):
        ledger.append(tmp_path, {"what": "a"})


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "winner"
    with winner.whole(target) as folder:
        (folder / "model.json").write_text("1")
    assert (target / "model.json").read_text() == "1"

    def fail_with(error: Exception) -> None:
        with winner.whole(target) as folder:
            (folder / "model.json").write_text("2")
            raise error

    with pytest.raises(RuntimeError):
        fail_with(RuntimeError())
    assert (target / "model.json").read_text() == "1"
    with pytest.raises(FatalError, match="half-written"):
        fail_with(OSError(28, "No space left on device"))
    assert [p.name for p in tmp_path.iterdir()] == ["winner"]


def test_a_killed_retraining_s_leavings_are_cleared(tmp_path: Path) -> None:
    (tmp_path / ".winner-1").mkdir()
    with winner.whole(tmp_path / "winner"):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["winner"]


def test_the_former_winner_is_there_after_a_kill_between_the_renames(tmp_path: Path) -> None:
    (tmp_path / ".winner-old").mkdir()
    (tmp_path / ".winner-old" / "model.json").write_text("1")
    with pytest.raises(RuntimeError), winner.whole(tmp_path / "winner"):
        raise RuntimeError
    assert (tmp_path / "winner" / "model.json").read_text() == "1"


def test_a_study_is_retrained_once_at_a_time_and_may_be_searched_meanwhile(tmp_path: Path) -> None:
    StudyLock(tmp_path, "mine")
    held = StudyLock(tmp_path, "mine", "retrained")
    with pytest.raises(StudyError, match=r"being retrained by process \d+"):
        StudyLock(tmp_path, "mine", "retrained")
    held.release()
    StudyLock(tmp_path, "mine", "retrained").release()


def test_a_manifest_s_columns_are_subgroups_beside_those_that_names_and_sizes_tell() -> None:
    images = [ImageRecord(f"IM-{i}.png", i % 2, "test", str(i), "", "", 100 + i, 100 + i) for i in range(90)]
    hospitals = ["north" if i % 3 == 0 else "south" for i in range(90)]
    columns = winner.subgroup_columns(images, {"hospital": hospitals, "age": [str(i) for i in range(90)]})
    assert set(columns) == {"group", "acquisition series", "film size", "hospital", "age"}
    assert len(set(columns["age"])) == 3
    labels = np.array([i.label for i in images])
    right = np.where(np.array(hospitals) == "north", 1 - labels, labels)
    rows = evaluation.subgroups(
        columns, labels, np.eye(2)[right], [i.patient for i in images], positive=1, threshold=0.5, draws=100
    )
    assert "hospital = north (30 images)" in evaluation.worst_subgroup(rows, [2 / 3, 0.56, 0.76])


def test_films_worth_looking_at() -> None:
    p = np.array([0.99, 0.9, 0.51, 0.45, 0.02, 0.95])
    labels = np.array([1, 1, 1, 0, 0, 0])
    both = np.stack([1 - p, p], axis=1)
    found = cases.choose(labels, both, (p >= 0.5).astype(int), 1, 0.5)
    rows = {kind: [c.row for c in found if c.kind == kind] for kind in cases.KINDS}
    assert rows["wrong"] == [5]
    assert rows["doubtful"][:2] == [2, 3]
    assert set(rows["surest"]) == {0, 1, 3, 4}


@pytest.mark.parametrize(
    ("key", "series"), [("a/IM-0001-0001.jpeg", "IM"), ("NORMAL2-IM-01.jpeg", "NORMAL"), ("1.png", "")]
)
def test_the_acquisition_series_is_the_letters_a_name_starts_with(key: str, series: str) -> None:
    assert winner._series(key) == series
