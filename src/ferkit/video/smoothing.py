"""Probabilities smoothed per person, on their logarithms."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["Smoother"]

_FLOOR = 1e-5  # one frame of certainty must not outweigh seconds of evidence
_FORGET_S = 30.0


class Smoother:
    """An exponential mean of log-probabilities, which are the logits up to a constant.

    Args:
        seconds: Time constant; after so long a change has arrived by 63 %. 0 changes nothing.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._state: dict[int, tuple[float, NDArray[np.float64]]] = {}

    def __call__(self, number: int, time_s: float, probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the smoothed probabilities ``(k,)`` of a track at a time (seconds)."""
        if not self._seconds:
            return probabilities
        logits = np.log(np.maximum(probabilities.astype(np.float64), _FLOOR))
        last = self._state.get(number)
        if last is not None:
            weight = 1 - math.exp(-max(0.0, time_s - last[0]) / self._seconds)
            logits = last[1] + weight * (logits - last[1])
        self._state[number] = (time_s, logits)
        if len(self._state) > 64:
            self._state = {n: s for n, s in self._state.items() if time_s - s[0] < _FORGET_S}
        exp = np.exp(logits - logits.max())
        return np.asarray(exp / exp.sum(), np.float32)
