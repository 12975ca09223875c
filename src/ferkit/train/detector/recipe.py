"""A detector's recipe: all choices of its training, as data."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypedDict

from ...errors import InputError
from ...image_files import expanded
from ..common.values import MOST_EMA, check_number, check_numbers, check_precision
from .landmark_crops import PointAugmentation, PointAugmentTable
from .photos import Augmentation, AugmentTable

__all__ = ["DetectorRecipe", "PointRecipe", "Stage", "load_detector_recipe"]

_RECIPE = Path(__file__).parent / "recipes" / "ferkit-face.toml"


class DetectorModel(TypedDict, total=False):
    """``[model]``: options of ``build_detector``."""

    widths: Sequence[int]
    hidden: Sequence[int]
    blocks: Sequence[int]
    neck: int


class PointModel(TypedDict, total=False):
    """``[points.model]``: options of ``build_points``."""

    widths: Sequence[int]
    hidden: int
    neck: int


class PointTable(TypedDict, total=False):
    """``[points]``: as ``PointRecipe``."""

    epochs: int
    faces: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    ema: float
    seed: int
    model: PointModel
    augment: PointAugmentTable


@dataclass(frozen=True)
class Stage:
    """Epochs under one cosine of the learning rate, with one weight of the landmarks in the loss.

    Attributes:
        epochs, learning_rate: The rate at the start; it falls to 0.
        landmarks: Weight.
        precise: Error, in face sizes, below which landmarks cost quadratically: the smaller, the more exact they become.
        seen: See ``detection_loss``.
        augment: What of the recipe's ``augment`` is otherwise in this stage.
    """

    epochs: int
    learning_rate: float
    landmarks: float = 5.0
    precise: float = 0.05
    seen: bool = False
    augment: AugmentTable = field(default_factory=AugmentTable)


@dataclass(frozen=True)
class DetectorRecipe:
    """All choices of a detector's training run.

    Attributes:
        name, seed: As in a classifier's recipe.
        model: Options of ``build_detector``.
        augment: See ``Augmentation``.
        points: See ``PointRecipe``; empty: no network for landmarks, they are the detector's rough ones.
        stages: One after another.
        pictures, batch_size, size: An epoch has so many pictures of ``size`` x ``size`` pixels.
        warmup_epochs, weight_decay, ema: Of AdamW.
        precision: Keras dtype policy.
        validate_every: Epochs between measurements.
    """

    name: str
    seed: int
    stages: tuple[Stage, ...]
    pictures: int
    batch_size: int
    size: int
    warmup_epochs: float
    weight_decay: float
    ema: float
    precision: str = "float32"
    validate_every: int = 5
    model: DetectorModel = field(default_factory=DetectorModel)
    augment: AugmentTable = field(default_factory=AugmentTable)
    points: PointTable = field(default_factory=PointTable)

    def __post_init__(self) -> None:
        object.__setattr__(self, "stages", tuple(s if isinstance(s, Stage) else Stage(**s) for s in self.stages))
        where = f" in recipe {self.name!r}"
        for key in ("pictures", "batch_size", "size", "validate_every"):
            check_number(key + where, getattr(self, key), 1, whole=True)
        check_number("seed" + where, self.seed, 0, 2**31 - 1, whole=True)
        for key, most in (("warmup_epochs", math.inf), ("weight_decay", math.inf), ("ema", MOST_EMA)):
            check_number(key + where, getattr(self, key), 0, most)
        check_precision(f"precision{where}", self.precision)
        for number, stage in enumerate(self.stages, 1):
            check_number(f"epochs of stage {number}{where}", stage.epochs, 0, whole=True)
            for key in ("learning_rate", "landmarks", "precise"):
                check_number(f"{key} of stage {number}{where}", getattr(stage, key), 0)
        for key in ("model", "augment", "points"):
            if not isinstance(getattr(self, key), Mapping):
                raise InputError(f"{key} = {getattr(self, key)!r}{where}; expected a table, [{key}].")
        check_model("model", self.model, {"widths": (5, 1), "hidden": (4, 0), "blocks": (4, 0)}, ("neck",))
        if self.size % 32:
            raise InputError(f"Recipe {self.name!r}: size {self.size}; expected a multiple of 32.")
        if min(self.epochs, self.pictures // self.batch_size) < 1:
            raise InputError(f"Recipe {self.name!r}: {self.epochs} epochs of {self.pictures} pictures are not one batch.")

    @property
    def epochs(self) -> int:
        return sum(stage.epochs for stage in self.stages)

    def stage_at(self, epoch: int) -> Stage:
        """Return the stage of an epoch, counted from 0."""
        for stage in self.stages:
            if epoch < stage.epochs:
                return stage
            epoch -= stage.epochs
        return self.stages[-1]

    def augmentation_at(self, epoch: int) -> Augmentation:
        """Return how the pictures of an epoch, counted from 0, are made."""
        return Augmentation(**self.augment | self.stage_at(epoch).augment)

    @property
    def steps(self) -> int:
        return self.pictures // self.batch_size

    @property
    def landmarks(self) -> PointRecipe:
        """The recipe of the landmarks' network, where there is one."""
        return PointRecipe(**self.points)

    def to_dict(self) -> dict[str, Any]:
        table = asdict(self)
        for stage in table["stages"]:  # a run of a ferkit whose stages had neither goes on
            for key in ("seen", "augment"):
                if not stage[key]:
                    del stage[key]
        return table


