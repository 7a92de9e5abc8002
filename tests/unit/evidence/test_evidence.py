"""The evidence's arithmetic: what ranks by what counts has correlation 1 and regret 0, what cheats has not."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from search.retraining.test_evaluation import evaluation
from tests.evidence import crops, decision, networks, page, refer, refinements, run, scores, searches
from tests.evidence.scores import Network
from tests.inputs.made_predictions import clustered
from xraytune.evaluation.referral.selection import Sample
from xraytune.training.optimization.settings import TrainingSettings

REACHES = (0.5, 1.0, 2.0)


def answers(labels, quality, rng):
    """Probabilities `(n, 2)` that follow the labels as far as `quality` (0–1) says."""
    truth = np.where(labels == 1, 0.8, 0.2)
    p = np.clip(quality * truth + (1 - quality) * rng.random(len(labels)), 0.001, 0.999).astype(np.float32)
    return np.stack([1 - p, p], axis=1)


def network(lungs, shortcut, seed):
    """Reads the lungs so well, and the shortcut, which only the clean validation images have."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, 400).astype(np.int32)
    views = {name: answers(labels, lungs, rng) for name in ("wider", "narrower", "darker")}
    views["clean"] = answers(labels, max(lungs, shortcut), rng)
    return Network(
        1, labels, views["clean"], labels, dict.fromkeys(REACHES, views), labels, (answers(labels, lungs, rng),)
    )


@pytest.fixture(scope="module")
def verdicts():
    lungs = np.linspace(0.1, 0.8, 8)
    return scores.judge({"made": [network(q, 0.9 - q, i) for i, q in enumerate(lungs)]})


def test_a_score_over_views_picks_the_network_that_reads_the_lungs(verdicts):
    found = verdicts["robust F2, mean and worst, reach 1"]["AUC"]
    assert found.correlation.value > 0.9
    assert found.regret.value < 0.01
    assert found.correlation.low <= found.correlation.value <= found.correlation.high


def test_the_clean_score_picks_a_network_that_cheats(verdicts):
    assert verdicts["clean F2"]["AUC"].regret.value > verdicts["robust F2, mean and worst, reach 1"]["AUC"].regret.value
    assert verdicts["clean F2"]["AUC"].correlation.value < 0.7


def test_the_page_has_a_place_for_every_table():
    text = page.PAGE.read_text(encoding="utf-8")
    for name in ("planted", "machine", "covid19", "covid19 shifted", "xray"):
        assert f"<!-- {name} -->" in text
        assert f"<!-- end {name} -->" in text


def predictions(right):
    """As `predictions.csv`: 40 images of 20 patients, half of them ill; so many of the ill ones are found."""
    truth = np.repeat(["NORMAL", "PNEUMONIA"], 20)
    p = np.where(np.arange(40) < 20, 0.1, np.where(np.arange(40) < 20 + right, 0.9, 0.2))
    return pd.DataFrame(
        {
            "path": [f"test/{i}.png" for i in range(40)],
            "patient": [f"p{i // 2}" for i in range(40)],
            "truth": truth,
            "decision": np.where(p > 0.5, "PNEUMONIA", "NORMAL"),
            "probability_NORMAL": 1 - p,
            "probability_PNEUMONIA": p,
        }
    )


def test_the_difference_of_two_groups_of_searches_is_that_of_their_means():
    found = page.difference([predictions(20), predictions(16)], [predictions(10), predictions(6)], 1)
    assert found["accuracy"].value == pytest.approx((20 + 16 - 10 - 6) / 2 / 40)
    assert found["specificity"].value == 0
    assert 0 < found["accuracy"].low < found["accuracy"].value < found["accuracy"].high


def test_searches_that_answer_alike_do_not_differ():
    found = page.difference([predictions(10)], [predictions(10)], 1)
    assert all(interval.value == interval.low == interval.high == 0 for interval in found.values())


