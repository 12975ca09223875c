"""The annotated copy of a video. Pictures only: the sound is not copied."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .._draw import draw_faces
from ..errors import ImageError, InputError
from ..results import Result
from .frame import Frame
from .sources import need

if TYPE_CHECKING:
    from av.video.stream import VideoStream
    from numpy.typing import NDArray

__all__ = ["CONTAINERS", "AnnotatedVideo"]

CONTAINERS = (".mp4", ".mkv", ".mov")
_CLOCK = Fraction(1, 60000)  # fine enough for 1 ms, and within what every codec here accepts


class AnnotatedVideo:
    """Writes frames with boxes, labels and bars, at their own times.

    Args:
        path: Ending in ``.mp4``, ``.mkv`` or ``.mov``.

    Raises:
        InputError: Another suffix.
        ImageError: The place cannot be written.
        MissingExtraError: The video extra is not installed.
    """

    def __init__(self, path: Path) -> None:
        if path.suffix.lower() not in CONTAINERS:
            raise InputError(f"-o {path}; expected a name ending in {', '.join(CONTAINERS)}.")
        need("av", "Writing video")
        import av

        try:
            self._container = av.open(str(path), "w")
        except (av.FFmpegError, OSError) as error:
            raise ImageError(f"{path} cannot be written ({error.strerror}); choose another place.") from error
        self._path = path
        self._stream: VideoStream | None = None
        self._origin, self._last = 0.0, -1

    def add(self, frame: Frame, result: Result) -> None:
        """Draw and write the next frame. One of another size than the first is fitted into it, with black edges."""
        import av

        picture = draw_faces(frame.pixels, result.faces)
        if self._stream is None:
            self._stream = self._opened(frame.pixels.shape[1], frame.pixels.shape[0])
            self._origin = frame.time_s
        pixels = _fitted(np.asarray(picture), self._stream.width, self._stream.height)
        encoded = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        self._last = max(self._last + 1, round((frame.time_s - self._origin) / _CLOCK))
        encoded.pts, encoded.time_base = self._last, _CLOCK
        try:
            self._container.mux(self._stream.encode(encoded))
        except (av.FFmpegError, OSError) as error:
            raise ImageError(f"{self._path} cannot be written ({error.strerror}); is the disk full?") from error

    def _opened(self, width: int, height: int) -> VideoStream:
        import av

        codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
        options = {"preset": "veryfast", "crf": "21"} if codec == "libx264" else {"qscale": "3"}
        stream: VideoStream = self._container.add_stream(codec, rate=25, options=options)  # type: ignore[assignment]
        stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
        stream.codec_context.time_base = _CLOCK
        return stream

    def close(self) -> None:
        """Finish the file; without this it cannot be played."""
        if self._stream is not None:
            self._container.mux(self._stream.encode(None))
        self._container.close()


def _fitted(pixels: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    import cv2

    h, w = pixels.shape[:2]
    if (w, h) == (width, height):
        return pixels
    if 0 <= width - w <= 1 and 0 <= height - h <= 1:  # H.264 wants even sides
        return np.asarray(np.pad(pixels, ((0, height - h), (0, width - w), (0, 0)), mode="edge"))
    scale = min(width / w, height / h)
    size = (max(1, round(w * scale)), max(1, round(h * scale)))
    out = np.zeros((height, width, 3), np.uint8)
    x, y = (width - size[0]) // 2, (height - size[1]) // 2
    out[y : y + size[1], x : x + size[0]] = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return out
