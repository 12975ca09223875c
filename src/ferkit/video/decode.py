"""Frames from a file, an address or a camera, with the container's own times.

PyAV decodes. Measured against OpenCV's reader on the same files (benchmarks/video_decode.py): both keep variable frame
rates, but OpenCV moves a late start to 0 and ends a truncated or damaged file like a complete one.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain
from math import ceil
from typing import TYPE_CHECKING, NamedTuple, cast

from ..errors import ImageError
from .display import PixelShape, shown
from .extent import missing_bytes
from .frame import SLACK_S, Frame, Span
from .sources import Opened, Source, check_source, is_remote, located, need, reason

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream

__all__ = ["estimate", "frames"]

_BACK_S = 0.1  # a step back of more than this is a clock that begins anew
_MP4 = "mov,mp4,m4a,3gp,3g2,mj2"  # FFmpeg's name of the family
# Where a packet is a frame and times are presentation times, frames can be counted without decoding them.
_COUNTABLE_CONTAINERS = {_MP4, "matroska,webm"}
_COUNTABLE_CODECS = {"h264", "hevc", "vp9", "av1", "mjpeg", "prores", "dnxhd", "ffv1", "png", "rawvideo"}


def frames(
    source: Source, *, fps: float | None = None, every: float | None = None, start: float | None = None, end: float | None = None
) -> Iterator[Frame]:
    """Read the frames of a video, one at a time.

    Args:
        source: A path, an address (``rtsp://``, ``http://``, ...), or a camera's number.
        fps: Sample this many frames per second, by time; None takes every frame.
        every: Sample one frame every so many seconds, instead of ``fps``.
        start, end: Only frames from ``start`` up to ``end`` (exclusive), seconds on the container's clock. The frames from
            ``start`` are those of the full reading, with the same numbers, times and pixels.

    Yields:
        ``ferkit.video.Frame``: ``index``, ``time_s``, and ``pixels``, RGB uint8 ``(H, W, 3)``, as a player shows them:
        pixels that are not square are made so, turned and mirrored pictures are set upright. Pictures may change their size
        in mid-stream.

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
    name = located(source)
    from .animation import animation_frames, is_animation

    return animation_frames(name, span) if is_animation(name) else _decoded(name, span)


def estimate(source: Source, span: Span) -> int | None:
    """Return about how many frames a source will give, or None if it does not say. For progress bars only."""
    from .animation import is_animation

    if isinstance(source, int) or is_animation(located(source)):
        return None
    need("av", "Reading video")
    with Opened(located(source)) as (container, stream):
        if container.duration is None or container.duration <= 0:
            return None
        first = _start(container)
        seconds = container.duration / 1e6
        begin, until = max(first, span.start_s or first), min(first + seconds, span.end_s or float("inf"))
        rate = 1 / span.step_s if span.step_s else 0.0
        own = float(stream.average_rate or stream.guessed_rate or 25)
        rate = min(rate, own) if rate and own else rate or own
        return max(1, ceil((until - begin) * rate)) if rate else None


def _start(container: InputContainer) -> float:
    return (container.start_time or 0) / 1e6


class _Shot(NamedTuple):
    """A decoded picture and when it is shown; ``stamp`` is its time on the stream's own clock."""

    picture: av.VideoFrame
    stamp: int | None
    time_s: float
    duration_s: float | None


class _Reader:
    """Decodes the pictures of an open container, in the order in which they are shown, and keeps account of what failed."""

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        from av.format import Flags

        self._container, self._stream = container, stream
        self._rate = float(stream.guessed_rate or stream.average_rate or 25)  # of a raw stream the average is FFmpeg's default
        self.pixel_shape = PixelShape(stream)
        self._clockless = bool(container.format.flags & cast(int, Flags.no_timestamps.value))
        # AVI has times of decoding only: the pictures are shown at the same times, sorted.
        self._sorts = container.format.name == "avi"
        self._waiting: list[int] = []
        self._repeats: deque[int] = deque()
        self._base_s, self._since, self._offset_s = 0.0, 0, 0.0
        self.packets, self.damaged, self.interrupted = 0, 0, ""
        self.last_s: float | None = None
        self.end_s = 0.0

    def shots(self) -> Iterator[_Shot]:
        before = None
        for packet in self._packets():
            for picture in self._decoded(packet):
                stamp = heapq.heappop(self._waiting) if self._waiting else picture.pts
                yield from self._again(before, stamp)
                before = picture
                yield self._shot(picture, stamp)
        yield from self._again(before, float("inf"))

    def _packets(self) -> Iterator[av.Packet[VideoStream] | None]:
        """Yield packets, and None after the last one. An empty packet says "the same picture again" and reaches no decoder."""
        import av

        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                break
            except (av.FFmpegError, OSError) as error:
                self.interrupted = reason(error)
                break
            if packet.size:
                self.packets += 1
                yield packet
            elif packet.pts is not None:
                self._repeats.append(packet.pts)
        yield None

    def _decoded(self, packet: av.Packet[VideoStream] | None) -> list[av.VideoFrame]:
        import av

        stamp = None if packet is None or not self._sorts else packet.dts if packet.pts is None else packet.pts
        if stamp is not None:
            heapq.heappush(self._waiting, stamp)
        try:
            return self._stream.decode(packet)
        except av.FFmpegError:
            self.damaged += packet is not None
            if stamp is not None:
                self._waiting.remove(stamp)
                heapq.heapify(self._waiting)
            return []

    def _again(self, picture: av.VideoFrame | None, until: float | None) -> Iterator[_Shot]:
        while self._repeats and until is not None and self._repeats[0] < until:
            stamp = self._repeats.popleft()
            if picture is not None:
                yield self._shot(picture, stamp)

    def _shot(self, picture: av.VideoFrame, stamp: int | None) -> _Shot:
        clock = picture.time_base or self._stream.time_base
        if stamp is not None and clock is not None:
            self._base_s, self._since = self._continued(float(stamp * clock)), 0
        time_s = self._base_s + self._since / self._rate  # raw streams carry no clock
        if self._clockless and self.last_s is not None and time_s <= self.last_s:
            time_s = self.last_s + 1 / self._rate  # and what FFmpeg guesses instead may go back
        self._since += 1
        duration_s = float(picture.duration * clock) if picture.duration and clock else None
        self.last_s = time_s
        self.end_s = max(self.end_s, time_s + (duration_s or 1 / self._rate))
        return _Shot(picture, stamp, time_s, duration_s)

    def _continued(self, time_s: float) -> float:
        """Go on where the clock of a transport or program stream begins anew: recordings that were joined, cells of a DVD."""
        back = self.last_s is not None and time_s + self._offset_s < self.last_s - _BACK_S
        if back and self._container.format.name in ("mpegts", "mpeg"):
            self._offset_s = self.end_s - time_s
        return time_s + self._offset_s

    def finish_s(self) -> float | None:
        """Return when the file says that its pictures end, or None."""
        stream, container = self._stream, self._container
        if stream.duration and stream.time_base:
            return float(((stream.start_time or 0) + stream.duration) * stream.time_base)
        return None if not container.duration or container.duration < 0 else _start(container) + container.duration / 1e6

    def all_came(self) -> bool:
        """Tell whether every picture that the file announces was there."""
        announced, finish = self._stream.frames, self.finish_s()
        if self._container.format.name == "avi" or (self._container.format.name == _MP4 and not announced):
            return 0 < announced <= self.packets  # FFmpeg works out the duration from what is there
        return 0 < announced <= self.packets or (finish is not None and self.end_s >= finish - 0.5 / self._rate)


def _decoded(name: str, span: Span) -> Iterator[Frame]:
    from av.video.reformatter import VideoReformatter

    sampler, reformatter = span.sampler(), VideoReformatter()
    with ExitStack() as stack:
        reader, index, shots = _begun(stack, name, span)
        for shot in shots:
            if sampler.over(shot.time_s):
                return
            pixel_shape = reader.pixel_shape.of(shot.picture)
            if sampler.takes(shot.time_s):
                yield Frame(index, shot.time_s, shown(shot.picture, reformatter, pixel_shape), shot.duration_s)
            index += 1
        _check_end(name, reader)


def _begun(stack: ExitStack, name: str, span: Span) -> tuple[_Reader, int, Iterator[_Shot]]:
    """Open a video for reading from ``span.start_s`` on; return the reader, the number of the next shot, and the shots.

    It begins with the last key frame before, if that can be found, counted and decoded for certain; else with the first
    frame: transport and program streams, raw streams and animations have no index that can be relied on.
    """
    key = _key_frame_before(name, span)
    if key is not None:
        stamp, index = key
        container, stream = stack.enter_context(Opened(name))
        container.seek(stamp, stream=stream, backward=True)
        reader = _Reader(container, stream)
        shots = reader.shots()
        first = next((shot for shot in shots if shot.stamp is None or shot.stamp >= stamp), None)
        if first is not None and first.stamp == stamp and _stands_alone(first.picture):
            return reader, index, chain([first], shots)
    reader = _Reader(*stack.enter_context(Opened(name)))
    return reader, 0, reader.shots()


def _stands_alone(picture: av.VideoFrame) -> bool:
    """Tell whether decoding may begin here. Interlaced pictures may take two packets each, which spoils the count."""
    from av.video.frame import PictureType

    return picture.key_frame and picture.pict_type == PictureType.I and not picture.is_corrupt and not picture.interlaced_frame


def _key_frame_before(name: str, span: Span) -> tuple[int, int] | None:
    """Return the time stamp and the number of the last key frame before ``span.start_s``, or None if they cannot be told.

    Frames are counted by reading packets without decoding them, because a number made from the time and the frame rate
    is wrong where the rate varies.
    """
    import av

    if span.start_s is None or is_remote(name):
        return None
    with Opened(name) as (container, stream):
        codec = stream.codec_context.codec.canonical_name
        if container.format.name not in _COUNTABLE_CONTAINERS or codec not in _COUNTABLE_CODECS or stream.time_base is None:
            return None
        goal = int((span.start_s - 2 * SLACK_S) / stream.time_base)
        key, index, later = None, 0, list[int]()  # later: the stamps of what is shown after the key frame
        try:
            for packet in container.demux(stream):
                if not packet.size and packet.dts is None:
                    break  # the end
                if not packet.size or packet.pts is None or packet.is_corrupt:
                    return None
                if packet.is_discard:
                    continue  # cut away by an edit list: decoded, not shown
                if packet.dts is not None and packet.dts > goal:
                    break
                later.append(packet.pts)
                if packet.is_keyframe and packet.pts <= goal:
                    key = packet.pts
                    index += sum(stamp < key for stamp in later)
                    later = [stamp for stamp in later if stamp >= key]
        except av.FFmpegError:
            return None  # damaged before the start: decode from the beginning, which tells the user
        return None if key is None else (key, index + sum(stamp < key for stamp in later))


def _check_end(name: str, reader: _Reader) -> None:
    """Raise for a video that ended otherwise than it should have."""
    if reader.interrupted:
        where = "at its beginning" if reader.last_s is None else f"after {reader.last_s:.3f} s"
        raise ImageError(f"{name}: the stream broke off {where} ({reader.interrupted}); what came before is complete.")
    if reader.last_s is None:
        raise ImageError(f"{name}: no frames could be decoded" + (f"; {reader.damaged} packets are damaged." if reader.damaged else "."))
    if not is_remote(name):
        _check_length(name, reader)
    if reader.damaged:
        raise ImageError(f"{name}: {reader.damaged} damaged packets were skipped; the frames in them are missing.")


def _check_length(name: str, reader: _Reader) -> None:
    lacking = missing_bytes(name)
    if not lacking or reader.all_came():
        return
    finish = reader.finish_s()
    says = f"{lacking} bytes are missing" if finish is None else f"the file says {finish:.3f} s"
    raise ImageError(f"{name}: truncated; {says} and ends after {reader.last_s:.3f} s. What came before is complete.")
