"""KerasTuner hyperparameters ↔ Optuna suggestions: the one module that speaks both languages.

A space declares what may vary with `keras_tuner.HyperParameters`; an Optuna trial is asked for values. The bridge is a
`HyperParameters` whose undeclared *active* parameters are suggested by the trial the moment they are declared. So
conditional scopes, plain `if family == "cnn":` branches and names that depend on values all mean what they mean to
KerasTuner's own tuners, and a parameter that is not active is never suggested.
"""

from __future__ import annotations

import abc
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras_tuner
import numpy as np
import optuna

from xraytune.errors import InputError
from xraytune.records import Value

Declaration = Callable[[keras_tuner.HyperParameters], object]
"""A space's `declare_hyperparameters`."""


class Narrowing:
    """What a user took out of a space: parameters held at one value, choices left of more."""

    def __init__(
        self, fixed: Mapping[str, Value] | None = None, choices: Mapping[str, Sequence[Value]] | None = None
    ) -> None:
        self.fixed = dict(fixed or {})
        self.choices = {name: tuple(values) for name, values in (choices or {}).items()}


class _Picking(keras_tuner.HyperParameters, abc.ABC):  # type: ignore[misc]
    """HyperParameters whose active parameters get their value when they are declared; what is held is not asked for."""

    def __init__(self, narrowing: Narrowing | None, ambiguous: Iterable[str]) -> None:
        super().__init__()
        self._narrowing = narrowing or Narrowing()
        self._ambiguous = frozenset(ambiguous)

    @abc.abstractmethod
    def _choose(self, hp: Any, choices: tuple[Value, ...]) -> Value:
        """The value of a parameter that is free: one of `choices`, or of its range where there are none."""

    def _pick(self, hp: Any) -> Value:
        if hp.name in self._narrowing.fixed:
            return convert(hp, self._narrowing.fixed[hp.name])
        choices = allowed(hp, self._narrowing)
        return choices[0] if len(choices) == 1 else self._choose(hp, choices)

    def _register(self, hyperparameter: Any, overwrite: bool = False) -> Any:
        hp = hyperparameter
        if hp.name not in self.values and self._conditions_are_active(hp.conditions):
            self.values[hp.name] = self._pick(hp)
        return super()._register(hp, overwrite=False)


class SuggestedHyperParameters(_Picking):
    """HyperParameters filled by an Optuna trial.

    Args:
        trial: the Optuna trial, from `study.ask()`.
        narrowing: what the user fixed or narrowed; a fixed parameter is not suggested, so that no sampler models it.
        ambiguous: names that the space declares more than once with different ranges (from `ambiguous_names`).
    """

    def __init__(self, trial: optuna.Trial, narrowing: Narrowing | None = None, ambiguous: Iterable[str] = ()) -> None:
        super().__init__(narrowing, ambiguous)
        self._trial = trial

    def _choose(self, hp: Any, choices: tuple[Value, ...]) -> Value:
        name = optuna_name(hp, self._ambiguous)
        kind = type(hp).__name__
        if choices:
            return choices[choices.index(self._trial.suggest_categorical(name, choices))]
        if hp.sampling == "reverse_log":
            share = self._trial.suggest_float(f"{name} (share)", 0.0, 1.0)
            return plain_value(hp.prob_to_value(share))
        log = hp.sampling == "log"
        if kind == "Int":
            step = int(hp.step or 1)
            return self._trial.suggest_int(name, int(hp.min_value), int(hp.max_value), step=1 if log else step, log=log)
        return self._trial.suggest_float(
            name, float(hp.min_value), float(hp.max_value), step=None if log else hp.step, log=log
        )


class RecordedHyperParameters(_Picking):
    """HyperParameters replayed from plain values; what they do not name takes its default.

    `optuna_params` then holds, by Optuna's names, what `study.enqueue_trial` needs to try these very values; a value
    that lies outside the space is left out of it, so that a sampler fills the gap.
    """

    def __init__(
        self, recorded: Mapping[str, Value], narrowing: Narrowing | None = None, ambiguous: Iterable[str] = ()
    ) -> None:
        super().__init__(narrowing, ambiguous)
        self._recorded = dict(recorded)
        self.optuna_params: dict[str, Value] = {}

    def _choose(self, hp: Any, choices: tuple[Value, ...]) -> Value:
        default = choices[0] if choices and hp.default not in choices else hp.default
        if hp.name not in self._recorded:
            return plain_value(default)
        try:
            value = convert(hp, self._recorded[hp.name], choices)
        except InputError:
            return plain_value(default)
        if getattr(hp, "sampling", None) == "reverse_log" and not choices:
            self.optuna_params[f"{optuna_name(hp, self._ambiguous)} (share)"] = hp.value_to_prob(value)
        else:
            self.optuna_params[optuna_name(hp, self._ambiguous)] = value
        return value


