"""KerasTuner hyperparameters ↔ Optuna suggestions: the one module that speaks both languages.

A space declares what may vary with `keras_tuner.HyperParameters`; an Optuna trial is asked for values. The bridge is a
`HyperParameters` whose undeclared *active* parameters are suggested by the trial the moment they are declared. So
conditional scopes, plain `if family == "cnn":` branches and names that depend on values all mean what they mean to
KerasTuner's own tuners, and a parameter that is not active is never suggested.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras_tuner
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


def optuna_name(hp: Any, ambiguous: frozenset[str]) -> str:
    """The parameter's name in the study: its own, with its condition where the name alone is ambiguous."""
    if hp.name not in ambiguous or not hp.conditions:
        return str(hp.name)
    where = ", ".join(f"{c.name}={'|'.join(map(str, c.values))}" for c in hp.conditions)
    return f"{hp.name} ({where})"
