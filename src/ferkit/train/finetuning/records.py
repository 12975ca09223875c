"""What fine-tuning reports, entry by entry: dictionaries at run time, as ``finetune.json`` has them; and what it says of its data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NotRequired, TypedDict

from ...evaluation.records import Figures
from ...weights.records import Paired

__all__ = ["About", "CrossValidation", "FileRow", "Finetuned", "Fold", "FoldFigures", "Measured", "Settings", "StageFigures", "Unfrozen"]


@dataclass(frozen=True)
class About:
    """What new weights are called and learnt from.

    Attributes:
        name: Of the weights.
        data: The data, described.
        source: The folder's or the table's own name.
        licence: An SPDX name.
        seed: Of the split.
        faces, held_out: How many were learnt from, and held out.
        folds: In which every face is held out once; None: a part was.
        persons: How many the data name.
        unfrozen: The layers that were trained on; ``""``: none.
    """

    name: str
    data: str
    source: str
    licence: str
    seed: int
    faces: int
    held_out: int
    folds: int | None
    persons: int
    unfrozen: str = ""


class Fold(TypedDict):
    """The faces of a fold, and the share of them that is right."""

    fold: int
    n: int
    accuracy: float


class FoldFigures(Fold):
    """The same, with Wilson's 95 % interval."""

    ci95: list[float]


class CrossValidation(TypedDict):
    """What chose the head: its accuracy and negative log-likelihood (nats) on faces that it had not learnt from."""

    accuracy: float
    loss: float
    n: int
    folds: list[Fold]


class StageFigures(TypedDict):
    """The head alone, or a stage of unfreezing: loss (nats), accuracy and, against the head, the difference with its 95 % interval."""

    name: str
    loss: float
    accuracy: float
    difference: NotRequired[float]
    ci95: NotRequired[list[float]]


class Unfrozen(TypedDict):
    """Which stage was kept (``"head"``: none), and what cross-validation on ``n`` faces said of each."""

    kept: str
    n: int
    folds: int
    stages: list[StageFigures]


class FileRow(TypedDict):
    """One face that was not learnt from."""

    file: str
    label: str
    answer: str
    confidence: float
    person: NotRequired[str]
    fold: NotRequired[int]


class Measured(TypedDict):
    """Answers for faces that were not learnt from, beside those of the base."""

    held_out: Figures
    folds: list[FoldFigures] | None
    before: dict[str, float]
    paired: Paired | None
    held_out_files: list[FileRow]


class Settings(TypedDict):
    """What was learnt, and how it was chosen."""

    weights: str
    base: str
    labels: list[str]
    data: list[str]
    training: dict[str, int]
    held_out_faces: dict[str, int]
    persons: int
    start: str
    penalty: float
    cross_validation: CrossValidation
    unfrozen: Unfrozen | None
    temperature: float


class Finetuned(Settings, Measured):
    """What ``ferkit.train.finetune`` answers, and ``finetune.json`` holds."""

    publictest: Paired | None
    seconds: float
    skipped: list[list[str]]
