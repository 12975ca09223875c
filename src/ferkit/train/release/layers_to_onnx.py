"""A Keras network as an ONNX graph, written layer by layer: the same file whatever the backend, channels first.

No converter: those trace a backend's own operations, and differ from one backend to the next. What is written here holds
convolutions with their normalisations folded in, pooling and a few elementwise operations, with no shape arithmetic, which
is what lets OpenCV 4 and 5 and onnxruntime run it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers, ops, tree
from numpy.typing import NDArray

from ...errors import InputError, MissingExtraError

__all__ = ["Writer", "calls_of", "serialised"]

_OPSET = 13


@dataclass(frozen=True)
class Call:
    """One use of a layer.

    Attributes:
        layer: Of Keras.
        inputs, outputs: Symbolic tensors, channels last.
    """

    layer: Any
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]


def calls_of(network: keras.Model, given: Any) -> tuple[list[Call], Any]:
    """Return every use of a layer, in the order of computing, and what comes out; networks within networks are opened.

    Args:
        network: Functional or sequential.
        given: The symbolic input, which fixes the picture's size or leaves it open.
    """
    if isinstance(network, keras.Sequential):
        calls, value = [], given
        for layer in network.layers:
            more, value = _called(layer, value)
            calls += more
        return calls, value
    found: list[Call] = []

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        more, value = _called(layer, *args, **kwargs)
        found.extend(more)
        return value

    try:
        bare = keras.Model(network.input, network.output)  # what a compiled one knows of its loss is of no use here
    except (AttributeError, ValueError) as error:
        raise InputError(
            f"Network {network.name!r} cannot be exported: {error}. Expected a functional or sequential Keras model, whose layers are known."
        ) from error
    copy = keras.models.clone_model(bare, input_tensors=given, clone_function=lambda layer: layer, call_function=call)
    return found, copy.output


def _called(layer: Any, *args: Any, **kwargs: Any) -> tuple[list[Call], Any]:
    if isinstance(layer, keras.Model):
        return calls_of(layer, args[0])
    value = layer(*args, **kwargs) if isinstance(layer, layers.Layer) else layer.symbolic_call(*args, **kwargs)
    tensors = tuple(part for part in tree.flatten((args, kwargs)) if isinstance(part, keras.KerasTensor))
    return [Call(layer, tensors, tuple(tree.flatten(value)))], value


class Writer:
    """Nodes and constants of a graph, in the order of their making.

    Args:
        names: Of layers' outputs, by the layer's ``id``; the others are numbered.
    """

    def __init__(self, names: Mapping[int, str] | None = None) -> None:
        try:
            from onnx import helper, numpy_helper
        except ImportError as error:
            raise MissingExtraError("onnx", "train", "Writing an ONNX file") from error
        self.helper, self.numpy_helper = helper, numpy_helper
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.names = dict(names or {})
        self.values: dict[int, str] = {}  # of symbolic tensors, by their id
        self._made = 0

    def constant(self, name: str, value: Any) -> str:
        self.constants.append(self.numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def fresh(self) -> str:
        self._made += 1
        return f"v{self._made}"

    def node(self, op: str, inputs: Sequence[str], out: str, **attributes: Any) -> str:
        self.nodes.append(self.helper.make_node(op, list(inputs), [out], out, **attributes))
        return out

    def write(self, calls: Sequence[Call]) -> None:
        """Add the layers. The input's name must be in ``values`` already.

        Raises:
            InputError: A layer, an activation or a shape that cannot be written.
        """
        uses = Counter(id(tensor) for call in calls for tensor in call.inputs)
        behind = {id(call.inputs[0]): call for call in calls if type(call.layer) is layers.BatchNormalization}
        folded = set[int]()
        for call in calls:
            write = _LAYERS.get(type(call.layer))
            if write is None:
                raise InputError(
                    f"Layer {call.layer.name!r} is a {type(call.layer).__name__}, which the ONNX export does not know; expected one of "
                    f"{', '.join(sorted(kind.__name__ for kind in _LAYERS))}."
                )
            inputs, out = [self.values[id(tensor)] for tensor in call.inputs], self.names.get(id(call.layer)) or self.fresh()
            if id(call) in folded:
                self.values[id(call.outputs[0])] = inputs[0]
                continue
            normalisation = None
            follows = behind.get(id(call.outputs[0]))
            if follows is not None and uses[id(call.outputs[0])] == 1 and type(call.layer) in _FOLDING and _is_linear(call.layer):
                normalisation = follows.layer
                folded.add(id(follows))
            self.values[id(call.outputs[0])] = write(self, call, inputs, out, normalisation)


_Norm = Any  # a BatchNormalization to fold in, or None


def _array(variable: Any) -> NDArray[np.float64]:
    return np.asarray(ops.convert_to_numpy(ops.cast(variable, "float32")), np.float64)


def _affine(layer: layers.BatchNormalization) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the factor and the shift that a normalisation is at prediction, one number a channel."""
    mean, variance = _array(layer.moving_mean), _array(layer.moving_variance)
    factor = 1 / np.sqrt(variance + layer.epsilon)
    factor = factor * _array(layer.gamma) if layer.scale else factor
    return factor, (_array(layer.beta) if layer.center else 0.0) - mean * factor


