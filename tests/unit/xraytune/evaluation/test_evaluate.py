"""Ensembles, figures, subgroups and the gap in words, on made predictions."""

from typing import Any

import numpy as np
import pytest

from tests.inputs.made_predictions import predictions
from xraytune.evaluation import (
    calibration,
    ensemble_selection,
    evaluate,
    generalization_gap,
    intervals,
    metrics,
    published,
    subgroups,
)
from xraytune.evaluation.predictions import Predictions
from xraytune.inference import outliers


def test_the_ensemble_takes_what_helps_and_nothing_that_harms() -> None:
    labels, p = predictions(500)
    rng = np.random.default_rng(5)
    noisy = [np.clip(p + rng.normal(0, 0.15, (500, 1)) * [1, -1], 0.01, 0.99) for _ in range(2)]
    useless = np.full_like(p, 0.5)
    weights = ensemble_selection.select(labels, {"a": noisy[0], "b": noisy[1], "c": useless[:, ::-1]})
    assert set(weights) >= {"a", "b"}
    assert sum(weights.values()) == pytest.approx(1)
    mean = ensemble_selection.average(
        [{"a": noisy[0], "b": noisy[1], "c": useless}[w] for w in weights], list(weights.values())
    )
    assert calibration.log_loss(labels, mean) < min(calibration.log_loss(labels, q) for q in noisy)
    with pytest.raises(ValueError, match="at least one"):
        ensemble_selection.select(labels, {})


def test_under_the_robust_objective_the_ensemble_takes_the_network_that_holds_where_the_best_one_falls() -> None:
    labels, p = predictions(400)
    event = p[:, 1] >= 0.5
    dark, sharp = np.where(event, 0.9, 0.1), np.where(event, 0.5, 0.5)

    def both(clean: np.ndarray, darker: np.ndarray) -> np.ndarray:
        return np.stack([np.stack([1 - v, v], axis=1) for v in (clean, darker)])

    stacked = {"falls when dark": both(p[:, 1], sharp), "holds": both(0.5 * p[:, 1] + 0.2, dark)}
    loss = ensemble_selection.robust_loss(labels, ["clean", "darker"], 1, 2.0)
    weights = ensemble_selection.select(labels, stacked, loss=loss)
    assert weights.get("holds", 0) >= 0.5
    alone = min(loss(v)[0] for v in stacked.values())
    mean = np.average([stacked[name] for name in weights], axis=0, weights=list(weights.values()))
    assert loss(mean)[0] <= alone


def test_evaluate_gives_every_figure_an_interval_by_class_and_averaged() -> None:
    labels, p = predictions(300)
    found = evaluate.evaluate(
        Predictions(labels, p, np.arange(300), ("NORMAL", "PNEUMONIA"), 1, threshold=0.4, draws=200)
    )
    for name in evaluate.NAMES:
        value, low, high = found["overall"][name]
        assert low <= value <= high
    assert np.sum(found["confusion"]) == 300
    sensitivity = found["confusion"][1][1] / sum(found["confusion"][1])
    assert found["by_class"]["PNEUMONIA"]["recall"][0] == pytest.approx(sensitivity)
    assert found["overall"]["sensitivity"][0] == pytest.approx(sensitivity)
    assert found["trivial"]["answer"] == "PNEUMONIA"
    assert found["trivial"]["specificity"] == 0
    assert set(found["averages"]) == {f"{kind}/{name}" for kind in ("macro", "weighted") for name in evaluate.BY_CLASS}
    for row in (found["by_class"]["NORMAL"], found["by_class"]["PNEUMONIA"], found["averages"]):
        for value, low, high in (triple for name, triple in row.items() if name != "support"):
            assert low <= value <= high
    for name in ("accuracy", "brier", "auc"):  # of two classes one is the other's rest
        assert found["by_class"]["NORMAL"][name] == pytest.approx(found["by_class"]["PNEUMONIA"][name])
    for name in ("precision", "f2", "pr_auc"):
        assert found["by_class"]["PNEUMONIA"][name] == pytest.approx(found["overall"][name])


