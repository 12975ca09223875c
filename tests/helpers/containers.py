"""The same short film in every container."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

av = pytest.importorskip("av", reason='needs the video extra: pip install "ferkit[video]"')
B_FRAMES = {"g": "25", "bf": "2"}
CONTAINERS = [
    ("a.mp4", "libx264", B_FRAMES),
    ("open_gop.mp4", "libx264", {**B_FRAMES, "x264-params": "open-gop=1"}),
    ("refresh.mkv", "libx264", {"g": "25", "x264-params": "intra-refresh=1:bframes=0"}),
    ("a.mov", "mpeg4", {"g": "12", "bf": "2"}),
    ("a.mkv", "libx264", B_FRAMES),
    ("hevc.mkv", "libx265", {"x265-params": "keyint=25:log-level=none"}),
    ("vp8.webm", "libvpx", {"g": "25", "auto-alt-ref": "1", "lag-in-frames": "16"}),
    ("vp9.webm", "libvpx-vp9", {"g": "25", "auto-alt-ref": "1", "lag-in-frames": "16", "cpu-used": "8"}),
    ("a.avi", "mpeg4", {"g": "25", "bf": "2"}),
    ("h264.avi", "libx264", B_FRAMES),
    ("a.ts", "libx264", {"g": "70", "bf": "2"}),
    ("mpeg2.ts", "mpeg2video", {"g": "15", "bf": "2"}),
    ("a.m2ts", "libx264", B_FRAMES),
    ("a.vob", "mpeg2video", {"g": "15", "bf": "2"}),
    ("a.mpg", "mpeg1video", {"g": "15", "bf": "2"}),
    ("a.flv", "flv", {"g": "25"}),
    ("h264.flv", "libx264", B_FRAMES),
    ("a.ogv", "libvpx", {"g": "25"}),
    ("a.3gp", "libx264", B_FRAMES),
    ("a.wmv", "wmv2", {"g": "25"}),
    ("a.asf", "msmpeg4", {"g": "25"}),
    ("a.h264", "libx264", B_FRAMES),
    ("a.hevc", "libx265", {"x265-params": "keyint=25:log-level=none"}),
    ("a.m2v", "mpeg2video", {"g": "12", "bf": "3"}),
    ("b.m4v", "mpeg4", {"g": "12", "bf": "2"}),
    ("a.f4v", "libx264", B_FRAMES),
    ("a.swf", "flv", {"g": "25"}),
    ("a.rm", "rv10", {}),
    ("a.wtv", "mpeg2video", {"g": "15"}),
    ("a.mjpeg", "mjpeg", {}),
    ("a.gif", "gif", {}),
    ("a.apng", "apng", {}),
    ("a.webp", "pillow", {}),
    ("a.nut", "ffv1", {}),
    ("a.mxf", "mpeg2video", {"g": "15"}),
    ("a.ivf", "libvpx-vp9", {"g": "25", "cpu-used": "8"}),
]
COUNT = 80


def moving(count: int = COUNT) -> list[np.ndarray]:
    """A block that moves over a gradient: every frame differs from the others, and has what to predict."""
    slope = np.tile(np.linspace(30, 160, 64).astype(np.uint8)[None, :, None], (48, 1, 3))
    out = []
    for n in range(count):
        pixels = slope.copy()
        pixels[10:26, n % 48 : n % 48 + 16] = (200, 30 + 2 * n, 40)
        out.append(pixels)
    return out


def make(path: Path, codec: str, options: dict[str, str], pictures: list[np.ndarray] | None = None) -> Path:
    """Write 80 pictures at 25 a second; an MP4 with its table of contents first."""
    pictures = pictures or moving()
    if codec == "pillow":
        first, *rest = [Image.fromarray(p) for p in pictures]
        first.save(path, save_all=True, append_images=rest, duration=40, lossless=True)
        return path
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no {codec}")
    form = {".ogv": "ogg", ".m2ts": "mpegts"}.get(path.suffix)
    first = {"movflags": "faststart"} if path.suffix in (".mp4", ".mov", ".3gp") else {}
    with av.open(str(path), "w", format=form, options=first) as file:
        stream = file.add_stream(codec, rate=25, options=options)
        stream.width, stream.height = 64, 48
        stream.pix_fmt = {"gif": "rgb8", "apng": "rgb24", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
        for pixels in pictures:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        file.mux(stream.encode(None))
    return path
