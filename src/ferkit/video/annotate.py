"""The annotated copy of a video. Pictures only: the sound is not copied."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ImageError, InputError
from ..gate import native
from ..resizing import resized_to
from ..results import Result
from .covering import Covered, Covering
from .frame import Frame
from .sources import need, reason

if TYPE_CHECKING:
    import av
    from av.video.stream import VideoStream
    from numpy.typing import NDArray
    from PIL import Image

__all__ = ["CONTAINERS", "AnnotatedVideo", "anonymous"]

CONTAINERS = (".mp4", ".mkv", ".mov")
_CLOCK = Fraction(1, 60000)  # fine enough for 1 ms, and within what every codec here accepts
_SD, _HD = (6, 6, 6), (1, 1, 1)  # matrix, primaries and transfer in the numbers of ITU-T H.273: BT.601 (525 lines), BT.709


def anonymous(covered: Covered) -> Image.Image:
    """Return the annotated copy of a frame with every head covered."""
    from ..drawing.anonymous import anonymized

    return replace(covered.result, pixels=anonymized(covered.frame.pixels, covered.boxes)).draw()


class AnnotatedVideo:
    """Writes frames with boxes, labels and bars, at their own times.

    Args:
        path: Ending in ``.mp4``, ``.mkv`` or ``.mov``.
        blur: Cover every head, see ``ferkit.Result.draw`` and ``ferkit.video.covering.Covering``.

    Raises:
        InputError: Another suffix.
        ImageError: The place cannot be written.
        MissingExtraError: The video extra is not installed.
    """

    def __init__(self, path: Path, *, blur: bool = False) -> None:
        if path.suffix.lower() not in CONTAINERS:
            raise InputError(f"-o {path}; expected a name ending in {', '.join(CONTAINERS)}.")
        need("av", "Writing video")
        import av

        try:
            self._container = av.open(str(path), "w")
        except (av.FFmpegError, OSError) as error:
            raise ImageError(f"{path} cannot be written ({error.strerror}); choose another place.") from error
        self._path = path
        self._covering = Covering() if blur else None
        self._stream: VideoStream | None = None
        self._origin, self._last = 0.0, -1
        self._waiting: NDArray[np.uint8] | None = None  # the newest picture: the next one tells how long it stays
        self._stays_s: float | None = None
        self._index, self._step_s = 0, 1 / 25
        self._durations: dict[int, int] = {}
        self._failure: ImageError | None = None

    def add(self, frame: Frame, result: Result) -> None:
        """Draw and write the next frame. One of another size than the first is fitted into it, with black edges."""
        if self._covering is None:
            self._put(frame, replace(result, pixels=frame.pixels).draw())
        else:
            for covered in self._covering.add(frame, result):
                self._put(covered.frame, anonymous(covered))

    def _put(self, frame: Frame, picture: Image.Image) -> None:
        if self._stream is None:
            self._stream = self._opened(frame.pixels.shape[1], frame.pixels.shape[0])
            self._origin, self._index = frame.time_s, frame.index
        stamp = max(self._last + 1, round((frame.time_s - self._origin) / _CLOCK))
        if self._waiting is not None:
            self._step_s = float((stamp - self._last) * _CLOCK)
            self._encode(self._waiting, stamp - self._last)
        sampled = frame.index - self._index > 1
        self._waiting, self._last, self._index = _fitted(np.asarray(picture), self._stream.width, self._stream.height), stamp, frame.index
        self._stays_s = max(frame.duration_s or 0.0, self._step_s) if sampled else frame.duration_s

    def _encode(self, pixels: NDArray[np.uint8], duration: int) -> None:
        import av
        from av.video.reformatter import ColorRange

        assert self._stream is not None
        self._durations[self._last] = max(1, duration)
        color = self._stream.codec_context.colorspace
        encoded = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
            format="yuv420p", dst_colorspace=color, dst_color_range=ColorRange.MPEG
        )
        encoded.colorspace, encoded.color_range = color, ColorRange.MPEG
        encoded.pts, encoded.time_base = self._last, _CLOCK
        self._write(encoded)

    def _write(self, encoded: av.VideoFrame | None) -> None:
        import av

        assert self._stream is not None
        if self._failure is not None:  # FFmpeg crashes where packets follow a header that could not be written
            raise self._failure
        try:
            for packet in self._stream.encode(encoded):
                packet.duration = self._durations.pop(packet.pts or 0, 0)
                self._container.mux(packet)
        except (av.FFmpegError, OSError) as error:
            raise self._unwritten(error) from error

    def _opened(self, width: int, height: int) -> VideoStream:
        import av

        codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
        # Without B-frames the last packet is the last picture, whose duration is that of the file.
        options = {"preset": "veryfast", "crf": "21", "bf": "0"} if codec == "libx264" else {"qscale": "3"}
        stream: VideoStream = self._container.add_stream(codec, rate=25, options=options)  # type: ignore[assignment]
        stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
        context = stream.codec_context
        context.time_base, context.sample_aspect_ratio = _CLOCK, Fraction(1)
        # Without a tag players guess the matrix by the size: so it is that one, and it is said.
        matrix, primaries, transfer = _HD if height >= 720 or width >= 1280 else _SD
        context.colorspace, context.color_primaries, context.color_trc, context.color_range = matrix, primaries, transfer, 1
        return stream

    def close(self) -> None:
        """Finish the file; without this it cannot be played. The last picture stays as long as the video's own does. Raises ImageError."""
        import av

        try:
            if self._failure is None:
                self._finish()
        finally:
            try:
                self._container.close()
            except (av.FFmpegError, OSError) as error:
                if self._failure is None:  # else it is told already
                    raise self._unwritten(error) from error

    def _finish(self) -> None:
        for covered in self._covering.finish() if self._covering is not None else ():
            self._put(covered.frame, anonymous(covered))
        if self._stream is not None:
            if self._waiting is not None:
                self._encode(self._waiting, round((self._stays_s or self._step_s) / _CLOCK))
                self._waiting = None
            self._write(None)

    def _unwritten(self, error: Exception) -> ImageError:
        self._failure = ImageError(f"{self._path} cannot be written ({reason(error)}); is the disk full?")
        return self._failure


def _fitted(pixels: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Return a picture at a size, with black edges where its shape is another one."""
    h, w = pixels.shape[:2]
    if (w, h) == (width, height):
        return pixels
    if 0 <= width - w <= 1 and 0 <= height - h <= 1:  # H.264 wants even sides
        return np.asarray(np.pad(pixels, ((0, height - h), (0, width - w), (0, 0)), mode="edge"))
    scale = min(width / w, height / h)
    size = (max(1, round(w * scale)), max(1, round(h * scale)))
    out = np.zeros((height, width, 3), np.uint8)
    x, y = (width - size[0]) // 2, (height - size[1]) // 2
    with native:
        out[y : y + size[1], x : x + size[0]] = resized_to(pixels, *size)
    return out
