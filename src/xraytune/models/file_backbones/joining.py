"""One ONNX graph of pixels, a backbone by file and the head on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from xraytune.errors import FatalError
from xraytune.models.file_backbones.backbone import FileBackbone


def join(about: FileBackbone, channels: int, backbone: Path, head: Path, path: Path) -> None:
    """Write images `(n, s, s, channels)`, pixel values 0–255, to probabilities as one ONNX file.

    Args:
        about: the backbone.
        channels: of the images.
        backbone: its ONNX file; of a Keras backbone its export.
        head: the exported head, which takes its features.
        path: to write to.

    Raises:
        FatalError: the graphs can't be joined.
    """
    import onnx
    from onnx import compose, version_converter

    try:
        parts = [onnx.load(backbone), onnx.load(head)]
        version = max(_version(part) for part in parts)
        parts = [p if _version(p) == version else version_converter.convert_version(p, version) for p in parts]
        first, second = (compose.add_prefix(p, f"{n}/") for p, n in zip(parts, ("backbone", "head"), strict=True))
        for part in (first, second):
            part.ir_version = max(first.ir_version, second.ir_version)
        outer, inner = _input(second), _input(first)
        taken = f"backbone/{about.output}" if about.is_onnx else first.graph.output[0].name
        joined = compose.merge_models(
            _around(first, about, channels, inner, taken), second, io_map=[("features", outer)], outputs=[
                one.name for one in second.graph.output
            ],
        )  # fmt: skip
        onnx.checker.check_model(joined)
        onnx.save(joined, path)
    except FatalError:
        raise
    except Exception as error:  # whatever onnx can't join or convert
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise FatalError(f"The backbone {about.name} and its head can't be joined in ONNX: {why}") from None


def _version(model: Any) -> int:
    """Of ONNX's own operators, as a model uses them."""
    return max(int(one.version) for one in model.opset_import if one.domain in {"", "ai.onnx"})


def _input(model: Any) -> str:
    held = {tensor.name for tensor in model.graph.initializer}
    return str(next(one.name for one in model.graph.input if one.name not in held))


def _around(model: Any, about: FileBackbone, channels: int, inner: str, taken: str) -> Any:
    """The backbone with what stands before it (pixels to its input) and behind it (its output to a map)."""
    from onnx import TensorProto, helper, numpy_helper

    matrix, offset = about.mixing(channels)
    turned, is_map = about.layout == "nchw", taken
    mixed = "mixed" if turned else inner
    nodes = [
        helper.make_node("MatMul", ["pixels", "matrix"], ["scaled"]),
        helper.make_node("Add", ["scaled", "offset"], [mixed]),
    ]
    if turned:
        nodes.append(helper.make_node("Transpose", ["mixed"], [inner], perm=[0, 3, 1, 2]))
    rank = next(len(one.type.tensor_type.shape.dim) for one in model.graph.output if one.name == taken)
    behind = []
    if rank == 4 and turned:
        behind.append(helper.make_node("Transpose", [taken], ["map"], perm=[0, 2, 3, 1]))
        is_map = "map"
    behind.append(helper.make_node("Reshape", [is_map, "shape"], ["features"]))
    size = about.image_size
    graph = helper.make_graph(
        [*nodes, *model.graph.node, *behind],
        "backbone",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", size, size, channels])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", *about.features])],
        [
            *model.graph.initializer,
            numpy_helper.from_array(matrix, "matrix"),
            numpy_helper.from_array(offset, "offset"),
            numpy_helper.from_array(np.array([-1, *about.features], np.int64), "shape"),
        ],
        sparse_initializer=list(model.graph.sparse_initializer),
    )
    return helper.make_model(
        graph, opset_imports=list(model.opset_import), functions=list(model.functions), ir_version=model.ir_version
    )
