"""Networks as other makers would write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["onnx_network"]


def onnx_network(
    path: Path,
    *,
    side: int | str = 32,
    channels: int = 3,
    layout: str = "nchw",
    dtype: str = "float32",
    batch: int | str = 1,
    softmax: bool = True,
    answers: int = 1,
    external: str | None = None,
    scale: float = 1.0,
    seed: int = 0,
) -> Path:
    """Write a small network of three labels, whose answers depend on the order and the scale of the channels.

    ``scale`` keeps them from being all sure: 1 for pixels of 0-1, a hundredth for 0-255.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(seed)
    kernel = (scale * rng.normal(0, 0.5, (8, channels, 3, 3))).astype(np.float32)
    weights = rng.normal(0, 1, (8, 3)).astype(np.float32)
    stored = [numpy_helper.from_array(kernel, "kernel"), numpy_helper.from_array(weights, "weights")]
    if external is not None:
        raw = weights.tobytes()
        (path.parent / external).parent.mkdir(parents=True, exist_ok=True)
        (path.parent / external).write_bytes(b"\0" * 16 + raw)
        tensor = TensorProto(name="weights", data_type=TensorProto.FLOAT, dims=weights.shape, data_location=TensorProto.EXTERNAL)
        for key, value in (("location", external), ("offset", "16"), ("length", str(len(raw)))):
            tensor.external_data.add(key=key, value=value)
        stored[1] = tensor
    nodes, name = [], "picture"
    if dtype == "uint8":
        nodes.append(helper.make_node("Cast", [name], ["real"], to=TensorProto.FLOAT))
        name = "real"
    if layout == "nhwc":
        nodes.append(helper.make_node("Transpose", [name], ["planes"], perm=[0, 3, 1, 2]))
        name = "planes"
    nodes += [
        helper.make_node("Conv", [name, "kernel"], ["maps"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["maps"], ["positive"]),
        helper.make_node("GlobalAveragePool", ["positive"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["scores"]),
    ]
    out = "scores"
    if softmax:
        nodes.append(helper.make_node("Softmax", ["scores"], ["shares"], axis=1))
        out = "shares"
    shape = [batch, channels, side, side] if layout == "nchw" else [batch, side, side, channels]
    kind = TensorProto.UINT8 if dtype == "uint8" else TensorProto.FLOAT
    made: list[Any] = [helper.make_tensor_value_info(out, TensorProto.FLOAT, [batch, 3])]
    if answers > 1:
        made.insert(0, helper.make_tensor_value_info("flat", TensorProto.FLOAT, [batch, 8]))
    graph = helper.make_graph(nodes, "foreign", [helper.make_tensor_value_info("picture", kind, shape)], made, stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    path.write_bytes(model.SerializeToString())
    onnx.load_model_from_string(path.read_bytes())
    return path
