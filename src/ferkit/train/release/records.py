"""What the JSON file beside an export says, entry by entry: dictionaries at run time, whose keys and values a type checker knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

__all__ = ["Beside", "ClassesMeasured", "ClassifierExport", "DetectionMeasured", "DetectorExport", "OutputsMeasured", "Tensor"]


class Tensor(TypedDict):
    """What goes into a network or comes out. A side that is open is named: ``["n", 7]``.

    ``range``: the least and the largest value. The order of the channels is a classifier's ``colour`` and a detector's ``color``.
    """

    dtype: str
    shape: list[str | int]
    name: NotRequired[str]
    colour: NotRequired[str]
    color: NotRequired[str]
    range: NotRequired[list[int]]
    meaning: NotRequired[str]


class Beside(TypedDict):
    """One figure of ferkit's own answers, and of the export's."""

    ferkit: float
    export: float


class ClassesMeasured(TypedDict):
    """Both on the same ``n`` faces, and how many of them have another label."""

    n: int
    accuracy: Beside
    changed: int


class OutputsMeasured(TypedDict):
    """Of several labels at once, or of values: the mean figures of both, and the largest difference of an answer."""

    n: int
    ferkit: dict[str, float]
    export: dict[str, float]
    differs: float


class DetectionMeasured(TypedDict):
    """Both on pictures whose faces people marked: average precision at an IoU of 0.5."""

    pictures: int
    faces: int
    ap50: Beside


class ClassifierExport(TypedDict):
    """Beside an exported classifier. ``crop``: how a detected face is cut, as the weights' ``spec.json`` has it."""

    weights: str
    labels: list[str]
    input: Tensor
    outputs: dict[str, Tensor]
    crop: Mapping[str, Any]
    licence: str
    measured: NotRequired[ClassesMeasured | OutputsMeasured]


class DetectorExport(TypedDict):
    """Beside an exported detector. ``longer_side``: that of the first look's picture, from and to, pixels."""

    weights: str
    kind: str
    min_score: float
    longer_side: list[int]
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    licence: str
    precision: NotRequired[str]
    measured: NotRequired[DetectionMeasured]
