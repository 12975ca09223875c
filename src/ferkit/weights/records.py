"""What a ``spec.json`` holds, entry by entry: dictionaries at run time, whose keys and values a type checker knows.

Files of weights stay what they are, since nothing is converted: what was read is the record, and is written as it came.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

from ..crops import Scale

__all__ = [
    "Architecture",
    "Base",
    "Comparison",
    "Count",
    "DetectionRow",
    "FaceHead",
    "FileEntry",
    "Heads",
    "MetricRow",
    "NetworkInput",
    "OutputFigures",
    "Paired",
    "Training",
]


class FileEntry(TypedDict):
    """One file: its SHA-256, and its size in bytes."""

    sha256: str
    size: int


class NetworkInput(Scale):
    """How a face is prepared for a network.

    ``size``: side of the square, pixels. ``window``: side of its middle that the network sees; absent: all of it. ``channels``: 1, grey
    (also where it is absent), or 3. ``order``: ``"rgb"`` or ``"bgr"``. ``layout`` and ``interpolation`` describe; nothing reads them.
    """

    size: int
    window: NotRequired[int]
    channels: NotRequired[int]
    order: NotRequired[str]
    layout: NotRequired[str]
    interpolation: NotRequired[str]


class Base(TypedDict):
    """The weights that fine-tuning began from, the SHA-256 of their ``model.onnx``, and what they learnt from."""

    name: str
    sha256: str
    data: str


class Heads(TypedDict, total=False):
    """How the heads of a trained network were fitted anew, as benchmarks/photo_heads.py does it; the rest is ``base``'s.

    ``recipe`` is that of the portraits' targets and teachers, ``settings`` the candidate's name in the record of what was tried.
    """

    base: str
    recipe: str
    portraits: int
    folder: str
    settings: str
    balance: float
    count: Mapping[str, float]


class FaceHead(TypedDict):
    """What a detector's second network learnt of views: the detector whose boxes they are, how many show faces, and how many others do not."""

    began_with: str
    faces: int
    others: int
    drawn: int


class Training(TypedDict, total=False):
    """Where weights come from: each has the entries of its kind.

    ``recipe``: the whole recipe, as its ``to_dict`` gave it. ``source``: the folder or file that was learnt from; ``data``: it, described.
    """

    recipe: Mapping[str, Any]
    seed: int
    faces: int
    data: str
    source: str
    epochs: int
    hours: float
    machine: str
    heads: Heads
    # Fine-tuned ones.
    base: Base
    held_out: int
    folds: int
    persons: int
    unfrozen: str
    # Adopted ones: the file's name, and its SHA-256.
    adopted: str
    sha256: str
    # Detectors.
    photos: int
    negatives: int
    faces_with_landmarks: int
    landmarks_of: str
    started_from: str
    face_head: FaceHead


class Architecture(TypedDict, total=False):
    """A network's name, parameters and multiply-adds for one picture; ``columns``: its raw outputs, where labels have fewer.

    A detector has ``macs_320``, at 320x320 pixels, and of its network for landmarks ``points_parameters`` and ``points_macs``.
    """

    name: str
    parameters: int
    macs: int
    columns: int
    macs_320: int
    points_parameters: int
    points_macs: int


class Count(TypedDict):
    """So many of ``n`` faces are right."""

    n: int
    right: int


class Comparison(TypedDict):
    """Two classifiers on the same ``n`` faces: accuracies, their difference with its 95 % interval, faces won and lost, McNemar's p."""

    n: int
    before: float
    after: float
    difference: float
    ci95: list[float]
    gained: int
    lost: int
    p_value: float


class Paired(Comparison):
    """A comparison with the base's answers in one of its label sets."""

    against: str


class OutputFigures(TypedDict, total=False):
    """Figures of one label or value, or the mean over them: each kind of output has its own. None where a figure does not exist.

    ``true``: faces of which a label is true. ``ci95``: figure -> its 95 % interval, or None.
    """

    n: int
    true: int
    average_precision: float | None
    f1: float | None
    precision: float | None
    recall: float | None
    mae: float | None
    rmse: float | None
    ccc: float | None
    pearson: float | None
    ci95: dict[str, list[float] | None]


class MetricRow(TypedDict):
    """What was measured of one label set in so many views; shares to four decimals.

    Of several labels at once, and of values, ``kind``, ``mean`` and ``per_output`` stand in the place of the figures on classes.
    """

    kind: NotRequired[str]
    mean: NotRequired[OutputFigures]
    per_output: NotRequired[dict[str, OutputFigures]]

    labels: str
    truth: str
    split: str
    tta: str | int
    n: int
    accuracy: float
    ci95: list[float]
    macro_f1: float
    mean_recall: float
    ece: float
    recall: NotRequired[dict[str, float]]
    per_label: NotRequired[dict[str, Count]]
    before: NotRequired[Paired]
    publictest: NotRequired[Paired]


# One key is not a name in Python.
DetectionRow = TypedDict(
    "DetectionRow",
    {
        "smallest": float,
        "largest": float | None,
        "pictures": int,
        "faces": int,
        "ap50": float,
        "recall_at_1_fppi": float,
        "recall_at_0.1_fppi": float,
    },
)
