"""A network that answers its features beside its logits: what its last linear layer reads, for any engine.

The ONNX file is changed in memory, as the protocol buffers that it is: the light installation has no package ``onnx``, and the
engines have no common way to ask for a tensor inside. One more node joins both, so that one run of any engine answers them.
"""

from __future__ import annotations

from typing import NamedTuple

from ..errors import WeightsError
from .protobuf import Field, encoded, fields, number, text

__all__ = ["with_features"]

# Numbers of fields, from onnx.proto: ModelProto.graph; GraphProto's; NodeProto's; the name in a TensorProto and a ValueInfoProto.
_GRAPH = 7
_NODE, _INITIALIZER, _OUTPUT = 1, 5, 12
_INPUTS, _OUTPUTS, _OP, _ATTRIBUTE = 1, 2, 4, 5
_TENSOR_NAME, _VALUE_NAME = 8, 1
_ROWS = "ferkit_logits_and_features"
_SHAPE = "ferkit_rows"  # what reshapes to as many rows as there are, whatever is in them side by side


class _Node(NamedTuple):
    op: str
    inputs: list[str]
    outputs: list[str]


def with_features(onnx: bytes, where: str) -> bytes:
    """Return a network whose rows are the old output's columns, then the features.

    Args:
        onnx: An ONNX file whose first output comes out of a linear layer (MatMul or Gemm); there may be several side by side, on
            the same features.
        where: The file's name, for messages.

    Returns:
        An ONNX file with one output, float32 ``(n, k + d)``.

    Raises:
        WeightsError: It is not ONNX, or its first output does not come out of one layer's features.
    """
    try:
        model = list(fields(onnx))
        graph = [field for part in model if part.number == _GRAPH for field in fields(part.value)]
        logits = text(next(field for field in graph if field.number == _OUTPUT).value, _VALUE_NAME)
        features = _feature_tensors(graph, logits)
    except (IndexError, StopIteration, UnicodeDecodeError) as error:
        raise WeightsError(f"{where} cannot be read as an ONNX network; expected the bytes of a .onnx file.") from error
    if len(features) != 1:
        found = f"several ({', '.join(sorted(features))})" if features else "none"
        raise WeightsError(f"{where} has no features: expected one tensor that the last linear layer reads; found {found}.")
    flat = ("ferkit_logits", "ferkit_features")
    # Flatten would do, but OpenCV 4.10 flattens for the number of rows that it saw first, and then refuses any other.
    added = [_node("Reshape", [name, _SHAPE], to) for name, to in zip((logits, *features), flat, strict=True)]
    added.append(_node("Concat", flat, _ROWS, axis=1))
    kept = b"".join(field.raw for field in graph if field.number != _OUTPUT) + encoded(_INITIALIZER, _whole_numbers(_SHAPE, 0, -1))
    new = kept + b"".join(encoded(_NODE, node) for node in added) + encoded(_OUTPUT, _float_rows(_ROWS))
    return b"".join(part.raw for part in model if part.number != _GRAPH) + encoded(_GRAPH, new)


def _feature_tensors(graph: list[Field], output: str) -> set[str]:
    """Return what the linear layers read that an output comes out of: back from it to the nearest of them on every path."""
    constants = {text(field.value, _TENSOR_NAME) for field in graph if field.number == _INITIALIZER}
    made = {}
    for node in (_read_node(field.value) for field in graph if field.number == _NODE):
        if constants.issuperset(node.inputs):
            constants.update(node.outputs)  # for example a cast of weights that are stored in half precision
        made.update(dict.fromkeys(node.outputs, node))
    found, waiting, seen = set(), [output], set()
    while waiting:
        name = waiting.pop()
        maker = made.get(name)
        if maker is None or name in seen:
            continue
        seen.add(name)
        varying = [given for given in maker.inputs if given and given not in constants]
        if maker.op in ("MatMul", "Gemm"):
            found.update(varying)
        else:
            waiting += varying
    return found


def _read_node(data: bytes) -> _Node:
    found = list(fields(data))

    def texts(at: int) -> list[str]:
        return [field.value.decode() for field in found if field.number == at]

    return _Node("".join(texts(_OP)), texts(_INPUTS), texts(_OUTPUTS))


def _float_rows(name: str) -> bytes:
    """Return a ValueInfoProto: float32, two axes of any length; OpenCV 5 refuses one without a type."""
    axes = b"".join(encoded(1, encoded(2, axis)) for axis in (b"n", b"columns"))
    return encoded(_VALUE_NAME, name.encode()) + encoded(2, encoded(1, number(1 << 3) + number(1) + encoded(2, axes)))


def _whole_numbers(name: str, *values: int) -> bytes:
    """Return a TensorProto of one axis: dims 1, data_type 2 (7 is INT64), raw_data 9."""
    data = b"".join(value.to_bytes(8, "little", signed=True) for value in values)
    return number(1 << 3) + number(len(values)) + number(2 << 3) + number(7) + encoded(_TENSOR_NAME, name.encode()) + encoded(9, data)


def _node(op: str, inputs: list[str] | tuple[str, ...], output: str, axis: int | None = None) -> bytes:
    names = b"".join(encoded(_INPUTS, name.encode()) for name in inputs) + encoded(_OUTPUTS, output.encode())
    node = names + encoded(3, output.encode()) + encoded(_OP, op.encode())
    if axis is None:
        return node
    # AttributeProto: name 1, i 3 (a number), type 20 (2 is INT)
    return node + encoded(_ATTRIBUTE, encoded(1, b"axis") + number(3 << 3) + number(axis) + number(20 << 3) + number(2))
