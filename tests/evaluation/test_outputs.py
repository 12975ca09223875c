"""Figures of several labels at once and of values."""

from __future__ import annotations

import numpy as np
import pytest

from ferkit import DataError, LabelSet
from ferkit.evaluation.outputs import average_precision, concordance, format_outputs, score_outputs
from ferkit.evaluation.records import OutputsReport
from tests.helpers.records import mismatches

LABELS = LabelSet("labels", ("a", "b"), kind="labels")
VALUES = LabelSet("values", ("v", "w"), kind="values")


def test_average_precision_is_scikit_learns() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    for ties in (1000, 5):
        for _ in range(20):
            truth, scores = rng.random(60) > 0.7, rng.integers(0, ties, 60) / ties
            assert average_precision(scores, truth) == pytest.approx(metrics.average_precision_score(truth, scores), abs=1e-12)


def test_concordance_by_hand() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=200)
    assert concordance(x, x) == pytest.approx(1)
    assert concordance(-x, x) == pytest.approx(-1, abs=0.05)
    assert concordance(x + 1, x) < 0.8  # a shift, which Pearson's does not see
    assert np.isnan(concordance(np.ones(5), np.ones(5)))


def test_values_report() -> None:
    rng = np.random.default_rng(2)
    truth = rng.normal(size=(300, 2))
    truth[::3, 1] = np.nan
    answers = np.nan_to_num(truth) + rng.normal(0, 0.5, (300, 2))
    report = score_outputs(answers, truth, VALUES, draws=200)
    assert not list(mismatches(report, OutputsReport))
    row = report["per_output"]["v"]
    assert row["mae"] == pytest.approx(np.abs(answers[:, 0] - truth[:, 0]).mean())
    assert row["rmse"] == pytest.approx(np.sqrt(((answers[:, 0] - truth[:, 0]) ** 2).mean()))
    assert row["pearson"] == pytest.approx(np.corrcoef(answers[:, 0], truth[:, 0])[0, 1])
    assert (row["n"], report["per_output"]["w"]["n"]) == (300, 200)
    assert report["mean"]["ccc"] == pytest.approx((row["ccc"] + report["per_output"]["w"]["ccc"]) / 2)
    for name in ("mae", "rmse", "ccc", "pearson"):
        low, high = row["ci95"][name]
        assert low < row[name] < high
        assert high - low < 0.3
    assert any(line.startswith("CCC") for line in format_outputs(report))


def test_the_interval_is_the_bootstraps() -> None:
    """Against the formula for a mean: MAE of many faces."""
    rng = np.random.default_rng(3)
    off = rng.exponential(size=(2000, 1))
    report = score_outputs(off, np.zeros((2000, 1)), LabelSet("values", ("v",), kind="values"))
    low, high = report["mean"]["ci95"]["mae"]
    half = 1.96 * off.std() / np.sqrt(2000)
    assert (low, high) == pytest.approx((off.mean() - half, off.mean() + half), abs=0.01)


def test_labels_report_and_figures_that_do_not_exist() -> None:
    answers = np.array([[0.9, 0.2], [0.6, 0.3], [0.4, 0.1], [0.1, 0.4]])
    truth = np.array([[1.0, 0.0], [0.0, 0.0], [1.0, np.nan], [0.0, 0.0]])
    report = score_outputs(answers, truth, LABELS, draws=50)
    assert not list(mismatches(report, OutputsReport))
    a, b = report["per_output"]["a"], report["per_output"]["b"]
    assert (a["true"], a["precision"], a["recall"], a["f1"]) == (2, 0.5, 0.5, 0.5)
    assert a["average_precision"] == pytest.approx((1 + 2 / 3) / 2)
    assert b["average_precision"] is None
    assert b["n"] == 3
    assert b["true"] == 0
    assert report["mean"]["average_precision"] == a["average_precision"]  # the mean of those that exist
    assert "does not exist here" in "\n".join(format_outputs(report))


def test_nothing_to_measure() -> None:
    with pytest.raises(DataError, match="no faces"):
        score_outputs(np.zeros((0, 2)), np.zeros((0, 2)), VALUES)
