"""What a point of the space costs: arithmetic per image, and from it seconds on this machine.

Used on the driver, before any network exists, to narrow a space to the time asked (`spaces.narrowing.narrow`) and to
leave out recipes that can't fit. Operations are counted layer by layer; how near a family comes to the machine's matrix
multiplication is a factor measured on two cores (VGG's forward pass is at that limit, DenseNet121 at 70 %; a step's
backward pass and many small layers take more). Estimates are within a factor of two, which is what narrowing needs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from xraytune import hardware
from xraytune.models import BY_NAME, FAMILIES
from xraytune.models.densenet import GROWTH, VARIANTS
from xraytune.models.heads import operations as _head
from xraytune.models.weight_files import VGG_CONVOLUTIONS
from xraytune.records import Value

EFFICIENCY = {name: family.efficiency for name, family in BY_NAME.items()}
"""Share of the machine's matrix-multiplication rate that a training step reaches."""

BY_FILE = "file"
PREFIX_EFFICIENCY = {"vgg": 0.9, "densenet": 0.7, BY_FILE: 0.6}
"""The same of a frozen backbone's forward pass, measured on one core at 64 px; of one by file, whatever it is, below
both."""

STEP_SECONDS = 0.004
"""Keras's own time a step, whatever the network (measured, Keras 3.15 on TensorFlow)."""

TRACE_SECONDS = {name: family.trace_seconds for name, family in BY_NAME.items()}
TRACE_SECONDS_A_CONVOLUTION = 0.25
"""Tracing and optimising a DenseNet's graph: half a minute for DenseNet121's hundred and twenty convolutions."""

SMALLEST_EPOCH = 256
"""Images an epoch has at least: eight steps of 32, enough for a value that says something."""

GPU_RATE = 5e12
"""Operations a second taken for an accelerator: a few per cent of what it can, as small networks reach it."""


VGG_FILTERS = (64, 128, 256, 512, 512)
"""Of each of VGG's blocks (Simonyan & Zisserman 2014, table 1)."""


CLOCK = 2.5e9
"""Cycles a second taken for a processor core: what most servers and laptops sustain under load."""

OPERATIONS_A_CYCLE = {"avx512f": 64, "avx2": 32, "asimd": 16}
"""Single-precision operations a cycle of a core with these instructions: two multiply-adds on whole registers."""

PLAIN_OPERATIONS_A_CYCLE = 8
REACHED = 0.6
"""Share of that which a matrix multiplication reaches on one core, at least."""

FORWARD = {"avx512f": 1.0, "avx2": 1.85}
"""How much more of it the forward pass of a large backbone reaches: VGG16 at 48 px computes 86 billion operations a
second on one core with AVX2 (AMD EPYC, 2.45 GHz), as many as with AVX-512, where training is faster."""


@dataclass(frozen=True)
class Machine:
    """How fast one worker is."""

    rate: float
    """Single-precision operations a second of one worker at matrix multiplication."""

    workers: int
    """Trials at a time."""

    accelerator: bool = False

    forward: float = 1.0
    """How much faster a frozen backbone computes than `rate`."""


def this_machine() -> Machine:
    """This machine by its processor's instructions, without timing anything."""
    if gpus := hardware.gpus():
        return Machine(GPU_RATE, gpus, accelerator=True)
    able = hardware.instructions()
    kind = next((name for name in OPERATIONS_A_CYCLE if name in able), "")
    rate = REACHED * OPERATIONS_A_CYCLE.get(kind, PLAIN_OPERATIONS_A_CYCLE) * CLOCK
    return Machine(rate, hardware.cores(), forward=FORWARD.get(kind, 1.0))


