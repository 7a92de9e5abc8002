"""A hyperparameter as samplers see it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from search.hyperparameters.declaration import ambiguous_names, declared_parameters
from search.hyperparameters.suggestion import Declaration, Narrowing, allowed, convert, optuna_name, plain_value
from xraytune.errors import InputError
from xraytune.records import Value


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
