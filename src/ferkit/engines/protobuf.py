"""Protocol buffers, as far as ONNX files need them: the light installation has no package ``onnx``. Source: protobuf.dev, "Encoding"."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Field", "encoded", "fields", "number", "text"]


class Field(NamedTuple):
    """One field of a message.

    Attributes:
        number: Of the field.
        value: The bytes of a text or a message; empty for numbers.
        raw: All of it with its head, as it lies in the file.
        integer: The value of a variable-length number; 0 for others.
    """

    number: int
    value: bytes
    raw: bytes
    integer: int


def fields(data: bytes) -> Iterator[Field]:
    """Yield a message's fields. Raises IndexError where it is cut off or is none."""
    at = 0
    while at < len(data):
        start = at
        head, at = _varint(data, at)
        kind, value, integer = head & 7, b"", 0
        if kind == 0:
            integer, at = _varint(data, at)
        elif kind == 2:
            size, at = _varint(data, at)
            value, at = data[at : at + size], at + size
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise IndexError(f"wire type {kind}")
        if at > len(data):
            raise IndexError("cut off")
        yield Field(head >> 3, value, data[start:at], integer)


def text(message: bytes, field: int) -> str:
    """Return the first text field of a number. Raises StopIteration without one."""
    return next(found.value for found in fields(message) if found.number == field).decode()


def number(value: int) -> bytes:
    """Return a variable-length number's bytes."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def encoded(field: int, value: bytes) -> bytes:
    """Return a text or a message as a field."""
    return number(field << 3 | 2) + number(len(value)) + value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
