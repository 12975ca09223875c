"""Probabilities smoothed per person, on their logarithms."""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from ..logits import softmax

__all__ = ["Smoother"]

_FLOOR = 1e-5  # one frame of certainty must not outweigh seconds of evidence
_FORGET_S, _MOST = 30.0, 64  # how long a track is remembered once there are so many
_READ_S = 0.066  # between two readings of a face that is smoothed: 15 a second tell what 60 do, at a quarter of the work


class Smoother:
    """An exponential mean of log-probabilities, which are the logits up to a constant.

    Args:
        seconds: Time constant; after so long a change has arrived by 63 %. 0 changes nothing.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._state: dict[int, tuple[float, NDArray[np.float64]]] = {}
        self._asked: dict[int, float] = {}

    def due(self, number: int, time_s: float) -> bool:
        """Say whether a track's face is to be classified at a time (seconds); asked once for each, in their order.

        Without smoothing it always is. With it, what a reading says holds until the next one.
        """
        if self._seconds and abs(time_s - self._asked.get(number, float("-inf"))) < _READ_S - 1e-3:
            return False
        self._asked[number] = time_s
        if len(self._asked) > _MOST:
            self._asked = {n: t for n, t in self._asked.items() if time_s - t < _FORGET_S}
        return True

    @property
    def remembered(self) -> Collection[int]:
        """The tracks that were asked for of late, and all while there are few."""
        return self._asked.keys()

    def __call__(self, number: int, time_s: float, probabilities: NDArray[np.float32] | None) -> NDArray[np.float32]:
        """Return the smoothed probabilities ``(k,)`` of a track at a time (seconds); None where it was not ``due``."""
        if probabilities is None:
            return np.asarray(softmax(self._state[number][1]), np.float32)
        if not self._seconds:
            return probabilities
        logits = np.log(np.maximum(probabilities.astype(np.float64), _FLOOR))
        last = self._state.get(number)
        if last is not None:
            weight = 1 - math.exp(-max(0.0, time_s - last[0]) / self._seconds)
            logits = last[1] + weight * (logits - last[1])
        self._state[number] = (time_s, logits)
        if len(self._state) > _MOST:
            self._state = {n: s for n, s in self._state.items() if time_s - s[0] < _FORGET_S}
        return np.asarray(softmax(logits), np.float32)