def allowed(hp: Any, narrowing: Narrowing) -> tuple[Value, ...]:
    """The values of a parameter with finitely many, after narrowing; empty for a range.

    A range with a multiplicative step (`sampling="log"` with `step`) is finite too: Optuna has no such range.
    """
    kind = type(hp).__name__
    if kind == "Fixed":
        return (plain_value(hp.value),)
    if kind == "Boolean":
        values: tuple[Value, ...] = (False, True)
    elif kind == "Choice":
        values = tuple(plain_value(v) for v in hp.values)
    elif hp.min_value == hp.max_value:
        return (plain_value(hp.min_value),)
    elif hp.step is not None and hp.sampling in {"log", "reverse_log"}:
        values = tuple(plain_value(v) for v in _steps(hp))
    else:
        return ()
    if hp.name not in narrowing.choices:
        return values
    return tuple(v for v in values if v in narrowing.choices[hp.name]) or values


def _steps(hp: Any) -> list[int | float]:
    """The grid of a multiplicative range: min, min·step, min·step² … up to max (KerasTuner's rule)."""
    grid, value = [], hp.min_value
    while value <= hp.max_value * (1 + 1e-9):
        grid.append(value)
        value = value * hp.step
    return grid


def convert(hp: Any, value: Value, choices: Sequence[Value] = ()) -> Value:
    """`value` as the parameter's own type, checked against its range.

    Raises:
        InputError: the parameter can't have this value; the message names what it can have.
    """
    kind = type(hp).__name__
    choices = choices or allowed(hp, Narrowing())
    if choices:
        for choice in choices:
            if value == choice or str(value).lower() == str(choice).lower():
                return choice
        for choice in choices:
            if isinstance(choice, float) and not isinstance(choice, bool) and _number(value) == choice:
                return choice
        raise InputError(f"{hp.name} can't be {value!r}. It may be one of: {', '.join(map(str, choices))}.")
    number = _number(value)
    if number is None or not hp.min_value <= number <= hp.max_value or (kind == "Int" and number != int(number)):
        whole = "a whole number " if kind == "Int" else ""
        raise InputError(f"{hp.name} can't be {value!r}. It may be {whole}from {hp.min_value} to {hp.max_value}.")
    return int(number) if kind == "Int" else float(number)


def _number(value: Value) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


def plain_value(value: Any) -> Value:
    """A NumPy scalar as Python's own."""
    plain: Value = value.item() if hasattr(value, "item") else value
    return plain


def declared_parameters(declaration: Declaration) -> list[Any]:
    """Every hyperparameter a space can have, over all its branches, in the order of declaration.

    Parameters under `conditional_scope` are registered whether active or not; those in plain branches only when the
    branch is taken, so the declaration runs once for every value of its first parameter (the family).
    """
    first = keras_tuner.HyperParameters()
    declaration(first)
    found = {_identity(hp): hp for hp in first.space}
    if first.space:
        head = first.space[0]
        for value in allowed(head, Narrowing()):
            branch = RecordedHyperParameters({head.name: value})
            declaration(branch)
            for hp in branch.space:
                found.setdefault(_identity(hp), hp)
    return list(found.values())


def _identity(hp: Any) -> str:
    config = {k: v for k, v in hp.get_config().items() if k != "conditions"}
    config["conditions"] = [c.get_config() for c in hp.conditions]
    return f"{type(hp).__name__} {json.dumps(config, sort_keys=True, default=str)}"


def ambiguous_names(space: Iterable[Any]) -> frozenset[str]:
    """Names declared more than once with different kinds or ranges: each needs an Optuna name of its own."""
    ranges: dict[str, set[str]] = {}
    for hp in space:
        config = {k: v for k, v in hp.get_config().items() if k not in {"conditions", "default"}}
        ranges.setdefault(hp.name, set()).add(f"{type(hp).__name__} {json.dumps(config, sort_keys=True, default=str)}")
    return frozenset(name for name, kinds in ranges.items() if len(kinds) > 1)


def optuna_name(hp: Any, ambiguous: frozenset[str]) -> str:
    """The parameter's name in the study: its own, with its condition where the name alone is ambiguous."""
    if hp.name not in ambiguous or not hp.conditions:
        return str(hp.name)
    where = ", ".join(f"{c.name}={'|'.join(map(str, c.values))}" for c in hp.conditions)
    return f"{hp.name} ({where})"


