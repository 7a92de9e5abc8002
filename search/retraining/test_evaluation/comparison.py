"""The final model compared with the other finalists, the trivial answer and every recipe of the study.

Differences are on the same images, with a paired bootstrap over patients and DeLong's test. Recipes are compared on the
study's validation images; where asked for (`--compare-recipes`) each is retrained and judged on the test set too.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.reporting.report_tables import TRIVIAL
from search.retraining.records import Choice, Confirmed, Rival, adapted
from search.study.view import StudyView, TrialRecord, recipes_of
from xraytune.evaluation import evaluate
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


def _predictions(study: StudyView, trial: TrialRecord) -> tuple[NDArray[np.int64], NDArray[np.float32]] | None:
    """Indices and probabilities of the validation images that a trial of the search kept."""
    try:
        with study.predictions(trial.number).open("rb") as file, np.load(file, allow_pickle=False) as kept:
            return kept["indices"], kept["probabilities"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):  # missing, or damaged
        return None


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
