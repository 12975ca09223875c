"""Small videos for the tests, made with PyAV."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

CLOCK = 60000


def plain(count: int, width: int = 160, height: int = 120) -> list[np.ndarray]:
    """Grey frames whose brightness tells their number, with a red block in the top left corner."""
    out = []
    for number in range(count):
        pixels = np.full((height, width, 3), 40 + number % 150, np.uint8)
        pixels[: height // 4, : width // 4] = (220, 20, 20)
        out.append(pixels)
    return out


def portrait(astronaut: np.ndarray, count: int, width: int = 480, height: int = 360, side: int = 330) -> list[np.ndarray]:
    """A face that moves to the right, one pixel a frame."""
    face = np.asarray(Image.fromarray(astronaut).resize((side, side)))
    out = []
    for number in range(count):
        pixels = np.full((height, width, 3), 90, np.uint8)
        x = 10 + min(number, width - side - 20)
        pixels[20 : 20 + side, x : x + side] = face
        out.append(pixels)
    return out


def write(
    path: Path,
    pictures: Sequence[np.ndarray],
    times: Iterable[float] | None = None,
    *,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
    form: str | None = None,
) -> list[float]:
    """Write pictures at their times (default: 25 a second) and return the times."""
    import av

    stamps = list(times) if times is not None else [n / 25 for n in range(len(pictures))]
    with av.open(str(path), "w", format=form, options=container or {}) as file:
        stream = file.add_stream(codec, rate=25, options=options or {})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, CLOCK)
        for pixels, time_s in zip(pictures, stamps, strict=True):
            picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            picture.pts, picture.time_base = round(time_s * CLOCK), Fraction(1, CLOCK)
            file.mux(stream.encode(picture))
        file.mux(stream.encode(None))
    return stamps


def rotated(path: Path, out: Path) -> Path:
    """Copy an mp4 and set its track's display matrix to a quarter turn clockwise."""
    import struct

    data = path.read_bytes()
    at = data.find(b"tkhd") + 44
    matrix = struct.pack(">9i", 0, 65536, 0, -65536, 0, 0, 0, 0, 0x40000000)
    out.write_bytes(data[:at] + matrix + data[at + 36 :])
    return out
