"""How long a file says it is: the sizes that its container wrote down, against the bytes that are there.

That tells a broken copy from a whole file whose sound outlasts its pictures, whose last picture stays for long, or whose
times end early for any other reason.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

__all__ = ["missing_bytes"]

_MP4 = {b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"pnot", b"sidx"}
_EBML, _SEGMENT = 0x1A45DFA3, 0x18538067
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_FILE = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_HEAD = 1 << 16


def missing_bytes(path: str) -> int:
    """Return how many bytes a file lacks of what its container announces; 0 where it announces nothing.

    Read are the boxes of MP4 and QuickTime, the elements of Matroska and WebM, the chunks of AVI and WebP, and the size in the headers of
    ASF and FLV. The other formats (transport and program streams, Ogg, raw streams) announce none.
    """
    if not Path(path).is_file():
        return 0  # a pipe
    size = Path(path).stat().st_size
    with open(path, "rb") as file:
        head = file.read(_HEAD)
        return max(0, _announced(head)(file, head, size) - size)


def _announced(head: bytes) -> Callable[[BinaryIO, bytes, int], int]:
    if head[4:8] in _MP4:
        return _boxes
    if head[:4] == b"RIFF":
        return _chunks
    if head[:4] == _EBML.to_bytes(4, "big"):
        return _elements
    if head[:16] == _ASF:
        return _asf
    return _flv if head[:3] == b"FLV" else lambda *_: 0


def _boxes(file: BinaryIO, _: bytes, size: int) -> int:
    at = 0
    while at + 8 <= size:
        file.seek(at)
        box = file.read(16)
        length = int.from_bytes(box[:4], "big")
        if length == 1 and len(box) == 16:
            length = int.from_bytes(box[8:], "big")
        if length < 8:  # 0: to the end of the file; anything else is not a box
            return size
        at += length
    return at


def _chunks(file: BinaryIO, _: bytes, size: int) -> int:
    at = 0
    while at + 8 <= size:  # an AVI beyond 1 GB has several
        file.seek(at)
        name, length = struct.unpack("<4sI", file.read(8))
        if name != b"RIFF":
            return at
        at += 8 + length + length % 2
    return at - 1 if at == size + 1 else at  # the padding of the last one may be left out


def _elements(file: BinaryIO, _: bytes, size: int) -> int:
    at = 0
    while at + 2 <= size:
        file.seek(at)
        name, name_length = _variable(file.read(4), keep_marker=True)
        file.seek(at + name_length)
        data = file.read(8)
        length, length_length = _variable(data)
        if name not in (_EBML, _SEGMENT) or not length_length:
            return at
        if length == (1 << 7 * length_length) - 1:  # of unknown size: a live recording
            return size
        at += name_length + length_length + length
    return at


def _variable(data: bytes, keep_marker: bool = False) -> tuple[int, int]:
    """Read a number of EBML; return it and its length in bytes, 0 where there is none."""
    if not data or not data[0]:
        return 0, 0
    length = 9 - data[0].bit_length()
    number = int.from_bytes(data[:length], "big")
    return number if keep_marker else number & ((1 << 7 * length) - 1), length


def _asf(_: BinaryIO, head: bytes, __: int) -> int:
    at = head.find(_ASF_FILE)
    if at < 0 or at + 92 > len(head):
        return 0
    length, flags = struct.unpack_from("<Q", head, at + 40)[0], struct.unpack_from("<I", head, at + 88)[0]
    return 0 if flags & 1 else length  # the first flag says "broadcast": the header's sizes mean nothing


def _flv(_: BinaryIO, head: bytes, __: int) -> int:
    at = head.find(b"filesize\x00")
    if not 0 < at <= len(head) - 17:
        return 0
    size = struct.unpack_from(">d", head, at + 9)[0]
    return int(size) if math.isfinite(size) else 0
