"""Refuse what can't train before anything is computed: a network that does not fit the images, too few of them."""

from __future__ import annotations

import numpy as np

from xraytune.errors import TrialError
from xraytune.framework import keras
from xraytune.models.file_backbones.network import Joined
from xraytune.records import FailureCause
from xraytune.training.inputs import batches
from xraytune.training.inputs.trial_data import TrialData
from xraytune.training.optimization.settings import TrainingSettings


def check(model: keras.Model | Joined, plan: TrainingSettings, data: TrialData) -> None:
    """Whether the network can be trained on the data by the plan.

    Args:
        model: the built network, with its backbone where that is a file.
        plan: how it is to be trained.
        data: on what.

    Raises:
        TrialError: `bad_config`, with what does not fit.
    """
    bad = FailureCause.BAD_CONFIG
    height, width, channels = model.input_shape[1:]
    if height != width or height not in data.pools:
        sizes = ", ".join(map(str, sorted(data.pools)))
        raise TrialError(bad, f"the network takes {height} × {width} px; images are available at {sizes} px")
    if channels != data.channels:
        raise TrialError(bad, f"the network takes {channels} channels, the images have {data.channels}")
    outputs = model.output_shape[-1]
    if outputs != len(data.classes) and not (outputs == 1 and len(data.classes) == 2):
        raise TrialError(bad, f"the network has {outputs} outputs for {len(data.classes)} classes")
    share = min(batches.epoch_size(len(data.train), plan.epoch_images), len(data.train))
    if plan.batch_size > share:
        raise TrialError(bad, f"a batch of {plan.batch_size} is larger than the {share} images of an epoch")
    counts = np.bincount(data.labels[data.train], minlength=len(data.classes))
    if counts.min() < 2:
        name = data.classes[int(counts.argmin())]
        raise TrialError(bad, f"class {name} has {counts.min()} training images; at least 2 are needed")
