"""The final model compared with the other finalists, the trivial answer and every recipe of the study.

Differences are on the same images, with a paired bootstrap over patients and DeLong's test. Recipes are compared on the
study's validation images, as is what deep networks add to its linear model; where asked for (`--compare-recipes`) each
recipe is retrained and judged on the test set too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.reporting.report_tables import TRIVIAL
from search.retraining.records import Choice, Confirmed, Rival, adapted
from search.study.view import StudyView, TrialRecord, recipes_of
from xraytune.errors import FOREIGN
from xraytune.evaluation import evaluate, intervals, robust_score
from xraytune.evaluation.predictions import Predictions


def out_of_fold(labelled: Predictions, choice: Choice, confirmed: Sequence[Confirmed]) -> list[dict[str, Any]]:
    """The final model against each other finalist and the trivial answer, on out-of-fold predictions at 0.5.

    Args:
        labelled: train and validation images, with any predictions of them.
        choice: what the final model is made of; an ensemble is compared with its members too.
        confirmed: best first.
    """
    winner = labelled.answered(choice.out_of_fold())
    others = [
        (f"trial {c.trial.number} ({c.trial.family})", labelled.answered(c.out_of_fold(averaged=choice.averaged)))
        for c in confirmed
        if len(choice.finalists) > 1 or c is not choice.winner
    ]
    others.append((TRIVIAL, labelled.trivial()))
    return [{"with": name, "figures": evaluate.own(a), **evaluate.compare(winner, a)} for name, a in others]


NOT_TRIED: dict[str, Any] = {
    "trial": None, "family": "", "epochs": 0, "why": "", "adapted": "", "figures": None, "difference": None,
    "delong_p": None, "winner": False,
}  # fmt: skip


def on_validation(
    labelled: Predictions, study: StudyView, winner: TrialRecord, untried: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Every recipe beside the winner's own trial, as the search saw them on its validation images at 0.5.

    Args:
        labelled: train and validation images, which kept predictions count, with any predictions of them.
        study: whose recipes.
        winner: the confirmed winner's trial.
        untried: names of recipes of the study's space; those that the study did not try have a row that says so.
    """
    mine = _predictions(study, winner)
    rows = []
    for name, trial in recipes_of(study):
        row: dict[str, Any] = {
            "name": name, "trial": trial.number, "family": trial.family, "state": trial.state,
            "epochs": trial.result.epochs if trial.result else 0, "why": trial.message if trial.state == "FAIL" else "",
            "adapted": adapted(name, trial, study.spec.max_epochs),
            "figures": None, "difference": None, "delong_p": None, "winner": trial.number == winner.number,
        }  # fmt: skip
        theirs = _predictions(study, trial)
        if theirs is not None and theirs[0].max(initial=0) < len(labelled.labels):
            indices, probabilities = theirs
            own = labelled.rows(indices).answered(probabilities)
            row["figures"] = evaluate.own(own)
            if mine is not None and trial.number != winner.number and np.array_equal(mine[0], indices):
                row |= evaluate.compare(own.answered(mine[1]), own)
        rows.append(row)
    tried = {row["name"] for row in rows}
    rows += [{"name": name, "state": "NOT TRIED"} | NOT_TRIED for name in untried if name not in tried]
    return rows


def beyond_linear(labelled: Predictions, study: StudyView) -> dict[str, Any] | None:
    """What the search's best other network adds to its linear model, by the robust score of the kept predictions.

    Both at their own best threshold, on the views of the validation images that both were judged on.

    Args:
        labelled: train and validation images, which kept predictions count, with any predictions of them.
        study: the search.

    Returns:
        Plain values; None where the search has no linear model, no other network, or not the views of both.
    """
    ranked = [t for t in study.ranked() if t.config]
    linear = next((t for t in ranked if t.family == "linear"), None)
    best = next((t for t in ranked if t.family != "linear"), None)
    if linear is None or best is None:
        return None
    first, second = _views(study, best), _views(study, linear)
    if first is None or second is None:
        return None
    names = [name for name in first[1] if name in second[1]]
    images = np.intersect1d(first[0], second[0])
    if not len(images) or not names or images.max() >= len(labelled.labels):
        return None
    labels, positive = labelled.labels[images].astype(np.int32), labelled.positive
    if len(np.unique(labels)) < len(labelled.classes):
        return None
    statistics, scores = [], []
    for indices, views in (first, second):
        place = np.searchsorted(indices, images)
        own = {name: views[name][place] for name in names}
        score = robust_score.score(labels, own, positive, beta=labelled.beta)
        scores.append(score.value)
        stacked = np.stack([own[name] for name in names])
        statistics.append(robust_score.statistic(labels, stacked, positive, score.threshold, labelled.beta))
    mine, theirs = statistics
    difference = intervals.paired(mine, theirs, labelled.patients[images], draws=labelled.draws)["robust"]
    return {
        "linear": linear.number, "linear_score": scores[1], "best": best.number, "family": best.family,
        "best_score": scores[0], "images": len(images), "views": len(names),
        "difference": [difference.value, difference.low, difference.high],
    }  # fmt: skip


def _views(study: StudyView, trial: TrialRecord) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float32]]] | None:
    """Ascending indices of the validation images whose views a trial kept, and probabilities `(m, k)` by view."""
    kept = _kept(study, trial)
    if kept is None or not len(kept.get("view_names", ())) or "view_probabilities" not in kept:
        return None
    order = np.argsort(kept["view_indices"])
    named = zip(kept["view_names"].tolist(), kept["view_probabilities"], strict=True)
    return kept["view_indices"][order], {name: views[order] for name, views in named}


def _kept(study: StudyView, trial: TrialRecord) -> dict[str, NDArray[Any]] | None:
    """All that a trial of the search kept of its predictions; None where it is missing or damaged."""
    try:
        with study.predictions(trial.number).open("rb") as file, np.load(file, allow_pickle=False) as kept:
            return dict(kept)
    except (OSError, *FOREIGN):
        return None


def _predictions(study: StudyView, trial: TrialRecord) -> tuple[NDArray[np.int64], NDArray[np.float32]] | None:
    """Indices and probabilities of the validation images that a trial of the search kept."""
    kept = _kept(study, trial)
    return None if kept is None else (kept["indices"], kept["probabilities"])


def on_test(tested: Predictions, recipes: Sequence[Rival]) -> list[dict[str, Any]]:
    """The final model against the trivial answer and the retrained recipes on the test set.

    Args:
        tested: the final model's predictions.
        recipes: the study's, retrained.
    """
    others: list[tuple[str, int | None, Predictions, str]] = [(TRIVIAL, None, tested.trivial(), "")]
    others += [(f"recipe {r.name}", r.trial, tested.answered(r.probabilities), r.adapted) for r in recipes]
    return [
        {"with": name, "trial": n, "adapted": changed, "figures": evaluate.own(a), **evaluate.compare(tested, a)}
        for name, n, a, changed in others
    ]
