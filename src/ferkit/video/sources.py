"""Where a video comes from: a file, an address or a camera; and opening the first two."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..errors import ImageError, ImageNotFoundError, InputError, MissingExtraError
from ..image_files import expanded

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

__all__ = ["Opened", "Source", "check_source", "describe", "is_live", "is_remote", "located", "need", "reason"]

Source = str | os.PathLike[str] | int

_TIMEOUT_S = 10.0


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
        raise InputError(f"{type(source).__name__} is not a video; expected a path, an address such as rtsp://..., or a camera's number.")
    if isinstance(source, int):
        if source < 0:
            raise InputError(f"Camera {source}; expected a number from 0.")
        return
    text = os.fspath(source)
    if is_remote(text):
        return
    path = expanded(text)
    if not os.path.exists(path):  # pathlib raises on names that are too long
        raise ImageNotFoundError(f"{path} does not exist; expected a video file.")
    if path.is_dir():
        raise ImageError(f"{path} is a folder; expected a video file. For a folder of pictures type: ferkit predict {path}")
    if path.is_file() and path.stat().st_size == 0:
        raise ImageError(f"{path}: empty (0 bytes); expected a video file.")


def is_remote(name: str) -> bool:
    """Return True for an address such as ``rtsp://...``."""
    return "://" in name


def located(source: str | os.PathLike[str]) -> str:
    """Return a file's path with ``~`` as the home folder, as for pictures; an address is what it is."""
    name = os.fspath(source)
    return name if is_remote(name) else str(expanded(name))


class Opened:
    """Open a container and find its pictures, with errors that say what is wrong with the file."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> tuple[InputContainer, VideoStream]:
        import av

        remote = is_remote(self._name)
        try:
            # The prefix keeps FFmpeg from reading a file's name as one of its own protocols. Titles and comments, which nobody reads here,
            # are in any code page: old cameras and programs wrote their system's.
            name, timeout = (self._name, _TIMEOUT_S) if remote else ("file:" + self._name, None)
            self._container = av.open(name, timeout=timeout, metadata_errors="replace")
        except PermissionError as error:
            raise ImageError(f"{self._name} cannot be read: {error.strerror}.") from error
        except (av.FFmpegError, OSError) as error:
            if remote:
                raise ImageError(f"{self._name}: does not answer as a video ({reason(error)}).") from error
            raise ImageError(
                f"{self._name}: not a video that FFmpeg can read, or cut before its table of contents ({reason(error)})."
            ) from error
        try:
            return self._container, self._pictures(self._container)
        except BaseException:
            self._container.close()
            raise

    def _pictures(self, container: InputContainer) -> VideoStream:
        from av.stream import Disposition

        # The cover of a music file is a video stream of one picture.
        streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
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


def reason(error: BaseException) -> str:
    """Return FFmpeg's or the system's own words for an error."""
    return str(getattr(error, "strerror", None) or error)
