"""Which frozen prefixes a search can afford to keep, of all that a space could draw.

A prefix is computed once an array: for the images as they are, and for each copy of each augmentation. All arrays of a
search together may take a fifth of the time that is left once the data are read, a single one a tenth. Where that is
too little for all choices, a family's copies are augmented alike in all of its trials, with what counters the shortcuts
that the audit found; then one size is left, the largest of which two copies or more can be had, and the usual cut. What
time remains gives choices back. A family of which not even the plain images can be afforded takes no part.

On Kermany's validation images a frozen VGG16 (block 4, flattened, one seed) scored 0.978 at 64 px with four copies and
0.969 with two, 0.957 at 48 px with four: size counts before copies (docs/spaces.md).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from spaces.narrowing.choices import points
from spaces.space import Choices
from xraytune.models import cost as costs
from xraytune.models.cost import Machine
from xraytune.records import Value
from xraytune.training.inputs.augmentation import COUNTERMEASURES

TOGETHER, SINGLE = 0.2, 0.1
"""Of the time, for all kept arrays together, and for one of them."""

BESIDES = 0.4
"""Arrays' worth of images that every prefix is computed for besides: the validation images, as they are (a fifth of the
training images) and, some of them, in a dozen shifted views (`views`, another fifth)."""

ALIKE = {
    "flip": False,
    **{name: "none" for name in COUNTERMEASURES if name != "shape_jitter"},
    "augmentation": "medium",
    "shape_jitter": "light",
}
"""What all kept copies have in common, where the audit asks for nothing else."""

GIVEN_BACK = ("cut", "backbone", "normalization")
"""Which parameters get choices back, in order, where time remains."""

ARRAY = ("normalization", "backbone", "cut", "image_size", "trained_blocks")
"""What makes a prefix another one, beside its augmentation."""

PrefixKey = tuple[Value, ...]


@dataclass
class Budget:
    """What may be spent on kept arrays, and what has been."""

    single: float
    """Seconds of one worker for one array."""
    left: float
    """Seconds of one worker for all that are still to come."""
    paid: set[PrefixKey] = field(default_factory=set)
    """What a family before this one computes: VGG's block 4 is the same array under a head and under block 5."""

    @classmethod
    def of(cls, seconds: float, machine: Machine, threads: int) -> Budget:
        """The shares of a search that has so many seconds left, whose trials have so many threads each."""
        return cls(SINGLE * seconds * threads, TOGETHER * seconds * machine.workers)


@dataclass
class Family:
    """The choices of one family while they are cut down."""

    name: str
    own: Choices
    """By full name, `vgg_frozen/cut`; the augmentation's parameters under the family's name too."""
    images: int
    machine: Machine
    budget: Budget

    def at(self, name: str) -> tuple[Value, ...]:
        """The choices that are left of a parameter; none where the family has no such parameter."""
        return self.own.get(f"{self.name}/{name}", ())

    def put(self, name: str, values: Sequence[Value]) -> None:
        """Leave these choices of a parameter that the family has."""
        if f"{self.name}/{name}" in self.own:
            self.own[f"{self.name}/{name}"] = tuple(values)

    def needed(self) -> Mapping[PrefixKey, tuple[float, float]]:
        """Seconds of one worker for each prefix that nobody paid for: of one array, and of all its arrays."""
        copies = [int(count) for count in self.at("augmentation_copies")] or [0]
        alike = tuple(self.at(name) for name in ALIKE if self.at(name))
        arrays = max(copies) * math.prod(map(len, alike)) + (0 in copies) + BESIDES
        found: dict[PrefixKey, tuple[float, float]] = {}
        for point in points(self.own, ARRAY):
            cost = costs.cost(point)
            if cost.prefix:
                names = ("backbone", "image_size", "normalization")
                where = (point.get(f"{self.name}/{name}", "") for name in names)
                each = cost.prefix_seconds(self.machine, self.images)
                found[(*where, cost.prefix, max(copies), str(alike))] = each, each * arrays
        return {key: seconds for key, seconds in found.items() if key not in self.budget.paid}

    @property
    def affordable(self) -> bool:
        """Whether all arrays that are left can be computed."""
        needed = self.needed().values()
        single = max((one for one, _ in needed), default=0.0)
        return single <= self.budget.single and sum(together for _, together in needed) <= self.budget.left

    def pay(self) -> None:
        """Take what the arrays that are left cost."""
        needed = self.needed()
        self.budget.left = max(self.budget.left - sum(together for _, together in needed.values()), 0.0)
        self.budget.paid |= set(needed)


def cut(family: Family, countermeasures: Sequence[str]) -> bool:
    """Take choices away until the family's arrays can be computed in what is left of the budget, and take it.

    Args:
        family: its choices are changed.
        countermeasures: the augmentation's parameters against what the audit found.

    Returns:
        Whether the family can take part; if not, its choices are as they were.
    """
    offered = dict(family.own)
    for name, usual in ALIKE.items():
        if (values := family.at(name)) and not family.affordable:
            family.put(name, (values[-1] if name in countermeasures else usual if usual in values else values[0],))
    if not family.affordable and not _smallest(family):
        family.own.clear()
        family.own.update(offered)
        return False
    for name in GIVEN_BACK:
        for value in offered.get(f"{family.name}/{name}", ()):
            before = family.at(name)
            if value not in before:
                family.put(name, (*before, value))
                if not family.affordable:
                    family.put(name, before)
    if not max(map(int, family.at("augmentation_copies")), default=0):  # nothing is copied, so nothing alike
        for name in ALIKE:
            family.put(name, offered.get(f"{family.name}/{name}", ()))
    family.pay()
    return True


def _smallest(family: Family) -> bool:
    """Leave one size and the usual of everything else; False where nothing fits.

    A cut whose arrays another family pays for comes first, then the usual one, which is declared first.
    """
    for name in ("normalization", "backbone"):
        family.put(name, family.at(name)[:1])
    cuts, copies = family.at("cut") or ("",), family.at("augmentation_copies")
    counts = sorted((int(count) for count in copies), reverse=True) or [0]
    edges = sorted((int(edge) for edge in family.at("image_size")), reverse=True)
    enough = [count for count in counts if count >= 2]
    few = [count for count in counts if count < 2]
    sizes = [*itertools.product(edges, enough), *((edge, count) for count in few for edge in edges)]
    for paid in (True, False):
        for cut, (edge, most) in itertools.product(cuts, sizes):
            family.put("cut", (cut,))
            family.put("image_size", (edge,))
            family.put("augmentation_copies", [count for count in copies if int(count) <= most])
            if not family.needed() if paid else family.affordable:
                return True
    return False