def test_searches_of_one_length_and_one_retraining_have_their_table_and_one_without_a_place_is_told(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(searches, "KEPT", tmp_path / "searches.jsonl")
    monkeypatch.setattr(page, "PAGE", tmp_path / "page.md")
    page.PAGE.write_text("<!-- searches machine 4m -->\nold\n<!-- end searches machine 4m -->\n", encoding="utf-8")
    for objective, version, right in (("clean", "", 6), ("robust", "", 16), ("robust", searches.EARLIER, 11)):
        for time, retraining in (("4m", "2m"), ("4m", "4m"), ("8m", "4m")):
            winner = tmp_path / objective / version / time / retraining
            winner.mkdir(parents=True)
            predictions(right).to_csv(winner / "predictions.csv", index=False)
            overall = {name: [right / 20, 0.0, 1.0] for name in searches.FIGURES}
            figures = {"model": {"final": "refit", "policy": "0.5"}, "test": {"overall": overall, "positive": 1}}
            figures["policies"] = [{"name": "0.5", "threshold": 0.5}]
            (winner / "metrics.json").write_text(json.dumps(figures), encoding="utf-8")
            searches.keep(searches.Search("machine", objective, 0, time, retraining, version=version), winner)
    assert page.write(searches.done()) == {
        "searches machine 4m": True,
        "searches machine 4m retrained 2m": False,
        "searches machine 8m retrained 4m": False,
    }
    text = page.PAGE.read_text(encoding="utf-8")
    assert "old" not in text
    assert "| robust | 0 | 0.800 (0.000 – 1.000) |" in text
    assert "| robust − clean | mean | +0.250 (" in text
    assert "| robust − robust earlier | mean | +0.125 (" in text


@pytest.mark.parametrize("asked", ["90s", "1h", "4", "0m"])
def test_searches_of_anything_but_whole_minutes_are_refused_before_they_run(asked):
    found = CliRunner().invoke(run.app, ["searches", "--time", asked])
    assert found.exit_code == 2
    assert "in whole minutes" in found.output


def kept_folds(folder, lean):
    """Answers of three folds whose networks lean by so many log odds to the positive class, on balanced test images."""
    rng = np.random.default_rng(4)
    labels = (rng.random(900) < 0.75).astype(np.int32)
    test_labels = np.repeat([0, 1], 200).astype(np.int32)

    def both(truth, by):
        logit = np.where(truth == 1, 1.5, -1.5) + rng.normal(0, 1.2, len(truth)) + by
        p = 1 / (1 + np.exp(-logit))
        return np.stack([1 - p, p], axis=1).astype(np.float32)

    for fold in range(decision.FOLDS):
        rows = np.arange(fold, 900, 3)
        part = decision.Part("aspect", "none", fold)
        part.path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(
            part.path, indices=rows, probabilities=both(labels[rows], lean), view_indices=rows[:200], labels=labels,
            patients=np.arange(900) // 2, test=both(test_labels, lean), test_labels=test_labels,
            **{"view:clean": both(labels[rows[:200]], lean), "view:darker": both(labels[rows[:200]], lean - 0.5)},
        )  # fmt: skip


def test_decisions_are_compared_out_of_fold_and_on_test_images_at_equal_prevalence(tmp_path, monkeypatch):
    monkeypatch.setattr(networks, "RESULTS", tmp_path)
    assert decision.read("aspect", "none") is None
    kept_folds(tmp_path, lean=1.5)
    given = decision.read("aspect", "none")
    assert len(given.labels) == 900
    scales = decision.calibrations(given)
    errors = {name: decision.of_calibration(given, scale) for name, scale in scales.items()}
    assert errors["clean images, equal prevalence"][0] < errors["none"][0] / 2
    assert errors["none"][2] > 0.1 > abs(errors["clean images, equal prevalence"][2])
    found = decision.of_policies(given, scales["views, equal prevalence"])
    assert list(found) == list(decision.POLICIES)
    assert found["shared"][0] <= found["plateau"][0]
    assert found["plateau"][6] >= found["shared"][6]  # the higher threshold gives away less specificity
    text = decision.page()
    assert "| none | plateau | 1 |" in text
    assert text.count("| none | views, equal prevalence | 1 |") == 1


def test_three_in_four_images_are_positive_and_no_patient_is_cut_in_half():
    labels, patients = np.repeat([0, 1], [40, 60]), np.arange(100) // 2
    rows = decision.thinned(labels, patients)
    assert labels[rows].mean() == 0.75
    for patient in np.unique(patients[rows]):
        assert (patients[rows] == patient).sum() == 2


def answers_on_crops(seed, framing, tested=True):
    """What `crops.train` has of a network that answers so well under the framing views."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, 300)
    names = {"clean": 0.9, **dict.fromkeys(crops.FRAMING, framing), "like NORMAL": framing}
    kept = {f"view:{name}": answers(labels, quality, rng) for name, quality in names.items()}
    kept |= {"probabilities": kept["view:clean"], "labels": labels, "view_labels": labels, "positive": np.array(1)}
    return kept | ({"test": answers(labels, framing, rng), "test_labels": labels} if tested else {})


def test_the_page_on_crops_shows_what_framing_costs_and_no_test_figure_of_a_set_whose_test_images_are_closed(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(crops, "KEPT", tmp_path / "crops.jsonl")
    assert "## framing" not in crops.page()
    planned = crops.parts("framing")
    for seed, part in enumerate(planned):
        crops.keep(part, crops.figures(answers_on_crops(seed, 0.8 if "crop" in part.arm else 0.1)))
    closed, base = (next(p for p in crops.parts("xray") if p.arm == arm) for arm in ("shape jitter", "none"))
    for part, right in ((closed, lambda n: n % 3 > 0), (base, lambda n: n % 5 > 1)):  # two thirds, three fifths
        outside = [(n % 2, 0.8 if (n % 2) == right(n) else 0.2) for n in range(60)]
        crops.keep(part, crops.figures(answers_on_crops(0, 0.8, tested=False)), outside)
    assert set(crops.known()) == {*planned, closed, base}
    text = crops.page()
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in text.splitlines()
        if line.startswith("|") and "±" in line
    ]
    assert len(rows) == len(crops.ARMS) * len(crops.HEADS) + 2
    for arm, _, seeds, _, framed, worst, joint, *_ in rows[:-2]:
        assert seeds == "3"
        low = "crop" not in arm
        assert all((float(cell.split()[0]) < 0.8) == low for cell in (framed, worst, joint))
    assert rows[-2][0] == "shape jitter"
    assert rows[-2][-1] == "–"
    assert "| shape jitter | global pooling | 0 | 0.667 | +0.067 (" in text


def test_every_configuration_of_the_evidence_on_crops_is_one_of_the_space():
    for part in crops.parts("framing"):
        plan = TrainingSettings.of(part.values)
        assert plan.augmentation.crop == crops.ARMS[part.arm].get("crop", "none")
        assert plan.augmentation.shape_jitter == crops.ARMS[part.arm].get("shape_jitter", "none")
    assert len(set(crops.parts("framing"))) == len(crops.ARMS) * len(crops.HEADS) * crops.SEEDS


def test_a_referral_fitted_on_half_of_the_patients_is_judged_on_the_other_half_and_rows_say_where_it_fails():
    event, score, patients = clustered(1600, "normal", 2)
    found = refer.split("made", Sample(event, score, patients), 6)
    assert found.without + len(found.figures) == 6
    assert found.failed == (0, 0, 0)
    assert 0 < found.figures[:, 2].mean() < 0.5
    low = dataclasses.replace(found, figures=np.array([[0.94, 0.95, 0.1], [0.96, 0.89, 0.1], [0.94, 0.8, 0.2]]))
    assert low.failed == (2, 2, 3)
    assert "| 3 | 2 | 2 | 3 | 1 | 0.940 | 0.800 | 0.133 |" in refer.page([low])


def test_the_predictions_that_a_retraining_kept_are_those_that_its_referral_was_fitted_on(tmp_path):
    event, score, patients = clustered(60, "normal", 3)
    evaluation.write_referral(tmp_path / "referral.csv", Sample(event, score, patients))
    text = (tmp_path / "referral.csv").read_text()
    assert "p1" not in text
    found = refer.kept(tmp_path / "referral.csv")
    assert found.event.tolist() == event.tolist()
    assert found.score == pytest.approx(score, abs=1e-6)
    same = patients[:, None] == patients
    assert ((found.patients[:, None] == found.patients) == same).all()


def test_a_fold_of_its_own_chooses_worse_where_folds_differ_more_than_networks(tmp_path, monkeypatch):
    monkeypatch.setattr(crops, "KEPT", tmp_path / "crops.jsonl")
    column = crops.COLUMNS.index("robust F2, all views")
    for name in crops.ON:
        for part in crops.parts(name):
            quality = list(crops.ARMS).index(part.arm) / 100 + (part.head == "flatten") / 1000
            figures = [0.5] * len(crops.COLUMNS)
            figures[column] = 0.5 + quality + (0.3 * part.seed if name == "framing" else 0.0)
            crops.keep(part, tuple(figures))
    framing, xray = (line.split("|")[3:-1] for line in refinements.fold_table().splitlines()[2:])
    best = 0.501 + (len(crops.ARMS) - 1) / 100
    assert [float(cell) for cell in framing[:3]] == pytest.approx([best + 0.45, best + 0.3, best + 0.15], abs=1e-3)
    assert float(framing[4]) < float(framing[3]) - 0.05  # the easiest fold wins, not the best network
    assert [float(cell) for cell in xray] == pytest.approx([best] * 5, abs=1e-3)  # nothing differs between folds


def test_subclasses_are_read_from_names_and_refused_where_they_are_not_there():
    names, labels = ["a.jpeg", "person1_virus_2.jpeg", "person1_bacteria_2.jpeg"], np.array([0, 1, 1], np.int32)
    assert refinements.subclasses(names, labels).tolist() == [0, 2, 1]
    with pytest.raises(ValueError, match="normal, bacteria alone"):
        refinements.subclasses(["a.jpeg", "b.jpeg"], np.array([0, 1], np.int32))
