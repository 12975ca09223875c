"""An ONNX network with its preprocessing and its answer's arithmetic put around it, as nodes of the same graph."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, compose, helper, numpy_helper

from ...crops import normalised_by
from ...labels import CLASSES, LABELS, VALUES
from ...weights.records import NetworkInput
from .golden import LUMA

__all__ = ["ANSWERS", "Graph", "combined_networks", "resizing", "with_metadata", "with_preprocessing"]

_OPSET = 13  # the first in which axes are inputs


class Graph:
    """Nodes in the order of their making."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: Any, kind: type = np.float32) -> str:
        name = f"ferkit_constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, kind), name))
        return name

    def __call__(self, op: str, *inputs: str, out: str | None = None, **attributes: Any) -> str:
        out = out or f"ferkit_{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [out], name=f"ferkit_{len(self.nodes)}", **attributes))
        return out


ANSWERS = {CLASSES: ("logits", "probabilities"), LABELS: ("logits", "probabilities"), VALUES: ("values",)}  # the outputs' names


def with_preprocessing(network: bytes, input_: NetworkInput, mix: NDArray[np.float32], kind: str = CLASSES) -> bytes:
    """Return a network that takes uint8 RGB pictures ``(n, H, W, 3)`` named ``image``.

    Args:
        network: ONNX, float32 ``(n, 1, window, window)`` to raw outputs ``(n, columns)``.
        input_: The spec's ``input``: ``size``, ``window``, ``mean``, ``std``.
        mix: ``(columns, k)``, from raw outputs to calibrated logits.
        kind: Of the answers.

    Returns:
        ONNX with the outputs ``logits`` and ``probabilities``, their softmax, or of several labels their sigmoid; of values with the output
        ``values``. All are float32 ``(n, k)``.
    """
    # Its own names may be those of the answer: a network's raw outputs are called logits too.
    model = compose.add_prefix(onnx.load_from_string(network), "network/")
    inner_in, inner_out, inner = model.graph.input[0].name, model.graph.output[0].name, list(model.graph.node)
    before, after = Graph(), Graph()
    _prepare(before, input_, inner_in)
    after.constants = before.constants  # one numbering
    columns = after("Reshape", inner_out, after.constant([-1, mix.shape[0]], np.int64), out="ferkit_columns")
    answer = after("MatMul", columns, after.constant(mix), out=ANSWERS[kind][0])
    if kind != VALUES:
        after("Softmax" if kind == CLASSES else "Sigmoid", answer, out="probabilities", **({"axis": -1} if kind == CLASSES else {}))
    for number, node in enumerate(after.nodes):
        node.name = f"ferkit_answer_{number}"

    del model.graph.node[:], model.graph.input[:], model.graph.output[:]
    model.graph.node.extend([*before.nodes, *inner, *after.nodes])
    model.graph.initializer.extend(before.constants)
    model.graph.input.append(helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", "height", "width", 3]))
    for name in ANSWERS[kind]:
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", mix.shape[1]]))
    opset = next(entry for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    opset.version = max(opset.version, _OPSET)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def combined_networks(networks: Sequence[bytes], weights: Sequence[float], combine: str, temperature: float) -> bytes:
    """Return one network of several that take the same ``image``, as an ensemble combines them.

    Args:
        networks: As ``with_preprocessing`` returns them, with the same labels in the same order.
        weights: What each counts, 1 in all.
        combine: ``"probability"`` or ``"logit"``.
        temperature: Divides the combined logarithms.
    """
    models = [compose.add_prefix(onnx.load_from_string(network), f"member{number}/") for number, network in enumerate(networks)]
    before, after, parts = Graph(), Graph(), []
    for number, weight in enumerate(weights):
        before("Identity", "image", out=f"member{number}/image")
        answer = f"member{number}/probabilities"
        if combine == "logit":
            answer = after("Log", after("Max", answer, after.constant(1e-30)))
        parts.append(after("Mul", answer, after.constant(weight)))
    total = after("Sum", *parts)
    scores = total if combine == "logit" else after("Log", after("Max", total, after.constant(1e-30)))
    after("Softmax", after("Div", scores, after.constant(temperature), out="logits"), out="probabilities", axis=-1)
    for number, node in enumerate((*before.nodes, *after.nodes)):
        node.name = f"ferkit_ensemble_{number}"
    first = models[0]
    outputs = [onnx.ValueInfoProto.FromString(output.SerializeToString()) for output in first.graph.output]
    nodes = [*before.nodes, *(node for model in models for node in model.graph.node), *after.nodes]
    stored = [*(tensor for model in models for tensor in model.graph.initializer), *after.constants]
    given = helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", "height", "width", 3])
    for output, name in zip(outputs, ("logits", "probabilities"), strict=True):
        output.name = name
    graph = helper.make_graph(nodes, "ferkit_ensemble", [given], outputs, stored)
    opset = max(entry.version for model in models for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    made.ir_version = max(model.ir_version for model in models)
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString())


def with_metadata(network: bytes, facts: Mapping[str, Any]) -> bytes:
    """Return a network that says of itself what it is: ``metadata_props``, each value text or JSON, with the keys ``ferkit.NAME``."""
    model = onnx.load_from_string(network)
    texts = {f"ferkit.{name}": value if isinstance(value, str) else json.dumps(value) for name, value in facts.items()}
    helper.set_model_props(model, texts)
    model.producer_name = "ferkit"
    return bytes(model.SerializeToString())


def _prepare(g: Graph, input_: NetworkInput, out: str) -> None:
    size, window = input_["size"], input_.get("window", input_["size"])
    luma = g.constant(np.array(LUMA)[:, None])
    grey = g("Squeeze", g("MatMul", g("Cast", "image", to=TensorProto.FLOAT), luma), g.constant([-1], np.int64))
    grey = _rounded(g, grey)
    shape = g("Cast", g("Shape", "image"), to=TensorProto.FLOAT)
    height, width = (g("Gather", shape, g.constant(axis, np.int64), axis=0) for axis in (1, 2))
    shrink = g("GreaterOrEqual", g("Min", height, width), g.constant(size))
    tall = g("MatMul", resizing(g, height, shrink, size), grey)
    face = _rounded(g, g("MatMul", tall, g("Transpose", resizing(g, width, shrink, size), perm=[1, 0])))
    start = (size - window) // 2
    first, last, axes = (g.constant(value, np.int64) for value in ([start] * 2, [start + window] * 2, [1, 2]))
    seen = g("Slice", face, first, last, axes)
    scaled = normalised_by(_Arithmetic, _Array(g, seen, window**2), input_)
    g("Unsqueeze", scaled.name, g.constant([1], np.int64), out=out)


class _Array:
    """Faces ``(n, window, window)`` in a graph, as what a formula can be written with."""

    ndim = 3

    def __init__(self, graph: Graph, name: str, pixels: int) -> None:
        self.graph, self.name, self.pixels = graph, name, pixels

    def _with(self, op: str, other: _Array | float) -> _Array:
        return _Array(
            self.graph, self.graph(op, self.name, other.name if isinstance(other, _Array) else self.graph.constant(other)), self.pixels
        )

    def __sub__(self, other: _Array | float) -> _Array:
        return self._with("Sub", other)

    def __mul__(self, other: _Array | float) -> _Array:
        return self._with("Mul", other)

    def __truediv__(self, other: _Array | float) -> _Array:
        return self._with("Div", other)


class _Arithmetic:
    """The functions of such arrays that a formula may need."""

    @staticmethod
    def mean(values: _Array, axis: tuple[int, ...], keepdims: bool) -> _Array:
        # The axes of ReduceMean are an attribute in some opsets and an input in others; those of ReduceSum are not.
        g = values.graph
        total = g("ReduceSum", values.name, g.constant(axis, np.int64), keepdims=int(keepdims))
        return _Array(g, total, values.pixels) / float(values.pixels)

    @classmethod
    def std(cls, values: _Array, axis: tuple[int, ...], keepdims: bool) -> _Array:
        off = values - cls.mean(values, axis, True)
        variance = cls.mean(off * off, axis, keepdims)
        return _Array(values.graph, values.graph("Sqrt", variance.name), values.pixels)

    @staticmethod
    def maximum(values: _Array, least: float) -> _Array:
        return values._with("Max", least)


def _rounded(g: Graph, value: str) -> str:
    return g("Floor", g("Add", value, g.constant(0.5)))


def resizing(g: Graph, length: str, shrink: str | None, size: int | str) -> str:
    """Add the matrix ``(size, length)`` that resizes one axis: shares of area if ``shrink``, or where that is None, else bilinear weights."""
    one, zero, half = g.constant(1), g.constant(0), g.constant(0.5)
    if isinstance(size, str):
        count, row = size, g("Unsqueeze", g("Range", zero, size, one), g.constant([1], np.int64))
    else:
        count, row = g.constant(size), g.constant(np.arange(size)[:, None])
    step = g("Div", length, count)
    column = g("Unsqueeze", g("Range", zero, length, one), g.constant([0], np.int64))
    end = g("Min", g("Add", column, one), g("Mul", g("Add", row, one), step))
    overlap = g("Sub", end, g("Max", column, g("Mul", row, step)))
    areas = g("Div", g("Max", overlap, zero), step)
    if shrink is None:
        return areas
    sample = g("Sub", g("Mul", g("Add", row, half), step), half)
    sample = g("Min", g("Max", sample, zero), g("Sub", length, one))
    linear = g("Max", g("Sub", one, g("Abs", g("Sub", sample, column))), zero)
    return g("Where", shrink, areas, linear)
