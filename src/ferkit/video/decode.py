"""Frames from a file, an address or a camera, with the container's own times.

PyAV decodes. Measured against OpenCV's reader on the same files (benchmarks/video_decode.py): both keep variable frame
rates, but OpenCV moves a late start to 0 and ends a truncated or damaged file like a complete one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError, ImageNotFoundError, InputError, MissingExtraError

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream

__all__ = ["Frame", "Source", "Span", "check_source", "describe", "estimate", "frames", "is_live", "need"]

Source = str | os.PathLike[str] | int

_ATTACHED_PICTURE = 0x400  # the cover of a music file is a video stream of one picture
_TIMEOUT_S = 10.0
_SHORT_S = 1.0  # a file that ends this much before its own duration was cut


@dataclass(frozen=True)
class Frame:
    """A decoded frame.

    Attributes:
        index: Its number among all frames of the video, from 0, whatever was sampled or skipped.
        time_s: The container's presentation time, seconds; for a camera the seconds since its first frame.
        pixels: RGB uint8 ``(H, W, 3)``, upright (rotation metadata applied).
    """

    index: int
    time_s: float
    pixels: NDArray[np.uint8] = field(repr=False, compare=False)


@dataclass(frozen=True)
class Span:
    """Which frames are wanted, by time.

    Attributes:
        step_s: Seconds between sampled frames; 0 takes every frame.
        start_s, end_s: First time, and the time at which to stop (exclusive); None is the source's own.
    """

    step_s: float = 0.0
    start_s: float | None = None
    end_s: float | None = None

    @classmethod
    def of(cls, fps: float | None = None, every: float | None = None, start: float | None = None, end: float | None = None) -> Span:
        """Check what a user gave. Raises InputError."""
        if fps is not None and every is not None:
            raise InputError(
                f"fps={fps:g} and every={every:g} say the same thing twice; give frames per second, or seconds between frames."
            )
        for name, value in (("fps", fps), ("every", every)):
            if value is not None and not 0 < value < float("inf"):
                raise InputError(f"{name}={value}; expected a number above 0.")
        for name, value in (("start", start), ("end", end)):
            if value is not None and not 0 <= value < float("inf"):
                raise InputError(f"{name}={value}; expected seconds, 0 or more.")
        if start is not None and end is not None and end <= start:
            raise InputError(f"end={end:g} is not after start={start:g}; both are seconds of the video.")
        return cls(1 / fps if fps else every or 0.0, start, end)

    def sampler(self) -> Sampler:
        return Sampler(self)


class Sampler:
    """Decides frame by frame: the first frame at or after every tick of ``step_s`` is taken."""

    def __init__(self, span: Span) -> None:
        self._span, self._tick, self._origin = span, 0, span.start_s

    def takes(self, time_s: float) -> bool:
        slack = 5e-4  # times are rounded to the container's clock
        if self._span.start_s is not None and time_s < self._span.start_s - slack:
            return False
        if not self._span.step_s:
            return True
        if self._origin is None:
            self._origin = time_s
        passed = (time_s - self._origin + slack) / self._span.step_s
        if passed < self._tick:
            return False
        self._tick = int(passed) + 1
        return True

    def over(self, time_s: float) -> bool:
        return self._span.end_s is not None and time_s >= self._span.end_s


def need(package: str, purpose: str) -> None:
    """Raise MissingExtraError unless a package of the video extra is installed."""
    from importlib.util import find_spec

    if find_spec(package) is None:
        raise MissingExtraError(package, "video", purpose)


def is_live(source: Source) -> bool:
    """Return True for a camera's number."""
    return isinstance(source, int)


def describe(source: Source) -> str:
    """Return how messages name a source."""
    return f"camera {source}" if isinstance(source, int) else os.fspath(source)


def check_source(source: Source) -> None:
    """Raise for what can be seen to be no video without opening it."""
    if isinstance(source, bool) or not isinstance(source, (str, os.PathLike, int)):
        raise InputError(f"{type(source).__name__} is no video; expected a path, an address such as rtsp://..., or a camera's number.")
    if isinstance(source, int):
        if source < 0:
            raise InputError(f"Camera {source}; expected a number from 0.")
        return
    text = os.fspath(source)
    if "://" in text:
        return
    path = Path(text)
    if not path.exists():
        raise ImageNotFoundError(f"{path} does not exist; expected a video file.")
    if path.is_dir():
        raise ImageError(f"{path} is a folder; expected a video file. For a folder of pictures type: ferkit predict {path}")
    if path.is_file() and path.stat().st_size == 0:
        raise ImageError(f"{path}: empty (0 bytes); expected a video file.")


def frames(
    source: Source, *, fps: float | None = None, every: float | None = None, start: float | None = None, end: float | None = None
) -> Iterator[Frame]:
    """Read the frames of a video, one at a time.

    Args:
        source: A path, an address (``rtsp://``, ``http://``, ...), or a camera's number.
        fps: Sample this many frames per second, by time; None takes every frame.
        every: Sample one frame every so many seconds, instead of ``fps``.
        start, end: Only frames from ``start`` up to ``end`` (exclusive), seconds on the container's clock.

    Yields:
        :class:`ferkit.video.Frame`: ``index``, ``time_s``, and ``pixels``, RGB uint8 ``(H, W, 3)``. Pictures may change
        their size in mid-stream.

    Raises:
        InputError: Arguments that contradict themselves.
        ImageNotFoundError: No such file.
        ImageError: Not a video, without a picture stream, of an unknown codec, truncated, damaged, or a camera that is not
            there or went away. What could be decoded is yielded before this is raised.
        MissingExtraError: The video extra is not installed.
    """
    span = Span.of(fps, every, start, end)
    check_source(source)
    if isinstance(source, int):
        from .camera import camera_frames

        return camera_frames(source, span)
    need("av", "Reading video")
    return _decoded(os.fspath(source), span)


