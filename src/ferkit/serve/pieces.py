"""Of how many pieces a picture file is made, counted before a decoder takes them up one by one.

A file of a few megabytes can hold millions of empty segments, chunks or blocks. Decoders that go through them in Python need half a
minute and half a gigabyte for one; here the count stops at the limit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

__all__ = ["scans_of_jpeg", "too_many_pieces"]

MOST = 20_000  # pieces: a PNG of 20 MB in chunks of a kilobyte, a thousand times those of a phone's JPEG
_PART = 65_536  # bytes that are searched at once: a search through megabytes holds up all other threads

# Within a scan, 0xFF is followed by 0 where it is data, by 0xD0 to 0xD7 at a restart, and by 0xFF where it only fills.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_SCAN, _END, _BARE = 0xDA, 0xD9, (0x01, 0xD8)  # the last two have no length


def too_many_pieces(kind: str, data: bytes) -> bool:
    """Return whether a picture of this format, as ``ferkit.serve.uploads.sniff`` names it, has more pieces than any camera or program makes."""
    walk = _WALKS.get(kind)
    return walk is not None and sum(1 for _ in zip(range(MOST + 1), walk(data), strict=False)) > MOST


def scans_of_jpeg(data: bytes, enough: int) -> int:
    """Count the scans of a JPEG up to its end of image, ``enough`` + 1 at most: what follows it, such as a phone's video, is not decoded.

    Thumbnails inside its metadata are passed over as their segments are.
    """
    scans, at = 0, 2
    while scans <= enough and at < len(data):
        found = _MARKER.search(data, at, at + _PART)
        if found is None:
            at += _PART - 1
            continue
        kind, at = data[found.end() - 1], found.end()
        if kind == _END:
            break
        scans += kind == _SCAN
        if kind not in _BARE:
            at += int.from_bytes(data[at : at + 2], "big")
    return scans


def _jpeg(data: bytes) -> Iterator[int]:
    """Yield each segment before the first scan, and each byte between two of them, which decoders pass over one by one."""
    at = 2
    while at < len(data):
        found = _MARKER.search(data, at, at + MOST + 2)
        until = len(data) if found is None else found.end() - 1
        yield from range(at, until)
        if found is None or (kind := data[until]) in (_SCAN, _END):
            return
        at = found.end()
        if kind not in _BARE:
            at += max(2, int.from_bytes(data[at : at + 2], "big"))


def _chunks(data: bytes, at: int, beyond: int, big: bool, step: int) -> Iterator[int]:
    """Yield each chunk of PNG or RIFF: four bytes of length, four of a name in either order, and ``beyond`` bytes more than the length."""
    order, first = ("big", 0) if big else ("little", 4)
    while at + 8 <= len(data):
        length = int.from_bytes(data[at + first : at + first + 4], order)  # type: ignore[arg-type]
        at += beyond + -(-length // step) * step
        yield at


def _png(data: bytes) -> Iterator[int]:
    return _chunks(data, 8, 12, True, 1)


def _webp(data: bytes) -> Iterator[int]:
    return _chunks(data, 12, 8, False, 2)


def _gif(data: bytes) -> Iterator[int]:
    """Yield each block, and each part of one, up to the first frame."""
    if len(data) < 13:
        return
    at = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    while at + 1 < len(data) and data[at] == 0x21:
        at += 2
        while at < len(data) and (size := data[at]):
            at += 1 + size
            yield at
        at += 1
        yield at


_WALKS: dict[str, Callable[[bytes], Iterator[int]]] = {"JPEG": _jpeg, "PNG": _png, "WEBP": _webp, "GIF": _gif}
