"""The figures of a measurement, from probabilities and true labels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .records import CoverageRisk, Figures, ReliabilityBin

__all__ = ["FEW", "coverage_risk", "expected_calibration_error", "reliability", "rounded", "score", "told", "wilson"]

_POINTS = 101
FEW = 20  # faces, below which a share is told as a count: a percentage would claim what nobody measured


def reliability(probabilities: NDArray[np.float32], truth: NDArray[np.int64], bins: int = 15) -> list[ReliabilityBin]:
    """Return the reliability diagram: per equal-width bin of confidence its ``low`` and ``high`` edge, ``n``, mean ``confidence``, ``accuracy``.

    Empty bins are left out. The expected calibration error is the mean gap between the last two, weighted by ``n``.
    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
    """
    confidence, right = probabilities.max(axis=1).astype(np.float64), probabilities.argmax(axis=1) == truth
    which = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    return [
        {
            "low": b / bins,
            "high": (b + 1) / bins,
            "n": int((which == b).sum()),
            "confidence": float(confidence[which == b].mean()),
            "accuracy": float(right[which == b].mean()),
        }
        for b in np.unique(which)
    ]


def coverage_risk(probabilities: NDArray[np.float32], truth: NDArray[np.int64]) -> tuple[CoverageRisk, float]:
    """Return what abstaining buys: the error among the most confident share of the faces, for every share.

    Returns:
        ``coverage`` and ``risk``, lists of at most 101 points each; and AURC, the mean risk over all coverages
        (Geifman et al., "Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers", ICLR 2019). Faces of equal confidence
        are taken together, so that their order in the file does not count.
    """
    confidence, wrong = probabilities.max(axis=1).astype(np.float64), probabilities.argmax(axis=1) != truth
    n = len(truth)
    levels, which = np.unique(-confidence, return_inverse=True)
    share = np.bincount(which, weights=wrong, minlength=len(levels)) / np.bincount(which)  # the expected order within a tie
    risk = np.cumsum(share[np.sort(which)]) / np.arange(1, n + 1)
    shown = np.unique(np.linspace(0, n - 1, min(n, _POINTS)).round().astype(int))
    return {"coverage": ((shown + 1) / n).tolist(), "risk": risk[shown].tolist()}, float(risk.mean())


def rounded(value: Any) -> Any:
    """Return a figure, or a list of them, with the four decimals that specs keep."""
    if isinstance(value, float):
        return round(value, 4)
    return [round(v, 4) for v in value] if isinstance(value, list) else value


def score(probabilities: NDArray[np.float32], truth: NDArray[np.int64], classes: list[str]) -> Figures:
    """Return the figures of ``evaluate`` for probabilities ``(n, k)`` and true columns ``(n,)``."""
    if len(truth) == 0:
        raise DataError("Nothing to measure: no faces.")
    predicted = probabilities.argmax(axis=1)
    k = len(classes)
    confusion = np.bincount(truth * k + predicted, minlength=k * k).reshape(k, k)
    right, actual, claimed = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    recall = np.divide(right, actual, out=np.zeros(k), where=actual > 0)
    precision = np.divide(right, claimed, out=np.zeros(k), where=claimed > 0)
    f1 = np.divide(2 * precision * recall, precision + recall, out=np.zeros(k), where=precision + recall > 0)
    seen = actual > 0
    n = len(truth)
    abstaining, aurc = coverage_risk(probabilities, truth)
    return {
        "accuracy": float(right.sum() / n),
        "n": n,
        "ci95": list(wilson(int(right.sum()), n)),
        "macro_f1": float(f1[seen].mean()),
        "mean_recall": float(recall[seen].mean()),
        "ece": expected_calibration_error(probabilities, truth),
        "per_label": {
            name: {
                "n": int(actual[i]),
                "precision": float(precision[i]),
                "recall": float(recall[i]),
                "f1": float(f1[i]),
                "right": int(right[i]),
                "ci95": list(wilson(int(right[i]), int(actual[i]))) if actual[i] else None,
            }
            for i, name in enumerate(classes)
        },
        "confusion": {"labels": classes, "rows": confusion.tolist()},
        "reliability": reliability(probabilities, truth),
        "coverage_risk": abstaining,
        "aurc": aurc,
    }


def wilson(right: int, n: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion, 95 % by default (E. B. Wilson, JASA 1927)."""
    p, z2 = right / n, z * z
    centre, half = p + z2 / (2 * n), z * np.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return float((centre - half) / (1 + z2 / n)), float((centre + half) / (1 + z2 / n))


def expected_calibration_error(probabilities: NDArray[np.float32], truth: NDArray[np.int64], bins: int = 15) -> float:
    """Return the ECE, 0-1: the mean gap between confidence and accuracy over equal-width bins (Guo et al., ICML 2017)."""
    confidence, right = probabilities.max(axis=1).astype(np.float64), probabilities.argmax(axis=1) == truth
    which = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(which, weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(truth))


def told(right: int, n: int) -> str:
    """Return how many of n are right, in words that say how little a few faces tell.

    >>> told(1, 1), told(150, 180), told(0, 0)
    ('1 of 1 (95 % interval 21 % to 100 %)', '83.3 % (95 % interval 77.2 % to 88.1 %, n = 180)', 'no faces')
    """
    if not n:
        return "no faces"
    low, high = wilson(right, n)
    if n < FEW:
        return f"{right} of {n} (95 % interval {100 * low:.0f} % to {100 * high:.0f} %)"
    return f"{100 * right / n:.1f} % (95 % interval {100 * low:.1f} % to {100 * high:.1f} %, n = {n:,})"
