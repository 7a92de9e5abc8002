"""What a retraining decides before it trains: options, finalists, plan, ledger, and that nothing half-written stays."""

import dataclasses
import errno
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from search.reporting import svg
from search.retraining import announce, records, steps
from search.retraining.confirmation import finalists
from search.retraining.final_model import choice as winner
from search.retraining.final_model import refit
from search.retraining.options import RetrainingOptions
from search.retraining.steps import retrain
from search.retraining.test_evaluation import comparison, evaluation, example_images
from search.study import access_log
from search.study.lock import StudyLock
from search.study.view import StudyView, TrialRecord
from spaces.recipes import RECIPES
from tests.inputs.made_studies import trial
from xraytune import artifacts
from xraytune.data.dataset import ImageRecord
from xraytune.errors import FatalError, InputError, StudyError
from xraytune.evaluation import subgroups
from xraytune.evaluation.predictions import Predictions
from xraytune.evaluation.referral.selection import Aims
from xraytune.records import TrialConfig


class FakeStudy:
    """Only what `finalists` asks of a study; the real one is in the end-to-end tests."""

    name = "mine"

    def __init__(self, *trials: Any) -> None:
        self._trials = list(trials)

    def trials(self) -> list[Any]:
        return self._trials

    ranked = StudyView.ranked
    best = StudyView.best

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
        trial(4, 0.7, "PRUNED", recipe="kermany"),
    )
    assert numbers(finalists.choose(study, "best", 2)) == [1, 3]
    assert numbers(finalists.choose(study, "top:3", 5)) == [1, 3, 0]
    assert numbers(finalists.choose(study, "3", 5)) == [3]
    assert numbers(finalists.choose(study, "pareto:2", 5)) == [1]
    assert numbers(finalists.choose(study, "kermany", 5)) == [4]


