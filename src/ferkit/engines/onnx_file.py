"""ONNX files of other makers: what goes in and comes out, one output of several, and weights that lie in files beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from ..errors import InputError, WeightsError
from .protobuf import Field, encoded, fields, text

__all__ = ["Tensor", "check_whole", "onnx_tensors", "output_position", "with_data_inside", "with_output"]

# Numbers of fields, from onnx.proto.
_GRAPH = 7  # ModelProto's
_INITIALIZER, _INPUT, _OUTPUT = 5, 11, 12  # GraphProto's
_NAME, _RAW_DATA, _EXTERNAL, _LOCATION = 8, 9, 13, 14  # TensorProto's
_DTYPES = {1: "float32", 2: "uint8", 3: "int8", 10: "float16", 11: "float64"}


class Tensor(NamedTuple):
    """What goes into or comes out of a network: its name, its dtype (numpy's name, or that of another kind), its shape with None for what is open."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


def onnx_tensors(onnx: bytes, where: str) -> tuple[list[Tensor], list[Tensor]]:
    """Return a network's inputs and its outputs. Raises WeightsError, which names ``where``, if it is not ONNX."""
    try:
        graph = [field for part in fields(onnx) if part.number == _GRAPH for field in fields(part.value)]
        stored = {text(field.value, _NAME) for field in graph if field.number == _INITIALIZER}
        given = [_tensor(field.value) for field in graph if field.number == _INPUT]
        answers = [_tensor(field.value) for field in graph if field.number == _OUTPUT]
    except (IndexError, StopIteration, UnicodeDecodeError) as error:
        raise WeightsError(f"{where} cannot be read as an ONNX network; expected the bytes of a .onnx file.") from error
    if not given or not answers:
        raise WeightsError(f"{where} cannot be read as an ONNX network: it has no input or no output.")
    return [tensor for tensor in given if tensor.name not in stored], answers


def output_position(outputs: Sequence[Tensor], name: str, where: str) -> int:
    """Return which of a network's outputs has a name. Raises InputError, which names ``where``, if none has."""
    names = [tensor.name for tensor in outputs]
    if name not in names:
        raise InputError(f"{where} has no output {name!r}; expected one of {', '.join(names)}.")
    return names.index(name)


def with_output(onnx: bytes, name: str, where: str) -> bytes:
    """Return the network with one of its outputs alone. Raises InputError for a name that it does not have, WeightsError as onnx_tensors."""
    _, answers = onnx_tensors(onnx, where)
    output_position(answers, name, where)

    def kept(field: Field) -> bool:
        return field.number != _OUTPUT or text(field.value, 1) == name

    parts = []
    for part in fields(onnx):
        graph = part.number == _GRAPH
        parts.append(encoded(_GRAPH, b"".join(f.raw for f in fields(part.value) if kept(f))) if graph else part.raw)
    return b"".join(parts)


def with_data_inside(path: Path) -> bytes:
    """Return an ONNX file's bytes with everything inside: weights that it keeps in other files are read from its own folder alone.

    Raises:
        WeightsError: It is not ONNX, or names a file outside of its folder, or one that is missing or too short.
    """
    try:
        return _tensors_replaced(path.read_bytes(), "model", lambda tensor: _inside(tensor, path))
    except WeightsError:
        raise
    except (IndexError, StopIteration, ValueError, RecursionError) as error:  # ValueError: no UTF-8, or no number where one belongs
        raise WeightsError(f"{path} cannot be read as an ONNX network; expected the bytes of a .onnx file.") from error
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror or error}).") from error


def check_whole(onnx: bytes) -> None:
    """Refuse a network whose weights lie in other files: opened from bytes, an engine would look for them in the working directory.

    Raises:
        WeightsError: They do.
    """

    def check(tensor: bytes) -> bytes:
        if _lies_elsewhere(fields(tensor)):
            raise WeightsError("The network keeps weights in other files, which are not read; ferkit adopt makes one file of them.")
        return tensor

    if b"location" in onnx:  # the key of every entry that names a file
        try:
            _tensors_replaced(onnx, "model", check)
        except (IndexError, RecursionError):
            return  # no ONNX file, which the engine says itself


# Where tensors lie, from onnx.proto: by kind of message the fields that hold others, and their kinds.
_HOLDS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "function": {7: "node", 11: "attribute"},
}


def _tensors_replaced(message: bytes, kind: str, change: Callable[[bytes], bytes]) -> bytes:
    held, parts = _HOLDS[kind], []
    for field in fields(message):
        inner = held.get(field.number)
        if inner is None:
            parts.append(field.raw)
            continue
        new = change(field.value) if inner == "tensor" else _tensors_replaced(field.value, inner, change)
        parts.append(field.raw if new == field.value else encoded(field.number, new))
    return b"".join(parts)


def _lies_elsewhere(tensor: Iterable[Field]) -> bool:
    """Return True for the fields of a TensorProto whose data are in another file."""
    return any(field.number == _EXTERNAL or (field.number == _LOCATION and field.integer == 1) for field in tensor)


def _inside(tensor: bytes, path: Path) -> bytes:
    """Return a TensorProto with its data in it."""
    found = list(fields(tensor))
    if not _lies_elsewhere(found):
        return tensor
    entries = {text(field.value, 1): text(field.value, 2) for field in found if field.number == _EXTERNAL}
    name, folder = entries.get("location", ""), path.resolve().parent
    place = (folder / name).resolve()
    if not name or not place.is_relative_to(folder) or not place.is_file():
        raise WeightsError(
            f"{path} keeps weights in {name!r}, which is not a file in its own folder. Files of others may read nothing else: "
            "put the file beside the model, or do not use this model."
        )
    size, start = place.stat().st_size, int(entries.get("offset", 0))
    end = start + int(entries["length"]) if "length" in entries else size
    if not 0 <= start <= end <= size:
        raise WeightsError(f"{path} wants bytes {start} to {end} of {name!r}, which has {size}; get both files anew.")
    with place.open("rb") as file:  # these bytes alone: hundreds of tensors lie in one file
        file.seek(start)
        data = file.read(end - start)
    kept = b"".join(field.raw for field in found if field.number not in (_EXTERNAL, _LOCATION, _RAW_DATA))
    return kept + encoded(_RAW_DATA, data)


def _tensor(message: bytes) -> Tensor:
    name = text(message, 1)
    types = [inner for field in fields(message) if field.number == 2 for inner in fields(field.value) if inner.number == 1]
    if not types:
        return Tensor(name, "no tensor", ())
    parts = list(fields(types[0].value))
    code = next((field.integer for field in parts if field.number == 1), 0)
    axes = [axis for field in parts if field.number == 2 for axis in fields(field.value) if axis.number == 1]
    return Tensor(name, _DTYPES.get(code, f"ONNX type {code}"), tuple(_length(axis.value) for axis in axes))


def _length(axis: bytes) -> int | None:
    found = [field.integer for field in fields(axis) if field.number == 1]
    return found[0] if found and 0 < found[0] < 1 << 31 else None