def test_subgroups_rest_on_as_many_draws_as_every_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, draw = set(), intervals.bootstrap

    def counted(*given: Any, draws: int = 0, **options: Any) -> Any:
        asked.add(draws)
        return draw(*given, draws=20, **options)

    monkeypatch.setattr(intervals, "bootstrap", counted)
    labels, p = predictions(100)
    sides = {"side": ["left", "right"] * 50}
    assert subgroups.subgroups(sides, Predictions(labels, p, np.arange(100), ("a", "b"), 1))
    assert asked == {intervals.DRAWS} == {2000}


def test_the_overall_figures_alone_are_those_of_the_evaluation() -> None:
    labels, p = predictions(300)
    given = Predictions(labels, p, np.arange(300), ("NORMAL", "PNEUMONIA"), 1, threshold=0.4, beta=3.0, draws=200)
    whole = evaluate.evaluate(given)["overall"]
    assert evaluate.overall(given) == {n: pytest.approx(v) for n, v in whole.items()}
    brief = evaluate.overall(given, brief=True)
    assert whole.keys() - brief.keys() == {"pr_auc", "brier", "calibration_error"}


def test_a_class_s_calibration_out_of_fold_is_of_what_was_fitted_on_the_other_folds() -> None:
    labels, p = predictions(300)
    crossed = evaluate.Crossed(p, metrics.decide(p, 1))
    given = Predictions(labels, p, np.arange(300), ("a", "b"), 1, draws=50)
    honest = evaluate.evaluate(given)["by_class"]["a"]
    found = evaluate.evaluate(given.answered(p[:, ::-1]), crossed)["by_class"]["a"]
    assert found["brier"] == honest["brier"]
    assert found["calibration_error"] == honest["calibration_error"]
    assert found["auc"][0] == pytest.approx(1 - honest["auc"][0])


def test_a_sensitivity_of_one_gets_an_interval_by_its_patients() -> None:
    labels = np.repeat([0, 1], [60, 40])
    p = np.where(labels, 0.9, 0.1)
    p[:5] = 0.9
    patients = np.arange(100) // 2  # two images a patient: 20 ill patients
    both = np.stack([1 - p, p], axis=1)
    given = Predictions(labels, both, patients, ("a", "b"), 1, draws=200)
    found = evaluate.evaluate(given)
    exact = 0.025 ** (1 / 20)
    assert found["overall"]["sensitivity"] == pytest.approx([1.0, exact, 1.0])
    assert found["by_class"]["b"]["recall"] == pytest.approx([1.0, exact, 1.0])
    assert found["overall"]["specificity"][1] < 55 / 60 < found["overall"]["specificity"][2]
    rows = subgroups.subgroups({"x": ["u"] * 70 + ["v"] * 30}, given)
    alone = next(row for row in rows if row["value"] == "v")
    assert alone["accuracy"] == pytest.approx([1.0, 0.025 ** (1 / 15), 1.0])


def test_two_models_on_the_same_images_differ_beyond_chance_or_not() -> None:
    labels, p = predictions(600)
    patients = np.arange(600) // 2
    noise = np.random.default_rng(1).normal(0, 0.5, 600)
    worse = np.clip(p[:, 1] + noise, 0, 1)
    good = Predictions(labels, p, patients, ("a", "b"), 1, draws=300)
    found = evaluate.compare(good, good.answered(np.stack([1 - worse, worse], axis=1)))
    for name in ("auc", "balanced_accuracy"):
        value, low, high = found["difference"][name]
        assert 0 < low < value < high
    assert found["delong_p"] < 0.001
    same = evaluate.compare(good, good)
    assert set(map(tuple, same["difference"].values())) == {(0.0, None, None)}  # no image tells them apart
    assert same["delong_p"] is None
    dull = evaluate.compare(good, good.trivial())
    assert dull["difference"]["sensitivity"][2] <= 0
    assert dull["difference"]["specificity"][1] > 0.5


def test_a_column_of_many_numbers_becomes_thirds_and_free_text_no_group() -> None:
    ages = [str(age) for age in range(1, 91)]
    found = subgroups.grouped([*ages, ""])
    assert [found.count(name) for name in dict.fromkeys(found)] == [30, 30, 30, 1]
    assert found[0].startswith("up to")
    assert found[-1] == ""
    assert subgroups.grouped(["F", "M", "F"]) == ["F", "M", "F"]
    assert set(subgroups.grouped([f"report {i}" for i in range(50)])) == {""}


