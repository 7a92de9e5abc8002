"""What a retraining prints: its plan, a live bar, the confirmed finalists, the final metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from search.cli import console, quantities, tables
from search.cli.console import BANNER
from search.cli.tables import Column
from search.reporting.formats import number
from search.retraining.confirmation import cost_estimate
from search.retraining.confirmation.plan import ConfirmationPlan
from search.retraining.records import Choice, Confirmed
from search.study.view import StudyView, TrialRecord
from xraytune.data.dataset import Dataset
from xraytune.evaluation.referral.selection import Aims, too_few
from xraytune.records import Objective

if TYPE_CHECKING:
    from search.retraining.options import RetrainingOptions


def announce_plan(
    study: StudyView,
    plan: ConfirmationPlan,
    wanted: Sequence[TrialRecord],
    options: RetrainingOptions,
    budget: float,
    dataset: Dataset,
    rivals: Sequence[TrialRecord],
) -> None:
    """What will be done and how long it should take, before it begins.

    Args:
        study: whose winner.
        plan: what is confirmed.
        wanted: the finalists before the plan shrank.
        options: what was asked for.
        budget: seconds.
        dataset: the data.
        rivals: recipes that are retrained too, beyond the budget.
    """
    if dataset.demonstration:
        console.out.say(BANNER, style="bold yellow")
    say, asked = console.out.say, plan.request
    numbers = ", ".join(str(t.number) for t in plan.finalists)
    several = len(plan.finalists) > 1
    then = {
        "refit": f"Train {_count(asked.refits, 'final model')} on training + validation images",
        "folds": "Average the networks of the winner's folds",
        "ensemble": "Train the ensemble's members on training + validation images",
        "auto": f"Train {_count(asked.refits, 'final model')}, or an ensemble if it is significantly better, on "
        "training + validation images",
    }[options.final]
    own = "" if options.time or study.spec.demonstration else ", the time of the search"
    say("Retraining study ", (study.name, "bold"), ":")
    on = f"{asked.folds} folds grouped by {dataset.grouped_by}"
    if dataset.sites:
        on = f"{asked.folds} sites, each held out once (the {asked.decides} decides)"
    say(
        f"  1. Confirm trial{'s' if several else ''} {numbers} on {on}, "
        f"{_count(plan.seeds, 'seed')} per finalist ({_count(plan.trainings, 'training')}, {asked.workers} at once)."
    )
    say(f"  2. {then}.")
    say("  3. Evaluate on the held-out test set, once.")
    say(f"About {quantities.clock(plan.seconds)} (time budget {quantities.clock(budget)}{own}).")
    _reduced(study, plan, wanted, options, budget)
    if rivals:
        seconds = sum(cost_estimate.of_search(t).refit for t in rivals) / asked.workers
        say(f"--compare-recipes: {_count(len(rivals), 'recipe')} more, about {quantities.clock(seconds)} beyond that.")


def referral(event: NDArray[np.bool_], patients: NDArray[np.generic], aims: Aims) -> None:
    """Say before anything is trained where there are too few patients for a referral.

    Args:
        event: which training and validation images are positive, `(n,)`.
        patients: who each shows, `(n,)`.
        aims: what is asked for.
    """
    if few := too_few(event, patients, aims):
        console.out.say(f"{few} The model will have no referral.", style="yellow")


def _reduced(
    study: StudyView,
    plan: ConfirmationPlan,
    wanted: Sequence[TrialRecord],
    options: RetrainingOptions,
    budget: float,
) -> None:
    """What of the request is not expected to fit the time budget."""
    say, asked = console.out.say, plan.request
    for one in plan.passed_over:
        whole = one.trial.result.epochs if one.trial.result else one.epochs
        say(
            f"Skipped: trial {one.trial.number} ({one.trial.family}, {one.trial.value or 0.0:.3f}). Confirming "
            f"and training it takes about {quantities.clock(one.seconds)}; in {quantities.clock(budget)} it gets "
            f"{one.epochs} of {whole} epochs; its score in the search after {one.epochs} was {one.value:.3f}."
        )
    refits = options.refits if options.final in {"refit", "auto"} else 1
    folds = len(study.spec.sites) or options.folds
    fewer = (plan.seeds, asked.folds, asked.refits) != (options.seeds, folds, refits)
    if len(wanted) > len(plan.finalists) or fewer:
        wanted_too = f", {refits} final models" if refits > 1 else ""
        say(
            f"Asked for: {_count(len(wanted), 'finalist')} × {_count(folds, 'fold')} × "
            f"{_count(options.seeds, 'seed')}{wanted_too}; reduced to fit the time budget (or the number of patients). "
            "More with --time; further finalists and seeds are trained while time is left.",
            style="dim",
        )
    if plan.seconds > budget:
        say(
            "Even the smallest plan may take longer than the time budget: trainings are then stopped at the end of an "
            "epoch.",
            style="yellow",
        )


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'s' if n != 1 else ''}"


def refit(name: str, epochs: int, wanted: int, error: str) -> None:
    """Say that a training of the final model failed, or that the time budget ended it."""
    if error:
        console.out.say(f"The final model of {name} could not be trained: {error}", style="yellow")
    elif epochs < wanted:
        console.out.say(
            f"The final model of {name} was stopped after {epochs} of {wanted} epochs: time budget reached.",
            style="yellow",
        )


def confirmed(found: Sequence[Confirmed], plan: ConfirmationPlan, study: StudyView) -> None:
    """The finalists after their folds, best first."""
    say = console.out.say
    robust = study.spec.objective == Objective.ROBUST
    where = "sites" if study.spec.sites else "folds"
    f_beta = f"F{study.spec.beta:g}"

    def figures(which: str) -> list[str]:
        return [number(c.measured(which)) for c in found]

    tables.show(
        console.out,
        [
            Column("trial", [str(c.trial.number) for c in found]),
            Column("family", [c.trial.family for c in found], words=True),
            Column("in the search", [number(c.trial.value) for c in found], spare=1, short="search"),
            Column(f"on {where} ± s.e.", [f"{c.mean:.3f} ± {c.error:.3f}" for c in found]),
            *([Column("worst site", [number(c.worst) for c in found])] if study.spec.sites else []),
            Column(
                f"clean {f_beta}" if robust else "robust score",
                figures("val_f_beta" if robust else "robust"), spare=2, short=f"clean {f_beta}" if robust else "robust",
            ),
            Column("ROC AUC", figures("val_auc")),
            Column("epochs", [str(c.epochs) for c in found], spare=3),
            Column("worst views", [_worst_views(c) for c in found], words=True, spare=4),
        ],
        title=f"Finalists by {'robust score' if robust else f_beta} on held-out {where}",
    )  # fmt: skip
    if found[0].cut:
        say(f"{_count(found[0].cut, 'fold')} of the winner stopped early: time budget reached.", style="yellow")
    numbers = {c.trial.number for c in found}
    if left := [str(t.number) for t in plan.finalists if t.number not in numbers]:
        say(f"Not confirmed within the time budget (or failed): trial {', '.join(left)}.", style="dim")
    if any(t.state == "COMPLETE" for t in study.trials()):
        best = study.best().number
        if best != found[0].trial.number and any(c.trial.number == best for c in found):
            say(f"The confirmed winner is trial {found[0].trial.number}, not the study's best ({best}).")


def ensemble(choice: Choice) -> None:
    """What an ensemble adds to the winner in cross-validation, and what was chosen; nothing where it was not asked."""
    if choice.gain is None:
        return
    members = ", ".join(str(c.trial.number) for c, _ in choice.finalists)
    chosen = f"an ensemble of trials {members}" if choice.kind == "ensemble" else f"trial {members} alone"
    gain, low, high = (f"{value:+.3f}" for value in (choice.gain.value, choice.gain.low, choice.gain.high))
    console.out.say(
        f"An ensemble of the finalists changes the cross-validated robust score by {gain} (95 % interval {low} to "
        f"{high}): the final model is {chosen}."
    )


def _worst_views(found: Confirmed) -> str:
    """The two views with the lowest scores, where they are lower than others."""
    views = found.by_view()
    worst = sorted(views.items(), key=lambda item: item[1])[:2]
    return ", ".join(f"{view} ({value:.2f})" for view, value in worst if value < max(views.values()) - 0.005)
