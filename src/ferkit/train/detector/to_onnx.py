"""The detector as an ONNX graph: channels first, batch normalisation folded away, any picture size.

Written layer by layer rather than by a converter: the graph then holds nothing but convolutions, ReLU, sums and nearest
upsampling, with no shape arithmetic, which is what lets every OpenCV run it at any size.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers, ops

__all__ = ["to_onnx"]

_OPSET = 13


def to_onnx(model: keras.Model) -> bytes:
    """Serialise a model of :func:`build_detector`.

    Returns:
        ONNX bytes: input ``image`` float32 ``(n, 3, H, W)``, H and W multiples of 32; outputs ``stride8`` and so on,
        float32 ``(n, 15, H / 8, W / 8)``.

    Raises:
        TypeError: A layer that this function does not know.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes: list[Any] = []
    weights: list[Any] = []
    names = {id(model.input): "image"}

    def constant(name: str, value: Any) -> str:
        weights.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    folded = _folded_normalisations(model)
    for number, layer in enumerate(model.layers):
        if isinstance(layer, layers.InputLayer):
            continue
        inputs = [names[id(t)] for t in (layer.input if isinstance(layer.input, list) else [layer.input])]
        # Keras numbers its layers through the process; these names depend on the network alone, as the file then does.
        output = layer.name if layer.name in model.output else f"n{number}"
        names[id(layer.output)] = output
        if isinstance(layer, layers.BatchNormalization):
            names[id(layer.output)] = inputs[0]
        elif isinstance(layer, (layers.Conv2D, layers.DepthwiseConv2D)):
            kernel, bias = _kernel(layer, folded.get(id(layer.output)))
            side, stride = layer.kernel_size[0], layer.strides[0]
            # Keras pads "same" at the end first; at stride 2 and even sizes that leaves the beginning bare.
            total = max(side - stride, 0)
            pads = [total // 2] * 2 + [total - total // 2] * 2
            group = kernel.shape[0] if isinstance(layer, layers.DepthwiseConv2D) else 1
            operands = [inputs[0], constant(f"{output}.weight", kernel), constant(f"{output}.bias", bias)]
            nodes.append(
                helper.make_node(
                    "Conv", operands, [output], output, kernel_shape=[side, side], strides=[stride, stride], pads=pads, group=group
                )
            )
        elif isinstance(layer, layers.ReLU):
            nodes.append(helper.make_node("Relu", inputs, [output], output))
        elif isinstance(layer, layers.Add):
            nodes.append(helper.make_node("Add", inputs, [output], output))
        elif isinstance(layer, layers.UpSampling2D):
            scales = constant(f"{output}.scales", np.array([1, 1, *layer.size], np.float32))
            nodes.append(
                helper.make_node(
                    "Resize",
                    [inputs[0], "", scales],
                    [output],
                    output,
                    mode="nearest",
                    coordinate_transformation_mode="asymmetric",
                    nearest_mode="floor",
                )
            )
        else:
            raise TypeError(f"Layer {layer.name!r} is a {type(layer).__name__}; the detector's export knows no such layer.")

    def shape(name: str, channels: int, suffix: str = "") -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", channels, f"h{suffix}", f"w{suffix}"])

    results = [shape(name, tensor.shape[-1], name.removeprefix("stride")) for name, tensor in model.output.items()]
    graph = helper.make_graph(nodes, "ferkit-face", [shape("image", 3)], results, weights)
    result = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], producer_name="ferkit")
    result.ir_version = 8  # what opset 13's readers know
    onnx.checker.check_model(result)
    return bytes(result.SerializeToString())


def _folded_normalisations(model: keras.Model) -> dict[int, layers.BatchNormalization]:
    return {id(layer.input): layer for layer in model.layers if isinstance(layer, layers.BatchNormalization)}


def _kernel(layer: Any, normalisation: layers.BatchNormalization | None) -> tuple[Any, Any]:
    """Return kernel ``(out, in / group, k, k)`` and bias ``(out,)`` with the normalisation that follows multiplied in."""
    values = [ops.convert_to_numpy(v).astype(np.float64) for v in layer.weights]
    order = (2, 3, 0, 1) if isinstance(layer, layers.DepthwiseConv2D) else (3, 2, 0, 1)
    kernel = values[0].transpose(order)
    bias = values[1] if layer.use_bias else np.zeros(len(kernel))
    if normalisation is not None:
        gamma, beta, mean, variance = (
            ops.convert_to_numpy(v).astype(np.float64)
            for v in (normalisation.gamma, normalisation.beta, normalisation.moving_mean, normalisation.moving_variance)
        )
        factor = gamma / np.sqrt(variance + normalisation.epsilon)
        kernel, bias = kernel * factor[:, None, None, None], (bias - mean) * factor + beta
    return kernel.astype(np.float32), bias.astype(np.float32)