def estimate(source: Source, span: Span) -> int | None:
    """Return about how many frames a source will give, or None if it does not say. For progress bars only."""
    if isinstance(source, int):
        return None
    need("av", "Reading video")
    with _opened(os.fspath(source)) as (container, stream):
        if container.duration is None or container.duration <= 0:
            return None
        first = _start(container)
        seconds = container.duration / 1e6
        begin, until = max(first, span.start_s or first), min(first + seconds, span.end_s or float("inf"))
        rate = 1 / span.step_s if span.step_s else 0.0
        own = float(stream.average_rate or stream.guessed_rate or 0)
        rate = min(rate, own) if rate and own else rate or own
        return max(1, ceil((until - begin) * rate)) if rate else None


class _opened:  # noqa: N801 - used like a function
    """Open a container and find its pictures, with errors that say what is wrong with the file."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> tuple[InputContainer, VideoStream]:
        import av

        remote = "://" in self._name
        try:
            # The prefix keeps FFmpeg from reading a file's name as one of its own protocols.
            self._container = av.open(self._name if remote else "file:" + self._name, timeout=_TIMEOUT_S if remote else None)
        except PermissionError as error:
            raise ImageError(f"{self._name} cannot be read: {error.strerror}.") from error
        except (av.FFmpegError, OSError) as error:
            what = "does not answer as a video" if remote else "not a video that FFmpeg can read, or cut before its table of contents"
            raise ImageError(f"{self._name}: {what} ({_reason(error)}).") from error
        try:
            return self._container, self._pictures(self._container)
        except BaseException:
            self._container.close()
            raise

    def _pictures(self, container: InputContainer) -> VideoStream:
        streams = [s for s in container.streams.video if not int(s.disposition) & _ATTACHED_PICTURE]
        if not streams:
            other = ", ".join(sorted({s.type for s in container.streams})) or "no stream at all"
            raise ImageError(f"{self._name}: no pictures in this file ({other}); expected a video.")
        if streams[0].codec_context is None:
            raise ImageError(f"{self._name}: this FFmpeg has no decoder for its codec; convert the video to H.264 first.")
        # Threads over slices and frames; one decoder thread of our own feeds them.
        streams[0].thread_type = "AUTO"
        return streams[0]

    def __exit__(self, *_: object) -> None:
        self._container.close()


def _reason(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or error)


def _start(container: InputContainer) -> float:
    return (container.start_time or 0) / 1e6


def _decoded(name: str, span: Span) -> Iterator[Frame]:
    import av

    sampler = span.sampler()
    index, damaged, last, ended, interrupted = 0, 0, None, False, ""
    with _opened(name) as (container, stream):
        rate = float(stream.average_rate or stream.guessed_rate or 25)
        index, key = _skip(container, stream, span)
        packets = container.demux(stream)
        while not ended:
            try:
                packet = next(packets)
            except StopIteration:
                break
            except (av.FFmpegError, OSError) as error:
                interrupted = _reason(error)
                break
            try:
                decoded = packet.decode()
            except av.FFmpegError:
                damaged += 1
                continue
            for picture in decoded:
                if key is not None and picture.pts is not None and picture.pts < key:
                    continue  # belongs to the group of pictures before, and is counted there
                time_s = picture.time
                if time_s is None:  # raw streams carry no clock
                    time_s = index / rate
                if sampler.over(time_s):
                    ended = True
                    break
                last = time_s
                if sampler.takes(time_s):
                    yield Frame(index, float(time_s), _upright(picture))
                index += 1
        duration = container.duration
        finish = None if duration is None or duration <= 0 else _start(container) + duration / 1e6
    if ended:
        return
    if interrupted:
        where = "at its beginning" if last is None else f"after {last:.3f} s"
        raise ImageError(f"{name}: the stream broke off {where} ({interrupted}); what came before is complete.")
    if last is None:
        raise ImageError(f"{name}: no frames could be decoded" + (f"; {damaged} packets are damaged." if damaged else "."))
    if finish is not None and last < finish - max(_SHORT_S, 3 / rate) and "://" not in name:
        raise ImageError(f"{name}: truncated; the file says {finish:.3f} s and ends after {last:.3f} s. What came before is complete.")
    if damaged:
        raise ImageError(f"{name}: {damaged} damaged packets were skipped; the frames in them are missing.")


def _skip(container: InputContainer, stream: VideoStream, span: Span) -> tuple[int, int | None]:
    """Seek to the last key frame before ``start``; return the number of the frame there, and its own time stamp.

    Frames are counted by reading packets without decoding them, because a number made from the time and the frame rate
    is wrong where the rate varies. It takes one integer per frame that is skipped.
    """
    import av

    if span.start_s is None or stream.time_base is None or "://" in container.name.removeprefix("file:"):
        return 0, None
    goal = int(span.start_s / stream.time_base)
    stamps: list[int] = []
    key = None
    try:
        for packet in container.demux(stream):
            if packet.pts is None or packet.dts is None:
                continue
            if packet.dts > goal:
                break
            stamps.append(packet.pts)
            if packet.is_keyframe and packet.pts <= goal:
                key = packet.pts
    except av.FFmpegError:
        key = None  # damaged before the start: decode from the beginning, which tells the user
    container.seek(key if key is not None else stream.start_time or 0, stream=stream, backward=True)
    return (0, None) if key is None else (sum(stamp < key for stamp in stamps), key)


def _upright(picture: av.VideoFrame) -> NDArray[np.uint8]:
    pixels: Any = picture.to_ndarray(format="rgb24")
    turns = round(picture.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else np.ascontiguousarray(pixels)
