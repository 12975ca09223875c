"""Softmax, its logarithm, the sigmoid and its inverse: the one place where raw outputs become probabilities in NumPy.

Networks that train or run inside Keras use ``keras.ops.softmax`` and ``keras.ops.log_softmax``.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from .errors import WeightsError

__all__ = ["finite", "log_softmax", "logit", "sigmoid", "softmax", "softmax_and_log"]

_Float = TypeVar("_Float", bound=np.floating[Any])
Axis = int | tuple[int, ...]


def finite(rows: NDArray[_Float], name: str) -> NDArray[_Float]:
    """Return a network's answers ``(..., n, columns)``. Raises WeightsError, which says whose and what came, if they are not finite numbers."""
    if not np.isfinite(rows).all():
        wrong = ~np.isfinite(rows).reshape(-1, *rows.shape[-2:]).all(axis=(0, 2))
        raise WeightsError(
            f"{name} answers {rows[~np.isfinite(rows)][0]} for {wrong.sum()} of {len(wrong)} faces; expected finite numbers. "
            "Look at how it was trained or converted, and at what it is fed: pixels, mean and std."
        )
    return rows


def softmax(scores: NDArray[_Float], axis: Axis = -1) -> NDArray[_Float]:
    """Return probabilities in the shape and dtype of raw outputs, 1 in all along ``axis``; large outputs do not overflow.

    >>> softmax(np.array([[1000.0, 1000.0], [0.0, -1000.0]])).tolist()
    [[0.5, 0.5], [1.0, 0.0]]
    """
    shares: NDArray[_Float] = np.exp(scores - scores.max(axis=axis, keepdims=True))
    return np.asarray(shares / shares.sum(axis=axis, keepdims=True))


def log_softmax(scores: NDArray[_Float], axis: Axis = -1) -> NDArray[_Float]:
    """Return the logarithms of ``softmax(scores, axis)``, exact where the probability itself would round to 0.

    >>> log_softmax(np.array([0.0, -1000.0])).tolist()
    [0.0, -1000.0]
    """
    return softmax_and_log(scores, axis)[1]


def softmax_and_log(scores: NDArray[_Float], axis: Axis = -1) -> tuple[NDArray[_Float], NDArray[_Float]]:
    """Return ``softmax(scores, axis)`` and ``log_softmax(scores, axis)`` for the price of one exponential."""
    shifted: NDArray[_Float] = scores - scores.max(axis=axis, keepdims=True)
    shares: NDArray[_Float] = np.exp(shifted)
    total = shares.sum(axis=axis, keepdims=True)
    return np.asarray(shares / total), np.asarray(shifted - np.log(total))


def sigmoid(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return 1 / (1 + exp(-x)), which no number overflows."""
    return 0.5 + 0.5 * np.tanh(0.5 * values.astype(np.float64))


def logit(probabilities: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Return log(p / (1 - p)) in the shape of probabilities, which 0 and 1 do not make infinite.

    >>> logit(0.5).item()
    0.0
    """
    p = np.clip(probabilities, 1e-9, 1 - 1e-9)
    return np.asarray(np.log(p / (1 - p)))