def signature(space: Iterable[Any]) -> str:
    """sha256 of everything declared (names, ranges, defaults, conditions): two equal spaces have equal signatures."""
    text = "\n".join(sorted(_identity(hp) for hp in space))
    return hashlib.sha256(text.encode()).hexdigest()


def check_narrowing(space: Sequence[Any], narrowing: Narrowing) -> None:
    """Refuse what the space does not have.

    Raises:
        InputError: a fixed name is unknown (the nearest ones are named) or can't have its value in any branch.
    """
    by_name: dict[str, list[Any]] = {}
    for hp in space:
        by_name.setdefault(hp.name, []).append(hp)
    for name, value in narrowing.fixed.items():
        if name not in by_name:
            raise InputError(f"--fix {name}={value}: the space has no {name!r}. It has: {', '.join(by_name)}.")
        problems = []
        for hp in by_name[name]:
            try:
                convert(hp, value)
            except InputError as error:
                problems.append(str(error))
        if len(problems) == len(by_name[name]):
            raise InputError(f"--fix {name}={value}: {problems[0]}")


@dataclass(frozen=True)
class Parameter:
    """A hyperparameter as samplers see it: a finite list of values or a range, and when it exists."""

    name: str
    """In the study."""
    declared: str
    """In the space."""
    conditions: tuple[tuple[str, tuple[Value, ...]], ...]
    """Declared names of other parameters, and the values one of which each must have."""
    choices: tuple[Value, ...] = ()
    """All values; empty for a range."""
    low: float = 0.0
    high: float = 1.0
    step: float | None = None
    log: bool = False
    whole: bool = False

    @property
    def ordered(self) -> bool:
        """Whether its values are numbers in ascending order."""
        numbers = [v for v in self.choices if isinstance(v, int | float)]
        return len(numbers) == len(self.choices) and numbers == sorted(numbers)

    @property
    def count(self) -> int:
        """The number of choices, 0 for a range."""
        return len(self.choices)

    def place(self, share: Any) -> Any:
        """`(n,)` shares of the range (from 0 to below 1) as places: 0 to 1 where ordered, else the choice's index."""
        if not self.choices:
            return share
        index = np.minimum((share * self.count).astype(int), self.count - 1)
        return index / max(1, self.count - 1) if self.ordered else index

    def one_of(self, share: Any, values: Sequence[Value]) -> Any:
        """Whether each of `(n,)` shares stands for one of `values`."""
        if not self.choices:
            return np.array([self.at(s) in values for s in share])
        found = np.array([choice in values for choice in self.choices])
        return found[np.minimum((share * self.count).astype(int), self.count - 1)]

    def at(self, share: float) -> Value:
        """The value at a share of the range."""
        if self.choices:
            return self.choices[min(int(share * self.count), self.count - 1)]
        if self.log:
            value = math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))
        else:
            value = self.low + share * (self.high - self.low)
        if self.step and not self.log:
            value = self.low + round((value - self.low) / self.step) * self.step
        value = min(max(value, self.low), self.high)
        return round(value) if self.whole else value

    def share(self, value: Value) -> float:
        """The share of the range at which `value` lies."""
        if self.choices:
            return (self.choices.index(value) + 0.5) / self.count if value in self.choices else 0.0
        number = float(value)
        if self.log:
            place = (math.log(number) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        else:
            place = (number - self.low) / (self.high - self.low)
        return min(max(place, 0.0), 1.0 - 1e-9)


def parameters(declaration: Declaration, narrowing: Narrowing | None = None) -> list[Parameter]:
    """Every parameter of a space for a sampler, parents before children."""
    narrowing, space, found = narrowing or Narrowing(), declared_parameters(declaration), []
    ambiguous = ambiguous_names(space)
    for hp in space:
        name = optuna_name(hp, ambiguous)
        where = tuple((str(c.name), tuple(plain_value(v) for v in c.values)) for c in hp.conditions)
        if hp.name in narrowing.fixed:
            try:
                found.append(Parameter(name, hp.name, where, (convert(hp, narrowing.fixed[hp.name]),)))
            except InputError:  # it holds in another branch
                continue
        elif choices := allowed(hp, narrowing):
            found.append(Parameter(name, hp.name, where, choices))
        elif hp.sampling == "reverse_log":
            found.append(Parameter(f"{name} (share)", hp.name, where))
        else:
            whole, low, high = type(hp).__name__ == "Int", float(hp.min_value), float(hp.max_value)
            found.append(Parameter(name, hp.name, where, (), low, high, hp.step, hp.sampling == "log", whole))
    return found
