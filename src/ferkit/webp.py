"""The head of a WebP file, read without a decoder: Pillow's holds three canvases as soon as it opens one, whatever the file is."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["WebP", "read_webp"]

_ANIMATED = 0x02  # a bit of VP8X's first byte


class WebP(NamedTuple):
    """What a WebP file says of itself: pixels across and down before any turn, whether it moves, and its EXIF or nothing."""

    width: int
    height: int
    animated: bool
    exif: bytes


def read_webp(data: bytes) -> WebP | None:
    """Return the head of a WebP file, or None for what is not one, or is damaged before its size is known.

    Source: "WebP Container Specification", Google, and RFC 9649.
    """
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        return None
    size, animated, exif, at = None, False, b"", 12
    while at + 8 <= len(data):
        kind, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        body = data[at + 8 : at + 8 + min(length, 10)]
        if kind == b"VP8X" and len(body) == 10:
            animated = bool(body[0] & _ANIMATED)
            size = 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
        elif kind == b"VP8 " and len(body) == 10 and size is None:
            size = int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
        elif kind == b"VP8L" and len(body) >= 5 and size is None:
            bits = int.from_bytes(body[1:5], "little")
            size = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        elif kind == b"EXIF":
            exif = data[at + 8 : at + 8 + length]
        at += 8 + length + length % 2
    return None if size is None else WebP(*size, animated, exif)
