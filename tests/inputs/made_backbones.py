"""Small backbones as files: two convolutions from seeded weights, in ONNX and in Keras's format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE, FEATURES = 32, 6


def onnx_backbone(
    path: Path,
    *,
    kind: str = "map",
    layout: str = "nchw",
    channels: int = 3,
    dims: tuple[Any, ...] = (),
    metadata: str = "",
    seed: int = 0,
    change: Any = None,
) -> Path:
    """Write one.

    Args:
        path: to write to.
        kind: of its output: `map` (16 × 16 × 6), `tokens` (256, 6) or `vector` (6).
        layout: of its input.
        channels: of its input.
        dims: of its input, where it is not a dynamic batch of `SIZE` px.
        metadata: its settings.
        seed: of its weights.
        change: called with the model before it is written.
    """
    rng = np.random.default_rng(seed)
    kernel = rng.normal(0, 0.3, (FEATURES, channels, 3, 3)).astype(np.float32)
    nodes = [helper.make_node("Conv", ["image", "kernel"], ["c"], strides=[2, 2], pads=[1, 1, 1, 1])]
    if layout == "nhwc":
        nodes[0].input[0] = "turned"
        nodes.insert(0, helper.make_node("Transpose", ["image"], ["turned"], perm=[0, 3, 1, 2]))
    nodes.append(helper.make_node("Relu", ["c"], ["map"]))
    constants = [numpy_helper.from_array(kernel, "kernel")]
    edge = SIZE // 2
    shape: list[Any] = ["n", FEATURES, edge, edge]
    if kind == "map" and layout == "nhwc":
        nodes.append(helper.make_node("Transpose", ["map"], ["out"], perm=[0, 2, 3, 1]))
        shape = ["n", edge, edge, FEATURES]
    elif kind == "map":
        nodes.append(helper.make_node("Identity", ["map"], ["out"]))
    elif kind == "tokens":
        constants.append(numpy_helper.from_array(np.array([0, FEATURES, -1]), "shape"))
        nodes.append(helper.make_node("Reshape", ["map", "shape"], ["rows"]))
        nodes.append(helper.make_node("Transpose", ["rows"], ["out"], perm=[0, 2, 1]))
        shape = ["n", edge * edge, FEATURES]
    else:
        nodes.append(helper.make_node("GlobalAveragePool", ["map"], ["mean"]))
        nodes.append(helper.make_node("Flatten", ["mean"], ["out"]))
        shape = ["n", FEATURES]
    usual = ("n", channels, SIZE, SIZE) if layout == "nchw" else ("n", SIZE, SIZE, channels)
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, list(dims or usual))],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, shape)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    if metadata:
        helper.set_model_props(model, {"xraytune.input": metadata})
    if change:
        change(model)
    onnx.save(model, path)
    return path


def keras_backbone(path: Path, *, channels: int = 3, layers: Any = (), first: Any = ()) -> Path:
    """Write one whose features are a map of 16 × 16 × 6.

    Args:
        path: to write to.
        channels: of its input.
        layers: more of them, at its end.
        first: more of them, at its beginning.
    """
    import keras

    keras.utils.set_random_seed(1)
    body = [keras.layers.Conv2D(FEATURES, 3, strides=2, padding="same", activation="relu"), *layers]
    model = keras.Sequential([keras.Input((SIZE, SIZE, channels)), *first, *body])
    model.save(path)
    return path
