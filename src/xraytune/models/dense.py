"""Family `dense`: an image flattened into one to six dense layers.

What it is. Every pixel is an input of its own; nothing knows that two pixels are neighbours. It is the baseline that a
convolutional network has to beat, and the first thing a student trains.

What it costs. At 28 px a step is under a millisecond of arithmetic, at 96 px with 512 units 4.7 million weights and
about 10 ms on one core; hence its image sizes of 28–96 px. A whole trial on 5,000 images takes seconds.

Where it comes from. Multilayer perceptrons (Rosenblatt 1961; Rumelhart, Hinton & Williams 1986); on this data set the
`mlp5` and `dense_baseline` recipes. Batch normalisation: Ioffe & Szegedy 2015; dropout: Srivastava et al. 2014.

What to expect. On images that differ in exposure and position it learns silhouettes and brightness, so it is the family
that shortcuts tempt most: good on validation, worse on images of another machine.

Values: `dense/image_size`, `dense/normalization`, `dense/layers`, `dense/units`, `dense/dropout`, `dense/batch_norm`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from xraytune.framework import keras
from xraytune.models import heads, inputs
from xraytune.models.family import Family
from xraytune.records import Value

SIZES = (28, 48, 64, 96)


def network(values: Mapping[str, Value], channels: int, classes: int, _: Mapping[str, str | Path]) -> keras.Model:
    """The network, uncompiled: pixels `(n, size, size, channels)` in, softmax `(n, classes)` out."""
    x = start = inputs.pixels(int(values["dense/image_size"]), channels)
    x = inputs.normalized(x, str(values["dense/normalization"]))
    x = keras.layers.Flatten(name="flatten")(x)
    x = heads.dense_stack(
        x,
        int(values["dense/layers"]),
        int(values["dense/units"]),
        float(values["dense/dropout"]),
        bool(values["dense/batch_norm"]),
        "dense",
    )
    return keras.Model(start, heads.predictions(x, classes), name="dense")


def operations(values: Mapping[str, Value]) -> float:
    """Operations an image of one step."""
    size, units = int(values["dense/image_size"]), int(values["dense/units"])
    return 6.0 * units * (size**2 + units * (int(values["dense/layers"]) - 1))


DENSE = Family(SIZES, network, efficiency=0.3, trace_seconds=1.0, operations=operations)
