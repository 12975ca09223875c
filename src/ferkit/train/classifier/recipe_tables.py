"""The tables of a recipe's TOML file, entry by entry: dictionaries at run time, whose keys and values a type checker knows.

A table says what is given and nothing else, as an entry that is absent has another meaning than one that has a default's value. So a
recipe is written into checkpoints and specs as it was read, and a run goes on whatever defaults a later ferkit has.
docs/training.md says what each entry means. ``[model]`` has the options of an architecture, which may be anybody's function.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

from ...crops import CropTable, Scale

__all__ = [
    "ENTRIES",
    "TABLES",
    "AugmentTable",
    "DataTable",
    "EarlyStoppingTable",
    "MixTable",
    "OptimizerTable",
    "PhotosTable",
    "PlateauTable",
    "ReleaseTable",
    "SnapshotsTable",
    "TeacherTable",
    "TrainingTable",
    "Watch",
]


class DataTable(Scale, total=False):
    """``[data]``: sides in pixels."""

    size: int
    window: int
    channels: int


class AugmentTable(TypedDict, total=False):
    """``[augment]``: as ``ferkit.train.classifier.augment.AugmentOptions``."""

    crop: int
    rotation: float
    shear: float
    scale: Sequence[float]
    shift: float
    fill: str
    flip: float
    brightness: float
    gain: Sequence[float]
    contrast: float
    erase: float
    erase_area: Sequence[float]
    degrade: float
    blur: float
    noise: float


class MixTable(TypedDict, total=False):
    """``[mix]``: the parameter of each one's Beta distribution."""

    mixup: float
    cutmix: float


class TeacherTable(TypedDict, total=False):
    """``[teacher]``: weights by name, what softens their answers, and what these count beside the labels."""

    weights: Sequence[str]
    temperature: float
    weight: float


class PhotosTable(TypedDict, total=False):
    """``[photos]``: shares 0-1, and by label what those count that nobody checked."""

    share: float
    label_weight: float
    arguable: float
    unchecked: Mapping[str, float]
    temperature: float
    degrade: float
    balance: float
    joint: bool
    weight: float


class OptimizerTable(TypedDict, total=False):
    """``[optimizer]``; from ``momentum`` on: of one optimiser each."""

    name: str
    schedule: str
    cycles: int
    learning_rate: float
    weight_decay: float
    warmup_epochs: float
    decay_epochs: float
    ema: float
    sam: float
    momentum: float
    nesterov: bool
    beta_1: float
    beta_2: float
    epsilon: float
    rho: float


class TrainingTable(TypedDict, total=False):
    """``[training]``."""

    batch_size: int
    precision: str
    validate_every: int
    settle: bool
    initial: str
    faint_smiles: int


class Watch(TypedDict, total=False):
    """What is watched, and how long it may stand still."""

    monitor: str
    patience: int
    min_delta: float


class EarlyStoppingTable(Watch, total=False):
    """``[early_stopping]``."""

    restore_best: bool


class PlateauTable(Watch, total=False):
    """``[plateau]``."""

    factor: float
    min_learning_rate: float


class SnapshotsTable(TypedDict, total=False):
    """``[snapshots]``: every so many iterations, or every ``"cycle"``."""

    every: int | str
    keep: int


class ReleaseTable(TypedDict, total=False):
    """``[release]``."""

    default_output: str
    precision: str


TABLES: dict[str, type] = {
    "data": DataTable,
    "crop": CropTable,
    "augment": AugmentTable,
    "mix": MixTable,
    "teacher": TeacherTable,
    "photos": PhotosTable,
    "training": TrainingTable,
    "early_stopping": EarlyStoppingTable,
    "plateau": PlateauTable,
    "snapshots": SnapshotsTable,
    "release": ReleaseTable,
}
# The entries that each table may have.
ENTRIES: dict[str, tuple[str, ...]] = {name: tuple(table.__annotations__) for name, table in TABLES.items()}
