"""Temperatures."""

from __future__ import annotations

import numpy as np
import pytest

from ferkit.evaluation.calibration import fit_temperature

pytestmark = pytest.mark.train


@pytest.mark.parametrize("true", [0.4, 1.0, 2.5])
def test_the_temperature_makes_the_mean_confidence_the_accuracy(true: float) -> None:
    rng = np.random.default_rng(3)
    scores = rng.normal(0, 2, (20_000, 5))
    p = np.exp(scores / true)
    p /= p.sum(axis=1, keepdims=True)
    truth = (p.cumsum(axis=1) > rng.random((len(p), 1))).argmax(axis=1)
    found = fit_temperature(scores, truth)
    assert found == pytest.approx(true, rel=0.05)
    own = np.exp(scores / found - (scores / found).max(axis=1, keepdims=True))
    confidence = (1 / own.sum(axis=1)).mean()
    assert confidence == pytest.approx((scores.argmax(axis=1) == truth).mean(), abs=1e-6)


def test_one_temperature_serves_one_view_and_several() -> None:
    rng = np.random.default_rng(3)
    true = rng.normal(0, 2, (20_000, 5))
    truth = (np.exp(true) / np.exp(true).sum(axis=1, keepdims=True)).cumsum(axis=1) > rng.random((len(true), 1))
    truth = truth.argmax(axis=1)
    views = true + rng.normal(0, 1.5, (4, *true.shape))

    def surplus(temperature: float, count: int) -> float:
        p = np.exp(views[:count] / temperature)
        mean = (p / p.sum(axis=-1, keepdims=True)).mean(axis=0)
        return float(mean.max(axis=1).mean() - (mean.argmax(axis=1) == truth).mean())

    alone, all_ = fit_temperature(views[0], truth), fit_temperature(views, truth, (1, 2, 4))
    assert fit_temperature(views, truth, (1,)) == pytest.approx(alone)
    assert surplus(alone, 1) == pytest.approx(0, abs=1e-4)
    assert surplus(alone, 4) < -0.05  # the mean over views is less sure
    assert np.mean([surplus(all_, count) for count in (1, 2, 4)]) == pytest.approx(0, abs=1e-3)
    assert surplus(all_, 1) > 0 > surplus(all_, 4)
