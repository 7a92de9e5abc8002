"""Parts of `metrics.json`: how the finalists fared, and the audit of the data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from search.cli import progress_bars
from search.retraining.confirmation.plan import ConfirmationPlan
from search.retraining.records import Choice, Confirmed
from search.study.view import StudyView
from xraytune import data
from xraytune.data.dataset import Dataset


def confirmation(
    confirmed: Sequence[Confirmed], choice: Choice, plan: ConfirmationPlan, study: StudyView
) -> dict[str, Any]:
    """How each finalist fared on the folds, as plain values.

    Args:
        confirmed: best first.
        choice: what the final model is made of.
        plan: what was to be confirmed.
        study: where the finalists come from.
    """
    best = study.best().number if any(t.state == "COMPLETE" for t in study.trials()) else None
    return {
        "folds": plan.folds,
        "seeds": len({r.repeat for r in choice.winner.results}),
        "best_of_study": best,
        "winner": choice.winner.trial.number,
        "objective": study.spec.objective,
        "cut": choice.winner.cut,
        "passed_over": [
            {"trial": one.trial.number, "family": one.trial.family, "searched": one.trial.value, "seconds": one.seconds}
            for one in plan.passed_over
        ],
        "finalists": [
            {
                "trial": c.trial.number,
                "family": c.trial.family,
                "searched": c.trial.value,
                "confirmed": c.mean,
                "standard_error": c.error,
                "epochs": c.epochs,
                "values": c.values,
                "clean": c.measured("val_f_beta"),
                "robust": c.measured("robust"),
                "auc": c.measured("val_auc"),
                "by_view": c.by_view(),
                "curves": [list(r.result.curve) for r in c.results if r.repeat == 0],
            }
            for c in confirmed
        ],
        "weights": {str(c.trial.number): w for c, w in choice.finalists},
    }


def audit(dataset: Dataset) -> dict[str, Any]:
    """The shortcut audit with the test set beside it, class by class: the set is open by now."""
    with progress_bars.progress() as progress:
        return data.audit(dataset, compare_test=True, by_class=True, progress=progress).to_json()
