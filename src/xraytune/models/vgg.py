"""Families `vgg_frozen` and `vgg_finetuned`: VGG16 or VGG19 from ImageNet, cut at a searched layer.

What they are. VGG's 3 × 3 convolutions up to `block3_pool`, `block4_pool` or `block5_pool`, and a head. `vgg_frozen`
trains the head alone; `vgg_finetuned` trains the head first and then, at a lower rate, the last one or two blocks too.

What they cost. VGG16 forward takes 23 s a hundred images at 224 px on two cores, 7 s at 128 px, 0.6 s at 48 px. What
never trains is therefore computed once (`xraytune.training.inputs.frozen_features`) and a trial trains only what is
left: a frozen trial then costs as little as `dense`; a fine-tuned one pays for the last block, three times (forward and
both gradients).

Where they come from. Simonyan & Zisserman 2014; the weights are the Oxford group's (CC BY 4.0). Published on this data
set: the recipes `vgg19_frozen_cnn`, `vgg19_frozen_new_cnn` and `vgg16_gap128`; Doerrich et al. 2024 report 89.3 % for
VGG16 end to end at 64 px.

What to expect. block4_pool is better than block5_pool with few images, whose last layers know ImageNet's objects and no
better than random weights here; so the cut is searched. All layers of a frozen VGG are convolutions, ReLU and pooling:
there is no batch normalisation to keep in inference.

Values: `<family>/backbone`, `<family>/image_size`, `<family>/normalization`, `<family>/cut`, the head's; and
`vgg_finetuned/trained_blocks`, `vgg_finetuned/head_epochs`, `vgg_finetuned/rate_factor`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from xraytune.framework import keras
from xraytune.models import backbones, heads, inputs
from xraytune.models.family import Family
from xraytune.records import Value

SIZES = (48, 64, 96, 128, 160, 224)
CUTS = ("block4_pool", "block3_pool", "block5_pool")
"""The best with few images first: it is what stays when time is short."""


def network(values: Mapping[str, Value], channels: int, classes: int, weights: Mapping[str, str | Path]) -> keras.Model:
    """The network, uncompiled: pixels `(n, size, size, channels)` in, softmax `(n, classes)` out.

    Raises:
        WeightsError: the backbone's file is missing, damaged or another network's.
    """
    family = str(values["family"])
    name, cut = str(values[f"{family}/backbone"]), str(values[f"{family}/cut"])
    start = inputs.pixels(int(values[f"{family}/image_size"]), channels)
    x = inputs.for_backbone(start, str(values[f"{family}/normalization"]), "caffe")
    base = backbones.body(name, x, weights)
    last = int(cut.removeprefix("block").removesuffix("_pool"))
    trained = int(values[f"{family}/trained_blocks"]) if family == "vgg_finetuned" else 0
    thawed = {f"block{i}_" for i in range(last - trained + 1, last + 1)}
    for layer in base.layers:
        layer.trainable = any(layer.name.startswith(prefix) for prefix in thawed)
    return keras.Model(start, heads.head(base.get_layer(cut).output, values, classes), name=family)


FROZEN = Family(SIZES, network, efficiency=0.9, trace_seconds=2.5)
FINETUNED = Family(SIZES, network, efficiency=0.7, trace_seconds=4.0)
