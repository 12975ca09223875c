"""The figures of several labels at once, and of values, each with its interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..labels import LABELS, LabelSet
from ..logits import sigmoid
from ..weights.records import OutputFigures
from .records import OutputsReport

__all__ = ["average_precision", "concordance", "format_outputs", "mean_figures", "of_outputs", "score_outputs"]

Numbers = NDArray[np.floating]
_NAMES = {
    "average_precision": "mean average precision",
    "f1": "macro-F1",
    "precision": "precision",
    "recall": "recall",
    "mae": "MAE",
    "rmse": "RMSE",
    "ccc": "CCC",
    "pearson": "Pearson",
}


def average_precision(scores: Numbers, truth: NDArray[np.bool_]) -> float:
    """Return the mean of the precisions at which each true one is found, scores ``(n,)`` from the highest down; NaN without a true one.

    Faces of the same score are found together. It is what scikit-learn calls ``average_precision_score``.

    >>> round(average_precision(np.array([0.9, 0.8, 0.1]), np.array([True, False, True])), 4)
    0.8333
    """
    if not truth.any():
        return math.nan
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)  # of each group of equal scores
    found = np.cumsum(truth[order])[last]
    return float((np.diff(found, prepend=0) * found / (last + 1)).sum() / truth.sum())


def concordance(answers: Numbers, truth: Numbers) -> float:
    """Return the concordance correlation coefficient of two series ``(n,)``, -1 to 1: 1 where they are equal. NaN where both are constant.

    Source: Lin, "A concordance correlation coefficient to evaluate reproducibility", Biometrics 1989.

    >>> concordance(np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0, 2.0]))
    1.0
    """
    apart = answers.var() + truth.var() + (answers.mean() - truth.mean()) ** 2
    return float(2 * ((answers - answers.mean()) * (truth - truth.mean())).mean() / apart) if apart else math.nan


def _pearson(answers: Numbers, truth: Numbers) -> float:
    spread = answers.std() * truth.std()
    return float(((answers - answers.mean()) * (truth - truth.mean())).mean() / spread) if spread > 1e-12 else math.nan


def _shares(answers: Numbers, truth: Numbers) -> tuple[float, float, float]:
    """Return precision, recall and F1 of a label, true from one half on; 0 where there is nothing to divide by."""
    said, so = answers >= 0.5, truth > 0.5
    right = float((said & so).sum())
    precision, recall = right / max(1, said.sum()), right / max(1, so.sum())
    return precision, recall, 2 * precision * recall / (precision + recall) if right else 0.0


_Figures = Mapping[str, Callable[[Numbers, Numbers], float]]
_LABEL_FIGURES: _Figures = {
    "average_precision": lambda answers, truth: average_precision(answers, truth > 0.5),
    "f1": lambda answers, truth: _shares(answers, truth)[2],
    "precision": lambda answers, truth: _shares(answers, truth)[0],
    "recall": lambda answers, truth: _shares(answers, truth)[1],
}
_VALUE_FIGURES: _Figures = {
    "mae": lambda answers, truth: float(np.abs(answers - truth).mean()),
    "rmse": lambda answers, truth: float(np.sqrt(np.square(answers - truth).mean())),
    "ccc": concordance,
    "pearson": _pearson,
}


def _known(answers: Numbers, truth: Numbers, column: int) -> tuple[Numbers, Numbers]:
    there = ~np.isnan(truth[:, column])
    return answers[there, column].astype(np.float64), truth[there, column].astype(np.float64)


def _figures(answers: Numbers, truth: Numbers, labels: LabelSet) -> NDArray[np.float64]:
    """Return every figure of every output, ``(k, figures)``; NaN where it does not exist, or nothing is known."""
    chosen = (_LABEL_FIGURES if labels.kind == LABELS else _VALUE_FIGURES).values()
    pairs = [_known(answers, truth, column) for column in range(len(labels))]
    return np.array([[figure(*pair) if len(pair[0]) else math.nan for figure in chosen] for pair in pairs])


def _mean(figures: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over the outputs that have a figure; NaN where none has."""
    there = ~np.isnan(figures)
    count = there.sum(axis=-2)
    return np.where(count > 0, np.where(there, figures, 0.0).sum(axis=-2) / np.maximum(count, 1), math.nan)


