"""Photos as phones take them, 12 megapixels, composed of smaller ones: grain, and the ways in which JPEGs differ."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ["KINDS", "large_photo", "wide_profile", "write_large"]

SIZE = (4032, 3024)
_TURNS = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}  # what undoes an EXIF's orientation


def wide_profile() -> bytes:
    """Return an ICC profile, version 2, with the primaries of Display P3 and a gamma of 2.2."""

    def xyz(x: float, y: float, z: float) -> bytes:
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in (x, y, z)))

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(2.2 * 256)) + b"\0\0"
    text = b"wide\0"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78 + 1),
        b"cprt": b"text\0\0\0\0none\0\0\0\0",
        b"wtpt": xyz(0.9642, 1.0, 0.8249),
        b"rXYZ": xyz(0.5151, 0.2412, -0.0011),
        b"gXYZ": xyz(0.2920, 0.6922, 0.0419),
        b"bXYZ": xyz(0.1571, 0.0666, 0.7841),
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
    }
    table, body, at = b"", b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", at + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    whole = struct.pack(">I", len(tags)) + table + body
    head = struct.pack(">I4sI4s4s4s", 128 + len(whole), b"none", 0x02100000, b"mntr", b"RGB ", b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head + bytes(128 - len(head)) + whole


def large_photo(faces: Sequence[Image.Image], seed: int) -> Image.Image:
    """Return a photo of some faces, of different sizes, with a sensor's grain."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(90, 160, SIZE[0])[None, :, None] + np.array([0, 8, 16])
    pixels = np.repeat(ramp, SIZE[1], axis=0)
    room = SIZE[0] // len(faces)
    for n, face in enumerate(faces):
        side = min(room - 60, (1500, 900, 500)[(seed + n) % 3])
        y, x = (SIZE[1] - side) // 2 + int(rng.integers(-300, 300)), room * n + (room - side) // 2
        pixels[y : y + side, x : x + side] = np.asarray(face.convert("RGB").resize((side, side), Image.Resampling.BICUBIC))
    grain = rng.normal(0, 4, SIZE[::-1])[:, :, None]
    return Image.fromarray(np.clip(pixels + grain, 0, 255).astype(np.uint8))


def _turned(orientation: int) -> Callable[[Image.Image], bytes]:
    def write(picture: Image.Image) -> bytes:
        exif = Image.Exif()
        exif[0x0112] = orientation
        return _jpeg(picture.transpose(_TURNS[orientation]), exif=exif)

    return write


def _jpeg(picture: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", **{"quality": 92, **options})  # type: ignore[arg-type]
    return buffer.getvalue()


KINDS: dict[str, Callable[[Image.Image], bytes]] = {
    "plain": _jpeg,
    "progressive": lambda picture: _jpeg(picture, progressive=True),
    "444": lambda picture: _jpeg(picture, subsampling=0, quality=96),
    "turned-6": _turned(6),
    "turned-8": _turned(8),
    "turned-3": _turned(3),
    "profile": lambda picture: _jpeg(picture, icc_profile=wide_profile()),
    "grey": lambda picture: _jpeg(picture.convert("L")),
}


def write_large(folder: Path, kind: str, faces: Sequence[Image.Image], seed: int) -> Path:
    """Write one of them, and return where."""
    path = folder / f"{kind}-{seed}.jpg"
    path.write_bytes(KINDS[kind](large_photo(faces, seed)))
    return path