def check_model(table: str, given: Mapping[str, Any], lists: Mapping[str, tuple[int, int]], numbers: tuple[str, ...]) -> None:
    """Refuse options that a network does not take: in Keras they would be a traceback after the photos were read.

    Args:
        table: Its name, for messages.
        given: The options.
        lists: Of each option that is a list its length and the least number in it.
        numbers: Options that are one number, at least 1.

    Raises:
        InputError: An unknown option, or a value that is not such.
    """
    if unknown := sorted(set(given) - {*lists, *numbers}):
        raise InputError(f"[{table}]: unknown {', '.join(unknown)}; expected {', '.join((*lists, *numbers))}.")
    for key, value in given.items():
        if key in lists:
            check_numbers(f"{key} in [{table}]", value, *lists[key])
        else:
            check_number(f"{key} in [{table}]", value, 1, whole=True)


def load_detector_recipe(path: str | Path | None = None) -> DetectorRecipe:
    """Read a recipe; None is ferkit's own. Raises InputError for keys that are unknown or missing."""
    path = expanded(path) if path is not None else _RECIPE
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # some editors begin a file with a mark
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path} cannot be read as a recipe: {error}.") from error
    known = {f.name for f in fields(DetectorRecipe)}
    if unknown := sorted(set(table) - known):
        raise InputError(f"{path}: unknown keys {', '.join(unknown)}; expected {', '.join(sorted(known))}.")
    try:
        recipe = DetectorRecipe(**table)
        for stage in recipe.stages:
            Augmentation(**recipe.augment | stage.augment)
        if recipe.points:
            PointAugmentation(**recipe.landmarks.augment)
    except TypeError as error:
        raise InputError(f"{path} is not a recipe for a detector: {error}.") from error
    return recipe


@dataclass(frozen=True)
class PointRecipe:
    """All choices of the landmarks' training.

    Attributes:
        epochs, faces, batch_size: An epoch has so many augmented faces.
        learning_rate, weight_decay, ema: Of AdamW, under one cosine.
        seed: As in the detector's recipe.
        model: Options of ``build_points``.
        augment: See ``PointAugmentation``.
    """

    epochs: int
    faces: int = 6144
    batch_size: int = 256
    learning_rate: float = 4e-3
    weight_decay: float = 0.01
    ema: float = 0.995
    seed: int = 1
    model: PointModel = field(default_factory=PointModel)
    augment: PointAugmentTable = field(default_factory=PointAugmentTable)

    def __post_init__(self) -> None:
        for key in ("epochs", "faces", "batch_size"):
            check_number(f"{key} in [points]", getattr(self, key), 1, whole=True)
        check_model("points.model", self.model, {"widths": (4, 1)}, ("hidden", "neck"))
        check_number("seed in [points]", self.seed, 0, 2**31 - 1, whole=True)
        for key, most in (("learning_rate", math.inf), ("weight_decay", math.inf), ("ema", MOST_EMA)):
            check_number(f"{key} in [points]", getattr(self, key), 0, most)

    @property
    def steps(self) -> int:
        return max(1, self.faces // self.batch_size)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
