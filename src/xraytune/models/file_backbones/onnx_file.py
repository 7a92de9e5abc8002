"""An ONNX file of a backbone: refused where it could do more than compute features, and read where it can't.

A received file is data. It must be whole (its weights inside), use ONNX's own operators alone, and take one square
image of a known size. ONNX Runtime then runs it on zeros, which gives the shape of its features.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from xraytune.errors import InputError
from xraytune.models.file_backbones.backbone import COLOURS, ONNX_EXTRA, InputSettings, settings

METADATA = "xraytune.input"
"""The entry of a file's metadata that says how its input is made, as `--backbone-input` would."""

STANDARD = frozenset({"", "ai.onnx", "ai.onnx.ml"})
"""Domains of ONNX's own operators."""


def session(content: bytes, where: str) -> Any:
    """A model's bytes in ONNX Runtime, on the CPU, with as many threads as this process was given.

    Raises:
        InputError: ONNX Runtime is missing, or can't load it.
    """
    try:
        import onnxruntime
    except ImportError:
        raise InputError(ONNX_EXTRA) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ.get("XRAYTUNE_THREADS", "0"))
    options.log_severity_level = 3  # what it warns of is how a file was exported
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own classes, which differ between builds
        raise InputError(f"{where}: ONNX Runtime can't load it: {_first_line(error)}") from None


def checked(path: Path, content: bytes) -> Any:
    """A file's model, which does nothing but compute.

    Raises:
        InputError: it is damaged, or refused: with weights in other files or operators that are not ONNX's own.
    """
    try:
        import onnx
    except ImportError:
        raise InputError(ONNX_EXTRA) from None
    try:
        model = onnx.load_from_string(content)
    except Exception as error:  # protobuf's own class
        raise InputError(f"{path}: damaged, or no ONNX file ({_first_line(error)}).") from None
    _refuse(model, path)
    return model


def read(path: Path, content: bytes, asked: InputSettings) -> tuple[InputSettings, tuple[int, ...], float]:
    """What a file says and computes.

    Args:
        path: for messages.
        content: of the file.
        asked: settings that the user gave.

    Returns:
        All settings but the normalisation, which may be unknown; the shape of an image's output; operations an image.

    Raises:
        InputError: it can't be used; the message says what to change.
    """
    model = checked(path, content)
    written = {entry.key: entry.value for entry in model.metadata_props}
    asked = asked.completed(settings(written.get(METADATA, ""), f"{path}, {METADATA} of its metadata"))
    one, output = _input(model, path), _output(model, path, asked.output)
    layout, colours, size = _shape(one, path, asked)
    found = InputSettings(size, colours, layout, asked.normalization, output)
    shape = _output_shape(content, found, path)
    return found, shape, _operations(model, found)


def _refuse(model: Any, path: Path) -> None:
    """Refuse weights in other files and operators that are not ONNX's own, in branches and functions too.

    Raises:
        InputError: which.
    """
    outside, foreign, local = set(), set(), {(f.domain, f.name) for f in model.functions}
    for node in _nodes(model):
        if node.domain not in STANDARD and (node.domain, node.op_type) not in local:
            foreign.add(f"{node.domain}.{node.op_type}")
    for tensor in _tensors(model):
        if tensor.external_data or tensor.data_location:
            outside |= {entry.value for entry in tensor.external_data if entry.key == "location"} or {"another file"}
    if outside:
        raise InputError(
            f"{path}: its weights are in other files ({', '.join(sorted(outside)[:2])}). Save it as one file: "
            "onnx.save(onnx.load(OLD), NEW)"
        )
    if foreign:
        raise InputError(
            f"{path}: it needs operators outside the ONNX standard ({', '.join(sorted(foreign)[:3])}). Export it "
            "without them."
        )


def _graphs(graph: Any) -> Iterator[Any]:
    yield graph
    for node in graph.node:
        yield from _inside(node)