def test_the_worst_subgroup_is_named_and_tiny_ones_are_left_out() -> None:
    labels, p = predictions(400)
    kind = np.where(np.arange(400) < 200, "good radiograph", "bad radiograph")
    p[kind == "bad radiograph"] = p[kind == "bad radiograph"][:, ::-1]
    columns = {"machine": kind.tolist(), "one": ["x"] * 400, "rare": ["y"] * 395 + ["z"] * 5}
    rows = subgroups.subgroups(columns, Predictions(labels, p, np.arange(400), ("a", "b"), 1, draws=100))
    assert [r["value"] for r in rows if r["column"] == "machine"] == ["bad radiograph", "good radiograph"]
    assert not [r for r in rows if r["column"] == "one" or r["value"] == "z"]
    words = subgroups.worst_subgroup(rows)
    assert "machine = bad radiograph" in words
    assert "significantly below" in words
    assert subgroups.worst_subgroup([]) == "No subgroup is large enough to be evaluated separately."


def test_a_group_of_healthy_images_only_is_judged_by_its_specificity_beside_the_other_healthy_ones() -> None:
    labels = np.repeat([0, 1], [120, 200])
    answers = np.concatenate([np.arange(120) % 5 == 0, np.ones(200, dtype=bool)])  # 0.80 of the healthy, all of the ill
    series = np.concatenate([np.where(np.arange(120) % 2, "NORMAL2-IM", "IM"), np.full(200, "person")]).tolist()
    p = np.stack([1 - answers, answers], axis=1).astype(float)

    def of(classes: tuple[str, ...], positive: int | None) -> list[dict]:
        given = Predictions(labels, p, np.arange(320), classes, positive, draws=200)
        return subgroups.subgroups({"series": series}, given)

    rows = {row["value"]: row for row in of(("NORMAL", "PNEUMONIA"), 1)}
    assert rows["IM"]["figure"] == rows["NORMAL2-IM"]["figure"] == "specificity"
    assert rows["IM"]["everywhere"] == pytest.approx(0.8)
    value, low, high = rows["IM"]["difference"]
    assert value == pytest.approx(0.0, abs=1e-9)
    assert low < 0 < high
    assert rows["person"]["figure"] == "sensitivity"
    assert rows["person"]["difference"] == [None, None, None]  # nobody ill is outside
    assert "none shares a class" in subgroups.worst_subgroup([rows["person"]])
    words = subgroups.worst_subgroup(list(rows.values()))
    assert "specificity 0.80" in words
    assert "not significantly below the rest" in words
    by_class = {row["value"]: row["figure"] for row in of(("a", "b"), None)}
    assert by_class == {"IM": "recall of a", "NORMAL2-IM": "recall of a", "person": "recall of b"}


SAME = {"auc": [0.95, 0.9, 0.99], "sensitivity": [0.9, 0.8, 0.97], "specificity": [0.9, 0.8, 0.97]}
BEFORE = {"auc": [0.96, 0.95, 0.97], "sensitivity": [0.92, 0.9, 0.94], "specificity": [0.98, 0.97, 0.99]}


def test_the_gap_is_said_in_words_only_where_it_is_more_than_chance() -> None:
    assert "No metric changed significantly" in " ".join(
        generalization_gap.in_words({**BEFORE, "specificity": [0.93, 0.9, 0.95]}, SAME)
    )
    fell = {**SAME, "specificity": [0.71, 0.66, 0.76]}
    words = " ".join(generalization_gap.in_words(BEFORE, fell, "NORMAL", shift="The radiographs are wider."))
    assert "specificity 0.98 on validation, 0.71 on test" in words
    assert "Specificity fell by 0.27 [0.22, 0.32]" in words
    assert (
        "the NORMAL images of the test set look different from the training images. The radiographs are wider." in words
    )
    assert "comes from the operating threshold" in words


def test_a_validation_figure_in_doubt_itself_makes_no_gap() -> None:
    unsure = {**BEFORE, "specificity": [0.99, 0.85, 1.0]}
    fell = {**SAME, "specificity": [0.90, 0.84, 0.95]}
    assert "Specificity fell" in " ".join(
        generalization_gap.in_words({**unsure, "specificity": [0.99, 0.98, 1.0]}, fell)
    )
    assert "Specificity fell" not in " ".join(generalization_gap.in_words(unsure, fell))


