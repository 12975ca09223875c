"""Local cameras, through OpenCV: it opens them by number on every system."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from ..errors import ImageError
from .frame import Frame, Span

__all__ = ["camera_frames"]


def camera_frames(number: int, span: Span) -> Iterator[Frame]:
    """Yield the frames of a camera, as ``ferkit.frames`` does. A camera has no end: losing it is an ImageError."""
    import cv2

    camera = cv2.VideoCapture(number)
    try:
        if not camera.isOpened():
            raise ImageError(
                f"camera {number} cannot be opened; check that it is plugged in, that no other program uses it, and try another number."
            )
        camera.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # an old picture is worth less than none
        sampler = span.sampler()
        begun, index = time.monotonic(), 0
        while True:
            read, picture = camera.read()
            time_s = time.monotonic() - begun if index else 0.0
            if not read:
                raise ImageError(f"camera {number} stopped answering after {index} frames; what came before is complete.")
            if not index:
                begun = time.monotonic()
            if sampler.over(time_s):
                return
            if sampler.takes(time_s):
                yield Frame(index, time_s, np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8))
            index += 1
    finally:
        camera.release()
