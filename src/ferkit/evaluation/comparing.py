"""Comparing two classifiers on the same faces. Needs no Keras."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..weights.records import Comparison

__all__ = ["compare", "mcnemar"]

_DRAWS = 20_000


def compare(before: NDArray[np.bool_], after: NDArray[np.bool_], seed: int = 0) -> Comparison:
    """Compare two classifiers by which faces each has right.

    Args:
        before, after: bool ``(n,)``, n at least 1, the same faces in the same order.
        seed: Of the bootstrap.

    Returns:
        ``n``, ``before`` and ``after`` (accuracies), ``difference``, ``ci95`` (of the difference: percentile bootstrap over
        faces, both answers of a face drawn together), ``gained`` and ``lost`` (faces), ``p_value`` (exact McNemar test).
    """
    n = len(before)
    gained, lost = int((after & ~before).sum()), int((before & ~after).sum())
    # Only the counts of gained and lost faces matter, and those of a resample are multinomial.
    draws = np.random.default_rng(seed).multinomial(n, [gained / n, lost / n, 1 - (gained + lost) / n], _DRAWS)
    low, high = np.quantile((draws[:, 0] - draws[:, 1]) / n, [0.025, 0.975])
    return {
        "n": n,
        "before": float(before.mean()),
        "after": float(after.mean()),
        "difference": float(after.mean() - before.mean()),
        "ci95": [float(low), float(high)],
        "gained": gained,
        "lost": lost,
        "p_value": mcnemar(gained, lost),
    }


def mcnemar(gained: int, lost: int) -> float:
    """Return the two-sided exact p-value of McNemar's test (Psychometrika 1947): a coin tossed once per changed face."""
    total = gained + lost
    tail = sum(math.comb(total, i) for i in range(min(gained, lost) + 1))
    return float(min(1.0, 2 * tail / 2**total))