def test_scores_that_differ_between_folds_are_warned_of() -> None:
    assert generalization_gap.alignment(0.96, [0.96, 0.95, 0.97]) == ""
    assert "the ROC AUC is 0.900 pooled over the folds, but 0.960" in generalization_gap.alignment(
        0.90, [0.96, 0.95, 0.97]
    )
    assert generalization_gap.alignment(0.955, [0.96, 0.96, 0.96]) == ""
    assert generalization_gap.alignment(float("nan"), [0.9, 0.9]) == ""


def test_out_of_fold_every_figure_but_the_areas_is_of_what_was_fitted_on_other_folds() -> None:
    labels, p = predictions(300)
    own = np.where(labels[:, None] == np.arange(2), 0.99, 0.01)  # as if calibration and threshold had seen the truth
    given = Predictions(labels, p, np.arange(300), ("a", "b"), 1, threshold=0.4, draws=50)
    crossed = evaluate.Crossed(p, metrics.decide(p, 1, 0.4))
    found = evaluate.evaluate(given.answered(own, 0.7), crossed)
    honest = evaluate.evaluate(given)
    for name in set(evaluate.NAMES) - {"auc", "pr_auc"}:
        assert found["overall"][name] == pytest.approx(honest["overall"][name]), name
    assert found["confusion"] == honest["confusion"]
    assert (found["overall"]["auc"][0], found["threshold"]) == (1.0, 0.7)


def test_published_figures_belong_to_the_official_test_set_only() -> None:
    names = [f"IM-{i}.jpeg" for i in range(234)]
    names += [f"person{i}_bacteria_{i}.jpeg" for i in range(242)] + [f"person{i}_virus_{i}.jpeg" for i in range(148)]
    labels = np.repeat([0, 1], [234, 390])
    assert published.is_official_test(names, labels, ("NORMAL", "PNEUMONIA"))
    assert not published.is_official_test(names[::2], labels[::2], ("NORMAL", "PNEUMONIA"))


def test_pneumoniamnist_s_test_set_is_the_official_one_though_its_files_have_no_names() -> None:
    names = [f"{i:03d}.pgm" for i in range(624)]
    labels = np.repeat([0, 1], [234, 390])
    classes = ("normal", "pneumonia")
    assert published.is_official_test(names, labels, classes, "pneumoniamnist:64")
    assert published.is_official_test(names, labels, classes, "/data/pneumoniamnist_128.npz")
    assert not published.is_official_test(names, labels, classes, "/data/mine.npz")
    assert not published.is_official_test(names[1:], labels[1:], classes, "pneumoniamnist")


def test_whom_the_images_show_is_said_only_where_the_official_files_are_recognised() -> None:
    names = [f"IM-{i:04d}-0001.jpeg" for i in range(600)] + [f"person{i}_virus_{i}.jpeg" for i in range(600)]
    assert "Guangzhou" in published.population(names)
    assert published.population(names[:50]) == ""
    assert published.population([*names, "radiograph.jpeg"]) == ""
    assert "Guangzhou" in published.population(["000.pgm"], "pneumoniamnist")


def test_a_image_unlike_the_training_images_is_flagged_and_a_like_one_is_not() -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    chest = 200 - 120 * np.exp(-4 * ((np.abs(x) - 0.4) ** 2 + y**2))

    def radiographs(n: int) -> np.ndarray:
        tone = rng.normal(0, 12, (n, 1, 1))
        return np.clip(chest + tone + rng.normal(0, 6, (n, 64, 64)), 0, 255).astype(np.uint8)[..., None]

    known = outliers.fit(radiographs(200))
    assert outliers.OutlierDetector.from_json(known.to_json() | {"precision": known.precision}) == known
    assert known.far(radiographs(50)) == [""] * 50
    noise = rng.integers(0, 256, (3, 64, 64, 1)).astype(np.uint8)
    inverted = 255 - radiographs(3)
    assert all(known.far(noise))
    assert all(known.far(inverted))
