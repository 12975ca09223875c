"""Two classifiers on the same faces."""

from __future__ import annotations

import numpy as np
import pytest

from ferkit.evaluation.comparing import compare, mcnemar

pytestmark = pytest.mark.train


def test_paired_by_hand() -> None:
    before = np.array([True] * 60 + [False] * 40)
    after = np.array([True] * 55 + [False] * 5 + [True] * 15 + [False] * 25)
    found = compare(before, after)
    assert (found["gained"], found["lost"], found["n"]) == (15, 5, 100)
    assert found["difference"] == pytest.approx(0.10)
    assert found["p_value"] == pytest.approx(0.0414, abs=1e-4)  # 2 P(X <= 5), X ~ B(20, 1/2) = 2 * 21700 / 2**20
    # Normal approximation of the paired difference: 0.1 +- 1.96 sqrt(0.2 - 0.01) / 10.
    assert found["ci95"] == pytest.approx([0.0146, 0.1854], abs=0.012)
    assert mcnemar(0, 0) == 1.0