@pytest.mark.parametrize(
    ("count", "expected"),
    [(1, [0]), (2, [0, 3]), (3, [0, 3, 1]), (9, [0, 3, 1, 2, 4])],
)
def test_the_best_of_each_family_that_comes_close_are_the_first_finalists(count: int, expected: list[int]) -> None:
    tried = [("cnn", 0.980), ("cnn", 0.979), ("cnn", 0.978), ("vgg_frozen", 0.972), ("dense", 0.96)]
    made = [trial(number, value) for number, (_, value) in enumerate(tried)]
    configs = [TrialConfig(family, {"family": family, "n": n}, n) for n, (family, _) in enumerate(tried)]
    study: Any = FakeStudy(*(dataclasses.replace(t, config=c) for t, c in zip(made, configs, strict=True)))
    assert numbers(finalists.choose(study, "best", count)) == expected
    assert numbers(finalists.choose(study, f"top:{count}", 1)) == list(range(min(count, 5)))


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
        ({"threshold": "high"}, "youden"),
        ({"final": "all"}, "refit, folds, ensemble"),
        ({"folds": 2}, "--folds must be 3"),
        ({"finalists": 0}, "--finalists"),
        ({"seeds": 0}, "--seeds"),
        ({"refer": True, "refer_sensitivity": 1.5}, "--refer-sensitivity must be above 0 and at most 0.999"),
        ({"refer": True, "refer_specificity": 0.0}, "--refer-specificity must be above 0"),
        ({"refer": True, "refer_risk": 0.9}, "--refer-risk must be above 0 and at most 0.5"),
        ({"refer_sensitivity": 0.9}, "--refer-sensitivity has no effect without --refer"),
    ],
)
def test_bad_options_are_refused_before_anything_is_read(options: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        retrain(RetrainingOptions(**options))


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"positive": None, "classes": ("a", "b", "c")}, "--refer needs a positive class"),
        ({"positive": 1, "classes": ("well", "Refer")}, "a class of study mine"),
    ],
)
def test_a_referral_that_can_not_be_is_refused_before_the_data_are_read(
    spec: dict[str, Any], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = SimpleNamespace(name="mine", spec=SimpleNamespace(**spec), results=tmp_path)
    monkeypatch.setattr(steps, "open_study", lambda *_: study)
    with pytest.raises(InputError, match=says):
        retrain(RetrainingOptions(refer=True, results=tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_too_few_patients_for_a_referral_are_said_before_anything_is_trained(
    capsys: pytest.CaptureFixture[str],
) -> None:
    event = np.repeat([True, False], [90, 400])
    announce.referral(event, np.arange(490), Aims())
    said = " ".join(capsys.readouterr().out.split())
    assert "at least 161 patients with positive and 79 with negative images, and there are 90 and 400" in said
    assert said.endswith("The model will have no referral.")
    announce.referral(event, np.arange(490), Aims(0.8, 0.8))
    assert capsys.readouterr().out == ""


def test_a_report_that_can_not_be_made_does_not_lose_the_evaluated_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> None:
        raise KeyError("gap")

    monkeypatch.setattr(steps.evaluation, "evaluate_test_set", lambda *_, **options: {"test": {"auc": 0.9}})
    monkeypatch.setattr(steps.html_report, "write", fail)
    study: Any = SimpleNamespace(name="mine", spec=None, folder=tmp_path)
    model: Any = SimpleNamespace(folder=tmp_path)
    steps.Retraining(study, [], RetrainingOptions())._evaluate(model, None, None, None)  # type: ignore[arg-type]
    assert artifacts.read_json(tmp_path / "metrics.json")["test"] == {"auc": 0.9}
    assert "python -m search.report mine" in " ".join(capsys.readouterr().err.split())


def test_no_study_at_all(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="no study"):
        retrain(RetrainingOptions(results=tmp_path))


def test_every_opening_is_in_the_ledger(tmp_path: Path) -> None:
    assert access_log.append(tmp_path, {"what": "retrain best"}) == 1
    assert access_log.append(tmp_path, {"what": "retrain 3"}) == 2
    entries = access_log.read(tmp_path)
    assert [e["what"] for e in entries] == ["retrain best", "retrain 3"]
    assert all(e["when"] for e in entries)


def test_a_line_torn_by_a_full_disk_counts_as_an_opening(tmp_path: Path) -> None:
    access_log.append(tmp_path, {"what": "a"})
    with (tmp_path / access_log.NAME).open("a") as file:
        file.write('{"when": "20')
    assert access_log.append(tmp_path, {"what": "b"}) == 3
    assert json.loads((tmp_path / access_log.NAME).read_text().splitlines()[-1])["what"] == "b"


def test_the_figures_of_an_opening_stay_in_the_ledger_and_are_no_opening(tmp_path: Path) -> None:
    overall = {name: [0.91234567, 0.85, None] for name in (*access_log.FIGURES, "brier")}
    first = access_log.append(tmp_path, {"what": "retrain best"})
    access_log.keep_figures(tmp_path, first, overall)
    assert access_log.append(tmp_path, {"what": "retrain 3"}) == 2
    with (tmp_path / access_log.NAME).open("a") as file:
        file.write('{"figures_of": 2, "figu')  # torn by a full disk: the opening itself was recorded before
    entries = access_log.read(tmp_path)
    assert [e["what"] for e in entries] == ["retrain best", "retrain 3"]
    assert entries[0]["figures"] == {key: [0.9123, 0.85, None] for key in access_log.FIGURES}
    assert "figures" not in entries[1]


def test_openings_of_the_same_test_images_are_counted_across_studies(tmp_path: Path) -> None:
    for study, fingerprints in (("a", "xx"), ("b", "xy"), ("c", "y")):
        (tmp_path / study).mkdir()
        for fingerprint in fingerprints:
            access_log.append(tmp_path / study, {"test_fingerprint": fingerprint})
    assert access_log.openings(tmp_path, "x") == {"a": 2, "b": 1}
    assert access_log.openings(tmp_path, "z") == {}


def test_an_adapted_recipe_shows_what_it_really_was() -> None:
    published = RECIPES["mean_subtracted_cnn_224"]
    tried = dataclasses.replace(
        trial(0), config=TrialConfig("cnn", {**published.values, "cnn/image_size": 64, "epochs": 20}, 0)
    )
    assert records.adapted(published.name, tried) == "epochs 10 → 20, image_size 224 → 64"
    assert records.adapted(published.name, tried, max_epochs=10) == "image_size 224 → 64"
    whole = dataclasses.replace(trial(0), config=TrialConfig("cnn", dict(published.values), 0))
    assert records.adapted(published.name, whole) == ""
    assert records.adapted("somebody's", whole) == ""


@pytest.mark.parametrize(
    ("copies", "says"), [(4, "augmentation strong → medium, masking none → strong"), (0, "augmentation_copies 4 → 0")]
)
def test_an_augmentation_of_kept_copies_that_differs_from_the_recipe_s_is_shown(copies: int, says: str) -> None:
    published = RECIPES["vgg16_gap128"]
    own = {"vgg_frozen/augmentation": "medium", "vgg_frozen/masking": "strong"} if copies else {}
    shared = {n: v for n, v in published.values.items() if n not in {"augmentation", "masking"}}
    tried = trial(0)
    config = TrialConfig("vgg_frozen", {**shared, "vgg_frozen/augmentation_copies": copies, **own}, 1)
    assert records.adapted("vgg16_gap128", dataclasses.replace(tried, config=config)) == says


@pytest.mark.parametrize(("kind", "refits", "averaged"), [("refit", 1, False), ("refit", 3, True), ("folds", 1, True)])
def test_out_of_fold_answers_are_means_over_seeds_where_the_final_model_s_are(
    kind: str, refits: int, averaged: bool
) -> None:
    asked: list[bool] = []

    def answers(averaged: bool = False) -> np.ndarray:
        asked.append(averaged)
        return np.full((4, 2), 0.5, np.float32)

    best: Any = SimpleNamespace(trial=SimpleNamespace(number=3), out_of_fold=answers)
    judged = winner.Judged(np.repeat([0, 1], 2).astype(np.int32), np.arange(4), [])
    winner.choose([best], kind, judged, refits).out_of_fold()
    assert asked == [averaged]


@pytest.mark.parametrize(("kind", "refits", "averaged"), [("refit", 1, False), ("refit", 3, True), ("folds", 1, True)])
def test_other_finalists_are_compared_by_means_over_seeds_where_the_winner_is(
    kind: str, refits: int, averaged: bool
) -> None:
    asked: dict[int, bool] = {}

    def finalist(number: int) -> Any:
        def answers(averaged: bool = False) -> np.ndarray:
            asked[number] = averaged
            return np.tile(np.array([[0.7, 0.3], [0.4, 0.6]], np.float32), (4, 1))

        return SimpleNamespace(trial=SimpleNamespace(number=number, family="cnn"), out_of_fold=answers)

    labels = np.tile([0, 1], 4).astype(np.int32)
    both = [finalist(3), finalist(8)]
    choice = winner.choose(both, kind, winner.Judged(labels, np.arange(8), []), refits)
    labelled = Predictions(labels, np.full((8, 2), 0.5), np.arange(8), ("a", "b"), 1, draws=20)
    rows = comparison.out_of_fold(labelled, choice, both)
    assert [row["with"] for row in rows] == ["trial 8 (cnn)", "the trivial answer"]
    assert asked == {3: averaged, 8: averaged}


@pytest.mark.parametrize(
    ("epochs", "left"),
    [([4, 2, 4], [4, 4]), ([1, 3, 2], [3]), ([0, 4, 0], [4]), ([0, 0, 0], [])],
)
def test_of_several_refits_those_that_the_time_stopped_are_left_out_while_one_is_whole(
    epochs: list[int], left: list[int]
) -> None:
    refits = [refit.Trained(Path(f"{i}"), "", n, 1.0, "" if n else "nan") for i, n in enumerate(epochs)]
    assert [network.epochs for network in refit.able_of(refits, 4)] == left


def test_the_gap_stands_beside_the_largest_shift_or_says_that_there_is_none() -> None:
    small = {"name": "mean", "auc": 0.57, "sentence": "x.", "label": "NORMAL"}
    large = {
        "name": "width",
        "auc": 0.71,
        "sentence": "The radiograph's width is higher on NORMAL test images.",
        "label": "",
    }
    assert evaluation._largest_shift(None) == ""
    assert "AUC 0.57 at most" in evaluation._largest_shift({"shifts": [small]})
    assert large["sentence"] in evaluation._largest_shift({"shifts": [small, large]})


def test_ticks_of_a_fortieth_are_printed_as_they_are() -> None:
    page = svg.chart([], x="x", y="y", title="t", y_range=(0.9, 1.0))
    for value in svg.ticks(0.9, 1.0):
        assert f">{value:.3f}".rstrip("0").rstrip(".") + "<" in page
    assert ">0.925<" in svg.chart([], x="x", y="y", title="t", y_range=(0.9, 1.0), x_range=(0.875, 1.0))


def test_the_set_stays_closed_where_the_ledger_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / access_log.NAME).mkdir()
    with pytest.raises(FatalError, match="not evaluated"):
        access_log.append(tmp_path, {"what": "a"})


@pytest.mark.parametrize(("number", "closed"), [(errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EOPNOTSUPP, False)])
def test_the_set_stays_closed_where_what_it_shows_could_not_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, closed: bool
) -> None:
    def reserve(file: int, offset: int, size: int) -> None:
        assert (offset, size) == (0, 8 << 20)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", reserve)
    if not closed:  # a file system that reserves nothing: writing will tell
        assert access_log.append(tmp_path, {"what": "a"}) == 1
        return
    with pytest.raises(FatalError, match=r"has no 8 MB left .* was not evaluated\. Free disk space"):
        access_log.append(tmp_path, {"what": "a"})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "winner"
    with artifacts.whole(target) as folder:
        (folder / "model.json").write_text("1")
    assert (target / "model.json").read_text() == "1"

    def fail_with(error: Exception) -> None:
        with artifacts.whole(target) as folder:
            (folder / "model.json").write_text("2")
            raise error

    with pytest.raises(RuntimeError):
        fail_with(RuntimeError())
    assert (target / "model.json").read_text() == "1"
    with pytest.raises(FatalError, match="No partial file"):
        fail_with(OSError(28, "No space left on device"))
    assert [p.name for p in tmp_path.iterdir()] == ["winner"]


def test_a_killed_retraining_s_leavings_are_cleared(tmp_path: Path) -> None:
    (tmp_path / ".winner-1").mkdir()
    with artifacts.whole(tmp_path / "winner"):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["winner"]


def test_the_former_winner_is_there_after_a_kill_between_the_renames(tmp_path: Path) -> None:
    (tmp_path / ".winner-old").mkdir()
    (tmp_path / ".winner-old" / "model.json").write_text("1")
    with pytest.raises(RuntimeError), artifacts.whole(tmp_path / "winner"):
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
    columns = subgroups.columns(images, {"hospital": hospitals, "age": [str(i) for i in range(90)]})
    assert set(columns) == {"group", "acquisition series", "image size", "hospital", "age"}
    assert len(set(columns["age"])) == 3
    labels = np.array([i.label for i in images])
    right = np.where(np.array(hospitals) == "north", 1 - labels, labels)
    rows = subgroups.subgroups(
        columns, Predictions(labels, np.eye(2)[right], np.array([i.patient for i in images]), ("a", "b"), 1, draws=100)
    )
    assert "hospital = north (30 images)" in subgroups.worst_subgroup(rows)


def test_images_worth_looking_at() -> None:
    p = np.array([0.99, 0.9, 0.51, 0.45, 0.02, 0.95])
    labels = np.array([1, 1, 1, 0, 0, 0])
    both = np.stack([1 - p, p], axis=1)
    found = example_images.choose(labels, both, (p >= 0.5).astype(int), 1, 0.5)
    rows = {kind: [c.row for c in found if c.kind == kind] for kind in example_images.KINDS}
    assert rows["wrong"] == [5]
    assert rows["doubtful"][:2] == [2, 3]
    assert set(rows["surest"]) == {0, 1, 3, 4}


@pytest.mark.parametrize(
    ("key", "series"),
    [
        ("a/IM-0001-0001.jpeg", "IM"),
        ("NORMAL2-IM-0381-0001.jpeg", "NORMAL2-IM"),
        ("person12_bacteria_48.jpeg", "person"),
        ("radiograph_3.png", "radiograph"),
        ("1.png", ""),
    ],
)
def test_the_acquisition_series_is_what_a_name_starts_with_before_its_numbers(key: str, series: str) -> None:
    assert subgroups._series(key) == series
