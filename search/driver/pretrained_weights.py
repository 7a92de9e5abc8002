"""Which pretrained weights a search needs: looked for, fetched and checked; no others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import spaces
from xraytune import artifacts
from xraytune.errors import WeightsError
from xraytune.models import FAMILIES, backbones


def found(
    space: str, families: Sequence[str], folder: Path | None, stored: Iterable[str] | None
) -> tuple[dict[str, Path], list[str]]:
    """The weights at hand, backbone → file, and a line on each file that is left alone.

    Args:
        space: the space's name. What a space of the user's own reads is not known before it is built: all that are
            there are offered to it, none is fetched, and a damaged one is left out instead of stopping the search.
        families: those that the user asked for; empty for all.
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
                "or give the folder that they lie in with --weights-dir."
            )
        return weights, []
    if space in spaces.SPACES:
        names = () if space == "smoke" else backbones.of(families or FAMILIES)
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


def left_out(
    asked: Sequence[str], families: Sequence[str], weights: Mapping[str, Path], folder: Path | None
) -> list[str]:
    """One line on the backbones, and whole families, that take no part for want of their weights.

    Args:
        asked: the families that the user asked for; empty for all.
        families: those that the space has.
        weights: that are at hand.
        folder: where the user keeps them.
    """
    wanted = asked or FAMILIES
    missing = [name for name in backbones.of(wanted) if name not in weights]
    if not missing:
        return []
    gone = [family for family in wanted if backbones.of([family]) and family not in families]
    return [f"left out{': ' + ', '.join(gone) if gone else ''}; {backbones.missing(missing, folder)}"]