def _inside(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            yield from _graphs(inner)


def _nodes(model: Any) -> Iterator[Any]:
    for graph in _all_graphs(model):
        yield from graph.node


def _all_graphs(model: Any) -> Iterator[Any]:
    """Graphs and bodies of functions: what has nodes."""
    yield from _graphs(model.graph)
    for function in model.functions:
        yield function
        for node in function.node:
            yield from _inside(node)


def _tensors(model: Any) -> Iterator[Any]:
    for graph in _all_graphs(model):
        yield from getattr(graph, "initializer", ())
        for sparse in getattr(graph, "sparse_initializer", ()):
            yield from (sparse.values, sparse.indices)
    for node in _nodes(model):
        for attribute in node.attribute:
            yield from (*([attribute.t] if attribute.HasField("t") else []), *attribute.tensors)
            held = [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
            for sparse in (*held, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)


def _input(model: Any, path: Path) -> Any:
    """The one image that it takes."""
    held = {tensor.name for tensor in model.graph.initializer}
    inputs = [one for one in model.graph.input if one.name not in held]
    if len(inputs) != 1:
        names = ", ".join(one.name for one in inputs)
        raise InputError(f"{path}: it has {len(inputs)} inputs ({names}); a backbone takes one, the image.")
    kind = inputs[0].type.tensor_type
    if kind.elem_type != 1 or len(kind.shape.dim) != 4:
        raise InputError(f"{path}: its input must be float32 with four axes (images), and is not.")
    if kind.shape.dim[0].HasField("dim_value"):
        raise InputError(
            f"{path}: it takes exactly {kind.shape.dim[0].dim_value} images at a time. Export it with a dynamic batch "
            "axis (torch.onnx.export: dynamic_axes)."
        )
    return inputs[0]


def _output(model: Any, path: Path, asked: str) -> str:
    names = [one.name for one in model.graph.output]
    if asked and asked not in names:
        raise InputError(f"{path}: it has no output {asked!r}: {', '.join(names)}.")
    if not asked and len(names) != 1:
        raise InputError(f"{path}: it has several outputs. Choose one: output= one of {', '.join(names)}.")
    return asked or names[0]


def _shape(one: Any, path: Path, asked: InputSettings) -> tuple[str, str, int]:
    """Layout, colours and size of the input, by its shape and by what is asked.

    Raises:
        InputError: they contradict each other, or don't say it.
    """
    dims = [dim.dim_value if dim.HasField("dim_value") else 0 for dim in one.type.tensor_type.shape.dim]
    shown = " × ".join(str(dim or "any") for dim in dims)
    layout = asked.layout
    if not layout:
        able = [name for name, at in (("nchw", 1), ("nhwc", 3)) if dims[at] in {1, 3}]
        if len(able) != 1:
            raise InputError(f"{path}: the input {shown} does not say its layout. Add nchw or nhwc to its settings.")
        layout = able[0]
    channels, edges = (dims[1], dims[2:]) if layout == "nchw" else (dims[3], dims[1:3])
    colours = asked.colours or {1: "gray", 3: "bgr" if asked.normalization == "caffe" else "rgb"}.get(channels, "")
    size = asked.size or (edges[0] if edges[0] == edges[1] else 0)
    if not colours:
        raise InputError(f"{path}: the input {shown} does not say its channels. Add gray, rgb or bgr to its settings.")
    if not size:
        raise InputError(f"{path}: the input {shown} has no fixed square size. Add it to its settings, like 224.")
    if channels not in {0, COLOURS[colours]} or any(edge not in {0, size} for edge in edges):
        raise InputError(f"{path}: it takes {shown}, and {size} px {colours} in {layout} was asked for.")
    return layout, colours, size


def blank(found: InputSettings, images: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Zeros of the shape that a backbone takes."""
    assert found.size is not None
    edges, channels = (found.size, found.size), (COLOURS[found.colours],)
    return np.zeros((images, *channels, *edges) if found.layout == "nchw" else (images, *edges, *channels), np.float32)


def _output_shape(content: bytes, found: InputSettings, path: Path) -> tuple[int, ...]:
    """The shape of one image's output, by running two images of zeros."""
    runtime = session(content, str(path))
    try:
        out = runtime.run([found.output], {runtime.get_inputs()[0].name: blank(found, 2)})[0]
    except Exception as error:  # onnxruntime's own classes
        raise InputError(f"{path}: it can't be run on images of {found.size} px: {_first_line(error)}") from None
    if not isinstance(out, np.ndarray) or out.dtype != np.float32 or out.ndim < 2 or len(out) != 2:
        raise InputError(f"{path}: its output {found.output!r} must be float32, one row an image.")
    return tuple(out.shape[1:])


def _operations(model: Any, found: InputSettings) -> float:
    """Operations an image in convolutions and matrix products, by the shapes that follow from the input's."""
    import onnx

    weights = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    one = next(i for i in fixed.graph.input if i.name not in weights)
    for dim, length in zip(one.type.tensor_type.shape.dim, blank(found, 1).shape, strict=True):
        dim.dim_value = length
    fixed.graph.ClearField("value_info")  # with the batch axis that was left open
    try:
        inferred = onnx.shape_inference.infer_shapes(fixed)
    except Exception:  # too large for protobuf, or an operator that can't be inferred
        inferred = fixed
    shapes = weights | {
        value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in (*inferred.graph.value_info, *inferred.graph.output, *inferred.graph.input)
    }
    counted = sum(_of_node(node, shapes) for node in inferred.graph.node)
    return float(max(counted, 2 * sum(math.prod(shape) for shape in weights.values())))


def _of_node(node: Any, shapes: dict[str, tuple[int, ...]]) -> int:
    out = shapes.get(node.output[0], ())
    if node.op_type == "Conv":
        kernel = shapes.get(node.input[1], ())
        return 2 * math.prod(kernel) * math.prod(out[2:]) if kernel and len(out) > 2 else 0
    if node.op_type in {"MatMul", "Gemm"}:
        first = shapes.get(node.input[0], ())
        turned = node.op_type == "Gemm" and any(a.name == "transA" and a.i for a in node.attribute)
        return 2 * math.prod(out) * first[0 if turned else -1] if first and out else 0
    return 0


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
