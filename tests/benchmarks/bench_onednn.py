"""What `TF_ENABLE_ONEDNN_OPTS` does on one core: `xraytune` sets it, TensorFlow alone only where there is VNNI or AMX.

Where the processor has these, TensorFlow's default is the same and only its being switched off is measured.
"""

from __future__ import annotations

from functools import partial

from tests.benchmarks.harness import Benchmark, in_process

STEP = """
import sys, time
import keras_tuner, numpy as np
import spaces
from tests.inputs.made_networks import config
from xraytune.training.machine import configure_threads
from xraytune.training.optimization.compiling import compile_network
from xraytune.training.optimization.fused_batch_norm import fuse
from xraytune.training.optimization.settings import TrainingSettings
configure_threads(1)
family = sys.argv[1]
space = spaces.get("chest_xray", spaces.SpaceContext(families=(family,)))
point = config(space, family=family, **{f"{family}/image_size": 64})
hp = keras_tuner.HyperParameters(); hp.values = dict(point.values)
network = space.build(hp)
fuse(network)
compile_network(network, TrainingSettings.of(point.values))
x = np.random.default_rng(0).integers(0, 255, (32, 64, 64, 1)).astype(np.uint8)
y = np.eye(2, dtype=np.float32)[np.arange(32) % 2]
network.train_on_batch(x, y)
began = time.perf_counter()
for _ in range(16):
    network.train_on_batch(x, y)
print((time.perf_counter() - began) / 16)
"""

PREFIX = """
import keras, numpy as np
from xraytune.models.cost import cost
from xraytune.training.machine import milliseconds_an_image
network = keras.applications.VGG16(include_top=False, weights=None, input_shape=(64, 64, 3))
x = np.random.default_rng(0).integers(0, 255, (32, 64, 64, 3)).astype(np.uint8)
point = {"family": "vgg_frozen", "vgg_frozen/backbone": "vgg16", "vgg_frozen/image_size": 64,
         "vgg_frozen/cut": "block5_pool"}
print(cost(point).prefix / milliseconds_an_image(network, x) / 1e6)
"""


def _sides(code: str, *arguments: str) -> tuple[partial[float], partial[float]]:
    return (
        partial(in_process, code, *arguments, TF_ENABLE_ONEDNN_OPTS="1"),
        partial(in_process, code, *arguments, TF_ENABLE_ONEDNN_OPTS="0"),
    )


def benchmarks() -> list[Benchmark]:
    """The three of this module."""
    cnn, densenet, prefix = _sides(STEP, "cnn"), _sides(STEP, "densenet"), _sides(PREFIX)
    return [
        Benchmark("onednn.cnn_step", "s", "lower", *cnn, "a step of cnn at 64 px with oneDNN, against without"),
        Benchmark("onednn.densenet_step", "s", "lower", *densenet, "the same for densenet"),
        Benchmark("onednn.vgg16_prefix", "Gop/s", "higher", *prefix, "the same for VGG16's forward pass at 64 px"),
    ]
