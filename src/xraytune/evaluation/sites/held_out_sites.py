"""Which site a trial holds out, and how trials are compared that hold out different ones.

Trials of a family hold out the sites in turn. A site may be easier than another, so that a trial's score is its
configuration's worth and its site's ease together. As in an analysis of blocks, what is due to the block is taken off:
how far the median of the site's complete trials lies from the middle of all sites' medians (the first step of Tukey's
median polish, Tukey 1977, ch. 10). A configuration is so compared with others at the same site; since every family
visits every site equally often, no family gains by it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median


def turn(sites: Sequence[str], earlier: int) -> str:
    """The site that a trial holds out before which its family had so many trials."""
    return sites[earlier % len(sites)]


def easier(values: Mapping[int, float], sites: Mapping[int, str]) -> dict[str, float]:
    """How far the median score at each site lies above the median of these medians.

    Args:
        values: scores by trial; NaN counts nowhere.
        sites: the held-out site of each trial, those without a score too.

    Returns:
        by site; all 0 where there is one alone.
    """
    of: dict[str, list[float]] = {}
    for number, value in values.items():
        if not math.isnan(value):
            of.setdefault(sites.get(number, ""), []).append(value)
    medians = {site: median(found) for site, found in of.items()}
    middle = median(medians.values()) if medians else 0.0
    return {site: own - middle for site, own in medians.items()}


def compared(values: Mapping[int, float], sites: Mapping[int, str]) -> dict[int, float]:
    """The scores without what is due to their sites; the arguments of `easier`."""
    off = easier(values, sites)
    return {number: value - off.get(sites.get(number, ""), 0.0) for number, value in values.items()}