def _refuse(layer: Any, what: str) -> InputError:
    return InputError(f"Layer {layer.name!r} ({type(layer).__name__}) has {what}, which the ONNX export does not know.")


def _pads(call: Call, kernel: Sequence[int], strides: Sequence[int], dilation: Sequence[int] = (1, 1)) -> list[int]:
    """Return ONNX's pads: top, left, bottom, right. Keras pads "same" at the end first."""
    if call.layer.padding == "valid":
        return [0, 0, 0, 0]
    begin, end = [], []
    for side, k, stride, step in zip(call.inputs[0].shape[1:3], kernel, strides, dilation, strict=True):
        reach = (k - 1) * step + 1
        # An open side is a multiple of every stride.
        last = reach - stride if side is None else (-(-side // stride) - 1) * stride + reach - side
        total = max(last, 0)
        begin.append(total // 2)
        end.append(total - total // 2)
    return [*begin, *end]


def _channels_last(layer: Any) -> None:
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        raise _refuse(layer, f"data_format {layer.data_format!r}")


def _convolved(
    w: Writer, call: Call, value: str, out: str, kernel: NDArray[Any], bias: NDArray[Any], group: int, plain: bool = False
) -> str:
    """Add a convolution with a kernel ``(out, in / group, h, w)``; ``plain`` is the pointwise half of a separable one."""
    layer = call.layer
    strides = [1, 1] if plain else list(layer.strides)
    dilation = [1, 1] if plain else list(layer.dilation_rate)
    pads = [0, 0, 0, 0] if plain else _pads(call, kernel.shape[2:], strides, dilation)
    operands = [value, w.constant(f"{out}.weight", kernel.astype(np.float32)), w.constant(f"{out}.bias", bias.astype(np.float32))]
    options = {"dilations": dilation} if dilation != [1, 1] else {}
    return w.node("Conv", operands, out, kernel_shape=list(kernel.shape[2:]), strides=strides, pads=pads, group=group, **options)


def _scaled(kernel: NDArray[Any], bias: NDArray[Any], normalisation: _Norm) -> tuple[NDArray[Any], NDArray[Any]]:
    if normalisation is None:
        return kernel, bias
    factor, shift = _affine(normalisation)
    return kernel * factor.reshape(-1, *[1] * (kernel.ndim - 1)), bias * factor + shift


def _convolution(w: Writer, call: Call, inputs: list[str], out: str, normalisation: _Norm) -> str:
    layer = call.layer
    _channels_last(layer)
    kernel = _array(layer.kernel)
    depthwise = isinstance(layer, layers.DepthwiseConv2D)
    kernel = kernel.transpose(2, 3, 0, 1).reshape(-1, 1, *kernel.shape[:2]) if depthwise else kernel.transpose(3, 2, 0, 1)
    bias = _array(layer.bias) if layer.use_bias else np.zeros(len(kernel))
    group = call.inputs[0].shape[-1] if depthwise else layer.groups
    function = _function(layer)
    value = _convolved(w, call, inputs[0], out if function is None else w.fresh(), *_scaled(kernel, bias, normalisation), group)
    return value if function is None else function(w, value, out)


def _separable(w: Writer, call: Call, inputs: list[str], out: str, normalisation: _Norm) -> str:
    layer = call.layer
    _channels_last(layer)
    deep = _array(layer.depthwise_kernel)
    deep = deep.transpose(2, 3, 0, 1).reshape(-1, 1, *deep.shape[:2])
    value = _convolved(w, call, inputs[0], w.fresh(), deep, np.zeros(len(deep)), call.inputs[0].shape[-1])
    kernel = _array(layer.pointwise_kernel).transpose(3, 2, 0, 1)
    bias = _array(layer.bias) if layer.use_bias else np.zeros(len(kernel))
    function = _function(layer)
    value = _convolved(w, call, value, out if function is None else w.fresh(), *_scaled(kernel, bias, normalisation), 1, plain=True)
    return value if function is None else function(w, value, out)


def _dense(w: Writer, call: Call, inputs: list[str], out: str, normalisation: _Norm) -> str:
    layer = call.layer
    if len(call.inputs[0].shape) != 2:
        raise _refuse(layer, f"an input of shape {tuple(call.inputs[0].shape)}")
    kernel = _array(layer.kernel).T
    kernel, bias = _scaled(kernel, _array(layer.bias) if layer.use_bias else np.zeros(len(kernel)), normalisation)
    function = _function(layer)
    name = out if function is None else w.fresh()
    operands = [inputs[0], w.constant(f"{name}.weight", kernel.astype(np.float32)), w.constant(f"{name}.bias", bias.astype(np.float32))]
    value = w.node("Gemm", operands, name, transB=1)
    return value if function is None else function(w, value, out)


def _normalisation(w: Writer, call: Call, inputs: list[str], out: str, _: _Norm) -> str:
    layer, rank = call.layer, len(call.inputs[0].shape)
    if layer.axis not in (-1, rank - 1):
        raise _refuse(layer, f"axis {layer.axis}")
    shape = (1, -1) if rank == 2 else (1, -1, 1, 1)
    factor, shift = (values.reshape(shape).astype(np.float32) for values in _affine(layer))
    scaled = w.node("Mul", [inputs[0], w.constant(f"{out}.scale", factor)], w.fresh())
    return w.node("Add", [scaled, w.constant(f"{out}.shift", shift)], out)


def _pooling(op: str) -> Callable[..., str]:
    def write(w: Writer, call: Call, inputs: list[str], out: str, _: _Norm) -> str:
        layer = call.layer
        _channels_last(layer)
        pool, strides = list(layer.pool_size), list(layer.strides)
        options = {"count_include_pad": 0} if op == "AveragePool" else {}
        return w.node(op, inputs, out, kernel_shape=pool, strides=strides, pads=_pads(call, pool, strides), **options)

    return write


def _global(op: str) -> Callable[..., str]:
    def write(w: Writer, call: Call, inputs: list[str], out: str, _: _Norm) -> str:
        _channels_last(call.layer)
        if call.layer.keepdims:
            return w.node(op, inputs, out)
        return w.node("Flatten", [w.node(op, inputs, w.fresh())], out, axis=1)

    return write


def _flatten(w: Writer, call: Call, inputs: list[str], out: str, _: _Norm) -> str:
    shape = call.inputs[0].shape
    if len(shape) == 4 and tuple(shape[1:3]) != (1, 1):  # Keras flattens channels last
        inputs = [w.node("Transpose", inputs, w.fresh(), perm=[0, 2, 3, 1])]
    return w.node("Flatten", inputs, out, axis=1)


def _elementwise(op: str) -> Callable[..., str]:
    def write(w: Writer, call: Call, inputs: list[str], out: str, _: _Norm) -> str:
        if len({len(tensor.shape) for tensor in call.inputs}) > 1:
            raise _refuse(call.layer, "inputs of different ranks")
        value = inputs[0]
        for number, other in enumerate(inputs[1:], 1):
            value = w.node(op, [value, other], out if number == len(inputs) - 1 else w.fresh())
        return value

    return write


def _concatenation(w: Writer, call: Call, inputs: list[str], out: str, _: _Norm) -> str:
    rank = len(call.inputs[0].shape)
    axis = call.layer.axis % rank
    return w.node("Concat", inputs, out, axis={3: 1, 1: 2, 2: 3}.get(axis, axis) if rank == 4 else axis)


def _padding(w: Writer, call: Call, inputs: list[str], out: str, _: _Norm) -> str:
    (top, bottom), (left, right) = call.layer.padding
    pads = np.array([0, 0, top, left, 0, 0, bottom, right], np.int64)
    return w.node("Pad", [inputs[0], w.constant(f"{out}.pads", pads)], out, mode="constant")


def _upsampling(w: Writer, call: Call, inputs: list[str], out: str, _: _Norm) -> str:
    if call.layer.interpolation != "nearest":
        raise _refuse(call.layer, f"interpolation {call.layer.interpolation!r}")
    scales = w.constant(f"{out}.scales", np.array([1, 1, *call.layer.size], np.float32))
    options = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return w.node("Resize", [inputs[0], "", scales], out, **options)


def _rescaling(w: Writer, call: Call, inputs: list[str], out: str, _: _Norm) -> str:
    scaled = w.node("Mul", [inputs[0], w.constant(f"{out}.scale", np.float32(call.layer.scale))], w.fresh())
    return w.node("Add", [scaled, w.constant(f"{out}.offset", np.float32(call.layer.offset))], out)


def _nothing(_w: Writer, _call: Call, inputs: list[str], _out: str, _: _Norm) -> str:
    return inputs[0]


def _activation(w: Writer, call: Call, inputs: list[str], out: str, _: _Norm) -> str:
    function = _function(call.layer)
    return inputs[0] if function is None else function(w, inputs[0], out)


def _rectifier(w: Writer, call: Call, inputs: list[str], out: str, _: _Norm) -> str:
    layer = call.layer
    slope = float(getattr(layer, "negative_slope", 0.0) or 0.0)
    most = getattr(layer, "max_value", None)
    if getattr(layer, "threshold", 0.0) or (slope and most is not None):
        raise _refuse(layer, "a threshold, or a slope beside a largest value")
    if most is not None:
        return w.node("Clip", [inputs[0], w.constant(f"{out}.least", np.float32(0)), w.constant(f"{out}.most", np.float32(most))], out)
    return w.node("LeakyRelu", inputs, out, alpha=slope) if slope else w.node("Relu", inputs, out)


def _simple(op: str, **attributes: Any) -> Callable[[Writer, str, str], str]:
    return lambda w, value, out: w.node(op, [value], out, **attributes)


def _times(op: str, **attributes: Any) -> Callable[[Writer, str, str], str]:
    return lambda w, value, out: w.node("Mul", [value, w.node(op, [value], w.fresh(), **attributes)], out)


# Activations by the names that Keras gives them; a softmax is over channels, which are the second axis here.
_FUNCTIONS: dict[str, Callable[[Writer, str, str], str]] = {
    "relu": _simple("Relu"),
    "sigmoid": _simple("Sigmoid"),
    "tanh": _simple("Tanh"),
    "softmax": _simple("Softmax", axis=1),
    "elu": _simple("Elu", alpha=1.0),
    "leaky_relu": _simple("LeakyRelu", alpha=0.2),
    "softplus": _simple("Softplus"),
    "hard_sigmoid": _simple("HardSigmoid", alpha=1 / 6, beta=0.5),
    "silu": _times("Sigmoid"),
    "hard_silu": _times("HardSigmoid", alpha=1 / 6, beta=0.5),
}


def _name_of_function(layer: Any) -> str:
    return str(keras.activations.serialize(layer.activation)) if layer.activation is not None else "linear"


def _is_linear(layer: Any) -> bool:
    return _name_of_function(layer) == "linear"


def _function(layer: Any) -> Callable[[Writer, str, str], str] | None:
    name = _name_of_function(layer)
    if name == "linear":
        return None
    if name not in _FUNCTIONS:
        raise _refuse(layer, f"the activation {name}")
    return _FUNCTIONS[name]


_FOLDING = (layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D, layers.Dense)
_LAYERS: dict[type, Callable[[Writer, Call, list[str], str, _Norm], str]] = {
    layers.InputLayer: _nothing,
    layers.Conv2D: _convolution,
    layers.DepthwiseConv2D: _convolution,
    layers.SeparableConv2D: _separable,
    layers.Dense: _dense,
    layers.BatchNormalization: _normalisation,
    layers.Activation: _activation,
    layers.ReLU: _rectifier,
    layers.LeakyReLU: _rectifier,
    layers.MaxPooling2D: _pooling("MaxPool"),
    layers.AveragePooling2D: _pooling("AveragePool"),
    layers.GlobalAveragePooling2D: _global("GlobalAveragePool"),
    layers.GlobalMaxPooling2D: _global("GlobalMaxPool"),
    layers.Flatten: _flatten,
    layers.Add: _elementwise("Add"),
    layers.Subtract: _elementwise("Sub"),
    layers.Multiply: _elementwise("Mul"),
    layers.Maximum: _elementwise("Max"),
    layers.Concatenate: _concatenation,
    layers.ZeroPadding2D: _padding,
    layers.UpSampling2D: _upsampling,
    layers.Rescaling: _rescaling,
    **dict.fromkeys((layers.Dropout, layers.SpatialDropout2D, layers.GaussianDropout, layers.GaussianNoise, layers.Identity), _nothing),
}


def serialised(writer: Writer, name: str, inputs: Sequence[Any], outputs: Sequence[Any]) -> bytes:
    """Return the checked ONNX file of a writer's nodes; inputs and outputs are ONNX's descriptions of them."""
    import onnx

    graph = writer.helper.make_graph(writer.nodes, name, inputs, outputs, writer.constants)
    result = writer.helper.make_model(graph, opset_imports=[writer.helper.make_opsetid("", _OPSET)], producer_name="ferkit")
    result.ir_version = 8  # what opset 13's readers know
    onnx.checker.check_model(result)
    return bytes(result.SerializeToString())
