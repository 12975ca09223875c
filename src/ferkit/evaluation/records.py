"""What a measurement reports, entry by entry: dictionaries at run time, whose keys and values a type checker knows."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from ..weights.records import OutputFigures

__all__ = ["Confusion", "CoverageRisk", "Figures", "LabelFigures", "Learnt", "Others", "OutputsReport", "ReliabilityBin", "Report"]


class LabelFigures(TypedDict):
    """Of the faces of one label: how many there are and how many are right, and shares 0-1; ``ci95`` (of recall) is None without faces."""

    n: int
    precision: float
    recall: float
    f1: float
    right: int
    ci95: list[float] | None


class Confusion(TypedDict):
    """Counts of faces, rows truth, columns prediction."""

    labels: list[str]
    rows: list[list[int]]


class ReliabilityBin(TypedDict):
    """The faces whose confidence lies between ``low`` and ``high``: how many, their mean confidence and their accuracy."""

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float


class CoverageRisk(TypedDict):
    """The error among the most confident share of the faces, for shares of them."""

    coverage: list[float]
    risk: list[float]


class Figures(TypedDict):
    """What ``ferkit.evaluation.score`` answers; ``ci95`` is Wilson's interval of the accuracy, ``aurc`` the mean risk over all coverages."""

    accuracy: float
    n: int
    ci95: list[float]
    macro_f1: float
    mean_recall: float
    ece: float
    per_label: dict[str, LabelFigures]
    confusion: Confusion
    reliability: list[ReliabilityBin]
    coverage_risk: CoverageRisk
    aurc: float


class OutputsReport(TypedDict):
    """What ``ferkit.evaluation.score_outputs`` answers for several labels at once, or values: the mean over the outputs, and each."""

    n: int
    mean: OutputFigures
    per_output: dict[str, OutputFigures]


class Others(TypedDict):
    """The faces that weights did not learn from; figures only where there are some."""

    n: int
    accuracy: NotRequired[float]
    ci95: NotRequired[list[float]]


class Learnt(TypedDict):
    """How many of the measured faces the weights learnt from, and what they answer on the others."""

    n: int
    others: Others


class Report(Figures):
    """What ``ferkit.evaluation.evaluate`` answers: the figures, and what was measured.

    ``skipped``: of each file that could not be used its name and why. ``data``: what was ignored and mapped. ``learnt``: None if none
    of the faces was learnt from, as far as is known. Weights that answer several labels at once, or values, have ``kind``, ``mean`` and
    ``per_output``, as ``ferkit.evaluation.outputs.score_outputs`` tells them, in the place of the figures on classes and of ``truth``:
    ``ferkit.evaluation.outputs.of_outputs`` tells such a report.
    """

    weights: str
    split: str
    labels: str
    truth: str
    tta: str | int
    skipped: list[list[str]]
    data: list[str]
    learnt: Learnt | None
