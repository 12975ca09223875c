"""What the tests of evaluation share."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture(scope="module")
def answers() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    p = rng.dirichlet((0.6, 0.6, 0.6, 0.6), 500).astype(np.float32)
    truth = np.array([rng.choice(4, p=row / row.sum()) for row in p.astype(np.float64)])
    return p, truth