@dataclass(frozen=True)
class Cost:
    """One configuration's cost."""

    prefix: float
    """Operations an image in layers that never train: once a copy, not once an epoch."""

    train: float
    """Operations an image of one training step: forward, and twice that again where gradients go."""

    trace: float
    """Seconds until the first step runs."""

    family: str

    kept: float = 0
    """Bytes an image of a copy of the prefix takes on disk, as float16."""

    backbone: str = ""

    def epoch_seconds(self, machine: Machine, images: int, batch_size: int = 32) -> float:
        """Seconds an epoch of `images` takes one worker."""
        steps = max(images // batch_size, 1)
        return images * self.train / (machine.rate * EFFICIENCY[self.family]) + steps * STEP_SECONDS

    def epoch_images(self, budget: float) -> int:
        """Images that fit an epoch of `budget` operations at the rate of matrix multiplication; a multiple of 64."""
        each = self.train / EFFICIENCY[self.family]
        return max(int(budget / max(each, 1.0)) // 64 * 64, SMALLEST_EPOCH)

    def prefix_seconds(self, machine: Machine, images: int) -> float:
        """Seconds until one copy of the prefix is there, if one worker computes it alone."""
        kind = self.backbone.rstrip("0123456789")
        if not self.prefix:
            return 0.0
        return images * self.prefix / (machine.rate * machine.forward * PREFIX_EFFICIENCY[kind])

    def answer_seconds(self, machine: Machine, images: int) -> float:
        """Seconds of one worker to send so many images through the whole network."""
        behind = images * self.train / 3 / (machine.rate * EFFICIENCY[self.family])
        return self.prefix_seconds(machine, images) + behind


def cost(values: Mapping[str, Value]) -> Cost:
    """The cost of one point of the space.

    Raises:
        ValueError: the family is unknown.
    """
    family = str(values["family"])
    if f"{family}/gflop" in values:
        return _by_file(values, family)
    if family not in FAMILIES:
        raise ValueError(f"unknown family {family!r}: {', '.join(FAMILIES)}")
    if operations := BY_NAME[family].operations:
        return Cost(0, operations(values), TRACE_SECONDS[family], family)
    if family == "densenet":
        return _densenet(values)
    backbone = str(values[f"{family}/backbone"])
    blocks = _vgg_blocks(backbone, int(values[f"{family}/image_size"]))
    last = int(str(values[f"{family}/cut"])[5])
    trained = int(values.get(f"{family}/trained_blocks", 0))
    frozen = sum(blocks[: last - trained])
    ends = last - trained
    kept = 2.0 * (int(values[f"{family}/image_size"]) >> ends) ** 2 * VGG_FILTERS[ends - 1] if ends else 0.0
    edge = int(values[f"{family}/image_size"]) >> last
    trained_part = sum(blocks[ends:last]) + _head(values, edge, VGG_FILTERS[last - 1])
    return Cost(frozen, 3 * trained_part, TRACE_SECONDS[family], family, kept, backbone)


def _by_file(values: Mapping[str, Value], family: str) -> Cost:
    """A head on the features of a backbone by file, which says its operations and the shape of its features."""
    height, width, channels = map(int, str(values[f"{family}/features"]).split("x"))
    head = _head(values, round(math.sqrt(height * width)), channels)
    kept = 2.0 * height * width * channels
    operations = 1e9 * float(values[f"{family}/gflop"])
    return Cost(operations, 3 * head, TRACE_SECONDS["vgg_frozen"], "vgg_frozen", kept, BY_FILE)


def _vgg_blocks(backbone: str, size: int) -> list[float]:
    """Forward operations of each of the five blocks."""
    blocks, before = [], 3
    for count, filters in zip(VGG_CONVOLUTIONS[backbone], VGG_FILTERS, strict=True):
        blocks.append(size**2 * 18.0 * filters * (before + filters * (count - 1)))
        before, size = filters, size // 2
    return blocks


def _densenet(values: Mapping[str, Value]) -> Cost:
    scratch = values["densenet/mode"] == "scratch"
    variant = str(values["densenet/variant" if scratch else "densenet/backbone"])
    layers = VARIANTS[variant]
    size = -(-int(values["densenet/image_size"]) // 4)
    parts, channels, kept = [(2 * size) ** 2 * 2.0 * 49 * 3 * 64], 64, [0.0]
    maps = [(size, channels)]
    for number, count in enumerate(layers):
        block = 0.0
        for _ in range(count):
            block += size**2 * 2.0 * (channels * 4 * GROWTH + 9 * 4 * GROWTH * GROWTH)
            channels += GROWTH
        if number < 3:
            block += size**2 * channels**2
            channels, size = channels // 2, size // 2
        parts.append(block)
        kept.append(2.0 * size**2 * channels)
        maps.append((size, channels))
    trace = TRACE_SECONDS_A_CONVOLUTION * 2 * sum(layers)
    if scratch:
        return Cost(0, 3 * (sum(parts) + _head(values, *maps[4])), trace, "densenet")
    if values["densenet/mode"] == "last_block":
        trace = TRACE_SECONDS_A_CONVOLUTION * 2 * layers[3]
        trained = parts[4] + _head(values, *maps[4])
        return Cost(sum(parts[:4]), 3 * trained, trace, "densenet", kept[3], variant)
    deepest = {"pool3": 3, "pool4": 4, "top": 5}[str(values["densenet/cut"])]
    head = _head(values, *maps[deepest - 1])
    return Cost(sum(parts[:deepest]), 3 * head, TRACE_SECONDS["densenet"], "densenet", kept[deepest - 1], variant)
