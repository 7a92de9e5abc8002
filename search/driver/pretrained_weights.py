"""Which pretrained weights a search needs: looked for, fetched and checked; no others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spaces import Space
from xraytune import artifacts
from xraytune.errors import WeightsError
from xraytune.models import backbones


def found(space: Space, folder: Path | None, stored: Iterable[str] | None) -> tuple[dict[str, Path], list[str]]:
    """The weights that are available, backbone → file, and a line on each file that is left alone.

    Args:
        space: says which it needs. Where that is not known before its networks are built, all that are there are
            offered to it, none is fetched, and a damaged one is left out instead of stopping the search.
        folder: the one that the user named.
        stored: the backbones of a study that is resumed; what has come within reach since then is not the study's.

    Raises:
        WeightsError: the folder does not exist, a file that is needed is damaged or another network's, or what a study
            that is resumed was searched with is not there.
    """
    if stored is not None:
        needed = list(stored)
        weights = backbones.reachable(folder, names=needed)
        if gone := [name for name in needed if name not in weights]:
            raise WeightsError(
                f"The study was searched with pretrained weights: {backbones.missing(gone, folder)}, "
                "or give their folder with --weights-dir."
            )
        return weights, []
    if (names := space.backbones()) is not None:
        return backbones.reachable(folder, names=names, download=True), []
    weights, lines = backbones.reachable(folder, names=()), list[str]()
    for name in backbones.BACKBONES:
        try:
            weights |= backbones.reachable(folder, names=[name])
        except WeightsError as error:
            lines.append(f"weights {name} left out: {error}")
    return weights, lines


def used(space_parameters: Sequence[Any], weights: Mapping[str, Path]) -> dict[str, str]:
    """sha256 of every backbone that some choice of the space names."""
    named = {value for hp in space_parameters if hp.name.endswith("/backbone") for value in getattr(hp, "values", ())}
    return {name: artifacts.sha256(path) for name, path in weights.items() if name in named}


@dataclass(frozen=True)
class LeftOut:
    """What takes no part in a search, and why."""

    backbones: tuple[str, ...] = ()
    """That the space needs and whose weights are not there."""
    without_weights: tuple[str, ...] = ()
    """Families that have nothing to begin with."""
    too_slow: tuple[str, ...] = ()
    """Families that the time narrowed away."""

    def lines(self, folder: Path | None) -> list[str]:
        """Which file to put where, for the log; what the time narrowed away is told by the narrowing.

        Args:
            folder: of weights, as the user named it.
        """
        if not self.backbones:
            return []
        gone = f": {', '.join(self.without_weights)}" if self.without_weights else ""
        return [f"left out{gone}; {backbones.missing(self.backbones, folder)}"]


def left_out(searched: Space, whole: Space, offered: Space, weights: Mapping[str, Path]) -> LeftOut:
    """What takes no part in a search.

    Args:
        searched: the space as it is searched.
        whole: the same before the time narrowed it.
        offered: the same with all weights.
        weights: those that are there.
    """
    return LeftOut(
        tuple(name for name in searched.backbones() or () if name not in weights),
        tuple(family for family in offered.families if family not in whole.families),
        tuple(family for family in whole.families if family not in searched.families),
    )
