"""What a space declares: its parameters, their identity and the checks of fixed values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras_tuner

from search.hyperparameters.suggestion import Declaration, Narrowing, RecordedHyperParameters, allowed, convert
from xraytune.errors import InputError
from xraytune.records import Value


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


def signature(space: Iterable[Any]) -> str:
    """sha256 of everything declared (names, ranges, defaults, conditions): two equal spaces have equal signatures."""
    text = "\n".join(sorted(_identity(hp) for hp in space))
    return hashlib.sha256(text.encode()).hexdigest()


def held(space: Sequence[Any], fixed: Mapping[str, Any]) -> dict[str, Value]:
    """The values that the user holds, by name, each in its parameter's own type.

    Args:
        space: all parameters that the space declares.
        fixed: values or texts by name.

    Raises:
        InputError: a name is unknown (those that there are, are named) or can't have its value in any branch.
    """
    found: dict[str, Value] = {}
    by_name: dict[str, list[Any]] = {}
    for hp in space:
        by_name.setdefault(hp.name, []).append(hp)
    for name, value in fixed.items():
        if name not in by_name:
            raise InputError(f"--fix {name}={value}: the space has no {name!r}. It has: {', '.join(by_name)}.")
        problems = []
        for hp in by_name[name]:
            try:
                found.setdefault(name, convert(hp, value))
            except InputError as error:
                problems.append(str(error))
        if name not in found:
            raise InputError(f"--fix {name}={value}: {problems[0]}")
    return found
