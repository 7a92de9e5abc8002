"""Which trials a retraining is about: `best`, a number, `top:K`, `pareto:N` or a recipe's name."""

from __future__ import annotations

from search.study.view import StudyView, TrialRecord
from xraytune.errors import InputError, StudyError

CLOSE = 0.01
"""Difference of objectives on one validation split that says nothing: on the X-rays a configuration's robust score
varied from fold to fold with a standard deviation of 0.008."""


def choose(study: StudyView, which: str, count: int) -> list[TrialRecord]:
    """The finalists, the best first; the winner is confirmed among them.

    Args:
        study: where they come from.
        which: `best` (the best `count` trials, with the best of every family that comes close), a trial's number,
            `top:K`, `pareto:N` (the N-th trial on the Pareto front) or the name of a recipe that the study tried.
        count: finalists for `best`.

    Raises:
        InputError: `which` is none of these.
        StudyError: the study has no complete trial, or not the one asked for.
    """
    text = which.strip()
    kind, _, number = text.partition(":")
    if text == "best":
        return _of_each_family(_ranked(study), count)
    if text.lstrip("-").isdigit():
        return [_trainable(study, study.trial(int(text)))]
    if kind == "top":
        return _ranked(study)[: _positive(number, which)]
    if kind == "pareto":
        study.best()
        front, n = study.pareto(), _positive(number, which)
        if n > len(front):
            raise StudyError(f"The Pareto front of study {study.name!r} has {len(front)} trials, not {n}.")
        return [_trainable(study, front[n - 1])]
    return [_recipe(study, text)]


def _ranked(study: StudyView) -> list[TrialRecord]:
    """The complete trials, best first; the same configuration once: it gets several folds anyway."""
    study.best()  # says so where no trial is complete
    unique: list[TrialRecord] = []
    for trial in (t for t in study.ranked() if t.config and t.result):
        if all(trial.config.values != other.config.values for other in unique if trial.config and other.config):
            unique.append(trial)
    return unique


def _of_each_family(ranked: list[TrialRecord], count: int) -> list[TrialRecord]:
    """The best of every family that comes `CLOSE` to the best of all, then the other best: `count` of them.

    The folds decide between finalists that one split can't distinguish, and an ensemble gains from networks of other
    families, which make other errors. They come first since the last are left out where the time is short.
    """
    lowest = -CLOSE + (ranked[0].compared or 0.0)
    leaders = {trial.family: trial for trial in reversed(ranked) if (trial.compared or 0.0) >= lowest}
    first = [trial for trial in ranked if trial in leaders.values()][:count]
    others = [trial for trial in ranked if trial not in first]
    return [*first, *others[: count - len(first)]]


def _trainable(study: StudyView, trial: TrialRecord) -> TrialRecord:
    if trial.state not in {"COMPLETE", "PRUNED"} or trial.config is None:
        why = f" ({trial.cause}: {trial.message})" if trial.cause else ""
        raise StudyError(
            f"Trial {trial.number} of study {study.name!r} is {trial.state}{why}: only a complete or pruned trial can "
            "be retrained. See: python -m search.leaderboard"
        )
    return trial


def _recipe(study: StudyView, name: str) -> TrialRecord:
    tried = {t.recipe: t for t in study.trials() if t.recipe and t.state in {"COMPLETE", "PRUNED"}}
    if name not in tried:
        known = f" Recipes that it tried: {', '.join(sorted(tried))}." if tried else ""
        raise InputError(
            f"{name!r} is not a trial of study {study.name!r}. Give best, a trial's number, top:K, pareto:N, or the "
            f"name of a recipe.{known}"
        )
    return _trainable(study, tried[name])


def _positive(number: str, which: str) -> int:
    if not number.isdigit() or int(number) < 1:
        raise InputError(f"{which!r}: give a number from 1 after the colon, e.g. {which.partition(':')[0]}:3.")
    return int(number)
