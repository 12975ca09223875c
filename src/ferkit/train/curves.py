"""Calibration and abstaining, as curves. Needs no Keras."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["coverage_risk", "reliability"]

_POINTS = 101


def reliability(probabilities: NDArray[np.float32], truth: NDArray[np.int64], bins: int = 15) -> list[dict[str, float]]:
    """Return the reliability diagram: per equal-width bin of confidence its ``low`` and ``high`` edge, ``n``, mean ``confidence``, ``accuracy``.

    Empty bins are left out. The expected calibration error is the mean gap between the last two, weighted by ``n``.
    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
    """
    confidence, right = probabilities.max(axis=1).astype(np.float64), probabilities.argmax(axis=1) == truth
    which = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    rows = []
    for b in np.unique(which):
        own = which == b
        row = {"low": b / bins, "high": (b + 1) / bins, "n": int(own.sum())}
        rows.append({**row, "confidence": float(confidence[own].mean()), "accuracy": float(right[own].mean())})
    return rows


def coverage_risk(probabilities: NDArray[np.float32], truth: NDArray[np.int64]) -> dict[str, Any]:
    """Return what abstaining buys: the error among the most confident share of the faces, for every share.

    Returns:
        ``coverage`` and ``risk``, lists of at most 101 points each, and ``aurc``, the mean risk over all coverages
        (Geifman et al., "Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers", ICLR 2019). Faces of equal confidence
        are taken together, so that their order in the file does not count.
    """
    confidence, wrong = probabilities.max(axis=1).astype(np.float64), probabilities.argmax(axis=1) != truth
    n = len(truth)
    levels, which = np.unique(-confidence, return_inverse=True)
    share = np.bincount(which, weights=wrong, minlength=len(levels)) / np.bincount(which)  # the expected order within a tie
    risk = np.cumsum(share[np.sort(which)]) / np.arange(1, n + 1)
    shown = np.unique(np.linspace(0, n - 1, min(n, _POINTS)).round().astype(int))
    return {"coverage": ((shown + 1) / n).tolist(), "risk": risk[shown].tolist(), "aurc": float(risk.mean())}
