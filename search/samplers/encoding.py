"""Configurations as rows of numbers: genes, which are changed, and points, between which distances mean something."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from search.hyperparameters.parameter import Parameter
from xraytune.records import Value


class Embedding:
    """Genes are one number in [0, 1) a parameter, active or not; points are what a process sees of them.

    In a point a number is its place in its range and a choice that is no number a corner of its own, all corners 1
    apart. A parameter that a branch lacks is in the middle of its range: so configurations of two branches are as far
    apart as what they share and the branch itself say.

    Args:
        parameters: all that the space can have, parents before children.
        once: values of the root that only known configurations have: where it is free, others stand in for them.
    """

    def __init__(self, parameters: Sequence[Parameter], once: Collection[Value] = ()) -> None:
        self.parameters = tuple(parameters)
        self.width = len(self.parameters)
        self.categorical = np.array([not p.ordered for p in self.parameters], bool)
        self._column = {p.name: i for i, p in enumerate(self.parameters)}
        self.root = self._root()
        choices = self.parameters[self.root].choices if self.root is not None else ()
        self.drawn = np.array([i for i, choice in enumerate(choices) if choice not in once], int)
        """Indices of the root's values that are proposed."""
        self._left: dict[int, np.ndarray] = {}

    def _root(self) -> int | None:
        """The parameter on whose value most others depend, the family; none in a flat space."""
        dependent = {
            i: sum(p.declared == parent for other in self.parameters for parent, _ in other.conditions)
            for i, p in enumerate(self.parameters)
            if p.count > 1 and not p.conditions
        }
        return max(dependent, key=lambda i: dependent[i]) if any(dependent.values()) else None

    def leave(self, choices: Mapping[str, Collection[Value]]) -> None:
        """Propose these values alone of parameters by the study's names, and all of every other."""
        kept = {self._column[name]: values for name, values in choices.items() if name in self._column}
        self._left = {
            i: np.array([k for k, choice in enumerate(self.parameters[i].choices) if choice in values], int)
            for i, values in kept.items()
        }

    def branch(self, genes: np.ndarray) -> np.ndarray:
        """Which value of the root each of `(n, parameters)` genes has, as its index; zeros in a flat space."""
        if self.root is None:
            return np.zeros(len(genes), int)
        count = self.parameters[self.root].count
        index: np.ndarray = np.minimum((genes[:, self.root] * count).astype(int), count - 1)
        return index

    def hold(self, genes: np.ndarray, fixed: Mapping[str, Value]) -> np.ndarray:
        """`genes` with what is fixed (by the study's names) in place, and values that may be proposed."""
        for name, value in fixed.items():
            if name in self._column:
                genes[:, self._column[name]] = self.parameters[self._column[name]].share(value)
        for column, drawn in (self._left | ({} if self.root is None else {self.root: self.drawn})).items():
            if self.parameters[column].name not in fixed:
                self._propose(genes, column, drawn)
        return genes

    def _propose(self, genes: np.ndarray, column: int, drawn: np.ndarray) -> None:
        """Share what lies in a value of a parameter that is not proposed out to the others, evenly."""
        count = self.parameters[column].count
        index = np.minimum((genes[:, column] * count).astype(int), count - 1)
        gone = ~np.isin(index, drawn)
        if gone.any() and len(drawn):
            within = genes[gone, column] * count - index[gone]
            others = drawn[np.minimum((within * len(drawn)).astype(int), len(drawn) - 1)]
            genes[gone, column] = (others + 0.5) / count

    def genes(self, values: Mapping[str, Value], rng: np.random.Generator) -> np.ndarray:
        """The genes of a configuration; those of parameters it does not have are drawn."""
        row: np.ndarray = self.hold(rng.random((1, self.width)), values)[0]
        return row

    def values(self, genes: np.ndarray) -> dict[str, Value]:
        """The configuration of one row of genes: active parameters by the study's names."""
        active = self.active(genes[None, :])[0]
        return {p.name: p.at(genes[i]) for i, p in enumerate(self.parameters) if active[i]}

    def points(self, genes: np.ndarray) -> np.ndarray:
        """`(n, parameters)` genes as `(n, columns)` points."""
        active = self.active(genes)
        columns = []
        for i, parameter in enumerate(self.parameters):
            place = parameter.place(genes[:, i])
            if parameter.ordered:
                columns.append(np.where(active[:, i], place, 0.5))
            else:
                corners = place[:, None] == np.arange(parameter.count)
                columns += list(np.where(active[:, i, None], corners, 1 / parameter.count).T * math.sqrt(0.5))
        return np.array(columns, float).T

    def active(self, genes: np.ndarray) -> np.ndarray:
        """Which parameters each row has: those all of whose conditions hold."""
        active = np.ones(genes.shape, bool)
        for i, parameter in enumerate(self.parameters):
            for parent, allowed in parameter.conditions:
                holds = np.zeros(len(genes), bool)
                for j, other in enumerate(self.parameters[:i]):
                    if other.declared == parent:
                        holds |= active[:, j] & other.one_of(genes[:, j], allowed)
                active[:, i] &= holds
        return active
