"""The hyperparameters of a space as a table: what `--show-space` prints and docs/spaces.md shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from search.cli import tables
from search.cli.screen import Screen
from search.cli.tables import Column
from search.driver.options import StudyOptions


@dataclass(frozen=True)
class Row:
    """One hyperparameter."""

    family: str
    """Families that have it, with commas; `all`, or `all but` one."""
    name: str
    values: str
    default: str
    active: str
    """Values of other hyperparameters under which it counts; empty: always."""


def rows(asked: StudyOptions) -> list[Row]:
    """Every hyperparameter of a space, with every pretrained network available and nothing narrowed.

    Args:
        asked: its space and families.

    Raises:
        InputError: there is no such space or family, or a backbone's file can't be used.
    """
    import spaces
    from search.driver.prepare import files_of
    from search.hyperparameters.declaration import declared_parameters
    from xraytune.models import backbones

    weights, files = dict.fromkeys(backbones.BACKBONES, ""), files_of(asked)
    context = spaces.SpaceContext(families=asked.families, weights=weights, files=files)
    space = spaces.to_search(asked.space or "chest_xray", context)
    found = [_row(hp, space.families) for hp in declared_parameters(space.declare_hyperparameters)]
    return list(dict.fromkeys(found))


def show(screen: Screen, asked: StudyOptions) -> None:
    """Print them, a condition on a line of its own under its hyperparameter."""
    found = rows(asked)
    columns = [
        Column("hyperparameter", [row.name for row in found], words=True),
        Column("default", [row.default for row in found], words=True),
        Column("values", [row.values for row in found], words=True),
    ]
    tables.show(screen, columns, notes={i: (text, "dim") for i, row in enumerate(found) if (text := _condition(row))})


def _condition(row: Row) -> str:
    own = row.family == "all" or row.family.startswith("all but ") or row.name.startswith(f"{row.family}/")
    said = [] if own else [f"families {row.family}"]
    said += [f"active when {row.active}"] if row.active else []
    return "; ".join(said)


def markdown(asked: StudyOptions) -> str:
    """The table for a page of the documentation."""
    lines = ["| families | hyperparameter | values | default | active when |", "|---|---|---|---|---|"]
    lines += [
        f"| {row.family} | `{row.name}` | {row.values} | {row.default} | {row.active or 'always'} |"
        for row in rows(asked)
    ]
    return "\n".join(lines)


def _row(hp: Any, families: Sequence[str]) -> Row:
    conditions = {str(c.name): ", ".join(map(_word, c.values)) for c in hp.conditions}
    family = conditions.pop("family", "all")
    without = [] if family == "all" else [one for one in families if one not in family.split(", ")]
    if len(without) == 1 and len(families) > 3:
        family = f"all but {without[0]}"
    active = "; ".join(f"{name} is {values}" for name, values in conditions.items())
    return Row(family, hp.name, _values(hp), _word(hp.default), active)


def _values(hp: Any) -> str:
    kind = type(hp).__name__
    if kind == "Choice":
        return ", ".join(map(_word, hp.values))
    if kind == "Boolean":
        return "off, on"
    if kind == "Fixed":
        return _word(hp.value)
    scale = "" if hp.sampling in {None, "linear"} else f" ({hp.sampling.replace('_', ' ')} scale)"
    step = f", step {hp.step:g}" if hp.step and hp.sampling in {None, "linear"} and hp.step != 1 else ""
    return f"{hp.min_value:g} to {hp.max_value:g}{step}{scale}"


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)