def mean_figures(answers: Numbers, truth: Numbers, labels: LabelSet) -> dict[str, float]:
    """Return the means of the figures over the outputs, for answers and truth ``(n, k)``.

    Args:
        answers: Of values their own; of labels logits.
        truth: NaN where nobody knows.
        labels: Names and kind.
    """
    shown = sigmoid(answers) if labels.kind == LABELS else answers
    names = _LABEL_FIGURES if labels.kind == LABELS else _VALUE_FIGURES
    return {name: float(value) for name, value in zip(names, _mean(_figures(shown, truth, labels)), strict=True)}


def score_outputs(answers: Numbers, truth: Numbers, labels: LabelSet, draws: int = 1000) -> OutputsReport:
    """Return the figures of ``evaluate`` for several labels, or values.

    Args:
        answers: Probabilities, or values, ``(n, k)``.
        truth: 0 to 1, or values, ``(n, k)``; NaN where nobody knows.
        labels: Names and kind.
        draws: Of the bootstrap over faces, from which the 95 % intervals come (percentiles; seed 0).

    Returns:
        ``n``; ``mean``, over the outputs; ``per_output``, each with its ``n``, of labels how many are ``true``. Figures of labels:
        ``average_precision``, ``f1``, ``precision``, ``recall`` (true from a probability of one half on); of values: ``mae``, ``rmse``,
        ``ccc``, ``pearson``; with ``ci95``. None where a figure does not exist, such as a correlation with a constant.

    Raises:
        DataError: No faces.
    """
    if not len(truth):
        raise DataError("Nothing to measure: no faces.")
    names = list(_LABEL_FIGURES if labels.kind == LABELS else _VALUE_FIGURES)
    rng = np.random.default_rng(0)
    draw = (rng.integers(0, len(truth), len(truth)) for _ in range(draws))  # one at a time: all of them are gigabytes for many faces
    drawn = np.array([_figures(answers[rows], truth[rows], labels) for rows in draw])
    figures = _figures(answers, truth, labels)
    per_output: dict[str, OutputFigures] = {}
    for column, name in enumerate(labels):
        _, own = _known(answers, truth, column)
        count: OutputFigures = {"n": len(own)}
        if labels.kind == LABELS:
            count["true"] = int((own > 0.5).sum())
        per_output[name] = {**count, **_told(names, figures[column], drawn[:, column])}
    return {"n": len(truth), "mean": _told(names, _mean(figures), _mean(drawn)), "per_output": per_output}


def _told(names: list[str], figures: NDArray[np.float64], drawn: NDArray[np.float64]) -> OutputFigures:
    """Return figures by name, and their intervals from ``(draws, figures)``."""
    told = {name: _number(value) for name, value in zip(names, figures, strict=True)}
    intervals = {}
    for name, column in zip(names, drawn.T, strict=True):
        there = column[~np.isnan(column)]
        intervals[name] = [float(v) for v in np.percentile(there, [2.5, 97.5])] if len(there) else None
    return cast("OutputFigures", {**told, "ci95": intervals})


def of_outputs(report: Mapping[str, object]) -> Mapping[str, Any] | None:
    """Return a report if it is one on several labels or values; None for one on classes."""
    return report if "kind" in report else None


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def format_outputs(report: Mapping[str, Any]) -> list[str]:
    """Return the lines of a report on several labels or values, for people."""
    lines = [f"{_NAMES[name]:<24} {_shown(report['mean'], name)}   n = {report['n']:,}" for name in report["mean"] if name != "ci95"]
    for output, row in report["per_output"].items():
        count = f"n = {row['n']:,}" + (f", true {row['true']:,}" if "true" in row else "")
        lines += ["", f"{output} ({count})"]
        lines += [f"  {_NAMES[name].removeprefix('mean ').removeprefix('macro-'):<22} {_shown(row, name)}" for name in row["ci95"]]
    return lines


def _shown(row: Mapping[str, Any], name: str) -> str:
    interval = row["ci95"][name]
    if row[name] is None or interval is None:
        return "does not exist here"
    return f"{row[name]:.3f}  (95 % interval {interval[0]:.3f} to {interval[1]:.3f})"
