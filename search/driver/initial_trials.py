"""The initial trials: the best of an earlier study, countermeasures against shortcuts, recipes, every family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from search.hyperparameters.declaration import ambiguous_names, declared_parameters
from search.hyperparameters.suggestion import Narrowing, RecordedHyperParameters
from search.study.view import open_study
from xraytune.errors import StudyError
from xraytune.records import Value

if TYPE_CHECKING:
    from search.driver.prepared import Prepared
    from search.study.studies import Studies
    from spaces.space import Point, SearchContext, Space

    Points = list[Point]


class FirstTrial(NamedTuple):
    """A configuration that is tried before the sampler is asked."""

    origin: str
    """Why it is tried, for people."""

    values: Mapping[str, Value]
    """Hyperparameters by their declared names; what is not named is left to the sampler."""

    recipe: str = ""
    """The published configuration that it is, if it is one."""


FirstTrials = list[FirstTrial]

WARM = 6
"""Configurations taken from an earlier study: enough for each family, too few to hold a short search back."""


def first_trials(prepared: Prepared, warm: Sequence[FirstTrial] = ()) -> FirstTrials:
    """All of it, in the order in which it is tried.

    Every family comes once before any comes twice, so that a short search has seen all of them and the sampler's model
    starts with every branch: families of one configuration (`Prepared.once`), what is warm-started, what counters the
    audit's findings, recipes, then a family's name alone, the rest left to the sampler.
    """
    starts = [FirstTrial(origin, values) for origin, values in prepared.starts]
    known = [*warm, *starts, *(FirstTrial(f"recipe {name}", values, name) for name, values in prepared.recipes)]
    if len(prepared.families) < 2 or "family" in prepared.spec.fixed:
        return known
    first: dict[object, FirstTrial] = {}
    for one in known:
        first.setdefault(one.values.get("family"), one)
    for family in prepared.families:
        first.setdefault(family, FirstTrial(f"family {family}", {"family": family}))
    chosen = sorted(first.values(), key=lambda one: one.values.get("family") not in prepared.once)
    return chosen + [one for one in known if one not in chosen]


def warm(prepared: Prepared, earlier: str | None, studies: Studies) -> FirstTrials:
    """The best configurations of an earlier study that mean something in this space, best first; none without a study.

    The study may be of other data or of another space: what carries the same name and lies in the range is kept. A
    configuration of a family that is not searched is passed over, since nearly all of it belongs to its branch.

    Raises:
        StudyError: there is no such study, none of its trials is complete, or nothing of them fits.
    """
    if earlier is None:
        return []
    study = open_study(earlier, studies.results, studies.storage)
    done = study.ranked()
    if not done:
        raise StudyError(f"--warm-start {earlier}: that study has no complete trial.")
    narrowing = Narrowing(prepared.spec.fixed, prepared.spec.narrowed)
    ambiguous = ambiguous_names(declared_parameters(prepared.declaration))
    found: FirstTrials = []
    for trial in done:
        values = dict(trial.config.values) if trial.config else {}
        hp = RecordedHyperParameters(values, narrowing, ambiguous)
        prepared.declaration(hp)
        if hp.optuna_params and values.get("family", hp.values.get("family")) == hp.values.get("family"):
            found.append(FirstTrial(f"study {study.name} #{trial.number}", values))
        if len(found) == WARM:
            break
    if not found:
        raise StudyError(f"--warm-start {earlier}: none of its configurations fits the space {prepared.spec.space}.")
    return found


def of_space(space: Space, search: SearchContext, fixed: Mapping[str, Value]) -> tuple[Points, Points, list[str]]:
    """A space's own initial trials and the recipes that were asked for, under what the user holds.

    Returns:
        The initial trials, the recipes, and a line on each recipe that is left out or adapted.
    """
    starts, _ = _as_held(space.initial_trials(search), fixed)
    recipes, lines = space.recipes(search)
    recipes, more = _as_held(recipes, fixed)
    return starts, recipes, [*lines, *more]


def _as_held(points: Points, fixed: Mapping[str, Value]) -> tuple[Points, list[str]]:
    """Points of the space under what the user holds: left out where that is another family, and a line on each."""
    kept: Points = []
    lines = []
    for name, values in points:
        other = {n: v for n, v in fixed.items() if n in values and values[n] != v}
        if "family" in other:
            lines.append(f"recipe {name} skipped: --fix holds the family at {other['family']}")
            continue
        if other:
            lines.append(f"recipe {name} adapted to --fix: {', '.join(f'{n} {values[n]} → {other[n]}' for n in other)}")
        kept.append((name, {**values, **other}))
    return kept, lines
