"""The figures by hand, and beside scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest

from ferkit import DataError
from ferkit.evaluation.figures import coverage_risk, expected_calibration_error, reliability, score, wilson

pytestmark = pytest.mark.train


def test_figures_are_scikit_learns(answers: tuple[np.ndarray, np.ndarray]) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    p, truth = answers
    report, predicted = score(p, truth, list("abcd")), p.argmax(axis=1)
    assert report["confusion"]["rows"] == metrics.confusion_matrix(truth, predicted).tolist()
    assert report["macro_f1"] == pytest.approx(metrics.f1_score(truth, predicted, average="macro"))
    assert report["mean_recall"] == pytest.approx(metrics.balanced_accuracy_score(truth, predicted))
    for key, values in zip(("precision", "recall", "f1"), metrics.precision_recall_fscore_support(truth, predicted), strict=False):
        assert [row[key] for row in report["per_label"].values()] == pytest.approx(values.tolist())


def test_reliability_holds_the_calibration_error(answers: tuple[np.ndarray, np.ndarray]) -> None:
    p, truth = answers
    bins = reliability(p, truth)
    assert sum(row["n"] for row in bins) == 500
    gap = sum(row["n"] * abs(row["accuracy"] - row["confidence"]) for row in bins) / 500
    assert gap == pytest.approx(expected_calibration_error(p, truth))
    assert all(row["low"] < row["confidence"] <= row["high"] + 1e-6 for row in bins)


def test_coverage_risk_by_hand() -> None:
    p = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]], np.float32)
    curve, aurc = coverage_risk(p, np.array([0, 1, 1, 1]))
    assert curve["coverage"] == [0.25, 0.5, 0.75, 1.0]
    assert curve["risk"] == pytest.approx([0, 1 / 2, 1 / 3, 2 / 4])
    assert aurc == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)
    tied = np.full((4, 2), 0.5, np.float32)  # no order among equals: the risk is the same at every coverage
    assert coverage_risk(tied, np.array([0, 1, 1, 0]))[0]["risk"] == pytest.approx([0.5] * 4)


def test_metrics_by_hand() -> None:
    p = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]], np.float32)
    report = score(p, np.array([0, 0, 1, 1]), ["a", "b"])
    assert report["accuracy"] == 0.75
    assert report["confusion"]["rows"] == [[2, 0], [1, 1]]
    row = {key: value for key, value in report["per_label"]["a"].items() if key != "ci95"}
    assert row == {"n": 2, "right": 2, "precision": pytest.approx(2 / 3), "recall": 1.0, "f1": pytest.approx(0.8)}
    assert report["macro_f1"] == pytest.approx((0.8 + 2 / 3) / 2)
    assert report["ece"] == pytest.approx((0.1 + 0.2 + 0.3 + 0.6) / 4, abs=1e-6)
    with pytest.raises(DataError):
        score(p[:0], np.zeros(0, int), ["a", "b"])


def test_wilson_by_hand() -> None:
    assert wilson(0, 10)[0] == pytest.approx(0, abs=1e-12)
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)  # Newcombe, Statistics in Medicine 1998


def test_a_perfectly_calibrated_classifier_has_no_error() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, 200_000)
    p = np.column_stack([confidence, 1 - confidence]).astype(np.float32)
    truth = (rng.random(len(p)) > confidence).astype(int)
    assert expected_calibration_error(p, truth) < 0.01
