"""A frame, and which frames are wanted."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import floor

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

__all__ = ["SLACK_S", "Frame", "Sampler", "Span"]

SLACK_S = 5e-4  # times are rounded to the container's clock
_BACK_S = 1.0  # a clock that goes back by more than this, as a camera's may, begins anew


@dataclass(frozen=True)
class Frame:
    """A decoded frame.

    Attributes:
        index: Its number among all frames of the video, from 0, whatever was sampled or skipped.
        time_s: The container's presentation time, seconds; for a camera the seconds since its first frame.
        pixels: RGB uint8 ``(H, W, 3)`` as a player shows it: upright, not mirrored, with square pixels.
        duration_s: How long the container says it stays on the screen, seconds; None where it does not say.
        heads: Boxes xyxy, pixels, of all that the detector or the tracker took for a face here, people of the result or not: what an
            anonymous copy has to cover. Empty before anybody looked.
    """

    index: int
    time_s: float
    pixels: NDArray[np.uint8] = field(repr=False, compare=False)
    duration_s: float | None = None
    heads: tuple[tuple[float, float, float, float], ...] = field(default=(), repr=False, compare=False)


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
        if self._span.start_s is not None and time_s < self._span.start_s - SLACK_S:
            return False
        if not self._span.step_s:
            return True
        if self._origin is None:
            self._origin = time_s
        passed = (time_s - self._origin + SLACK_S) / self._span.step_s
        if 0 < self._tick - passed < 1 + _BACK_S / self._span.step_s:
            return False
        self._tick = floor(passed) + 1
        return True

    def over(self, time_s: float) -> bool:
        return self._span.end_s is not None and time_s >= self._span.end_s
