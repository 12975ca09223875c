"""Recipes: everything that decides a training run, as data (one TOML file each)."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any

from ...crops import CropGeometry, CropTable
from ...errors import InputError
from ...image_files import expanded
from ...labels import CLASSES, VALUES, LabelSet, label_set
from .heads import Head
from .recipe_tables import (
    ENTRIES,
    AugmentTable,
    DataTable,
    EarlyStoppingTable,
    MixTable,
    OptimizerTable,
    PhotosTable,
    PlateauTable,
    ReleaseTable,
    SnapshotsTable,
    TeacherTable,
    TrainingTable,
)
from .recipe_values import check_types, check_values
from .setting import with_settings

__all__ = ["Head", "Recipe", "Stage", "list_recipes", "load_recipe"]

# What each optimiser takes beside learning_rate, weight_decay and ema; an option that would be ignored is refused.
OPTIMIZERS: dict[str, tuple[str, ...]] = {
    "sgd": ("momentum", "nesterov"),
    "adam": ("beta_1", "beta_2", "epsilon"),
    "rmsprop": ("rho", "momentum", "epsilon"),
}
SCHEDULES = ("cosine", "constant")
STORED = ("float32", "float16")  # what weights are written in
_MODEL = ("dropout", "batch_norm", "l2")  # entries of [model] that may be set by their own names
_OPTIMIZER = ("name", "schedule", "cycles", "learning_rate", "weight_decay", "warmup_epochs", "decay_epochs", "ema", "sam")
_SETTABLE = (*_OPTIMIZER[1:], *dict.fromkeys(option for options in OPTIMIZERS.values() for option in options))


@dataclass(frozen=True)
class Stage:
    """A stretch of epochs at one input size (pixels).

    A ``learning_rate`` begins a new cosine cycle from that rate (Loshchilov and Hutter, "SGDR", ICLR 2017), which runs
    until the next such stage or the end. A ``weight_decay`` holds from this stage on.
    """

    epochs: int
    size: int
    learning_rate: float | None = None
    weight_decay: float | None = None


@dataclass(frozen=True)
class Recipe:
    """A training run, fully described."""

    name: str
    seed: int
    model: dict[str, Any]
    data: DataTable
    heads: tuple[Head, ...]
    stages: tuple[Stage, ...]
    crop: CropTable = field(default_factory=CropTable)
    augment: AugmentTable = field(default_factory=AugmentTable)
    mix: MixTable = field(default_factory=MixTable)
    teacher: TeacherTable = field(default_factory=TeacherTable)
    photos: PhotosTable = field(default_factory=PhotosTable)
    optimizer: OptimizerTable = field(default_factory=OptimizerTable)
    training: TrainingTable = field(default_factory=TrainingTable)
    release: ReleaseTable = field(default_factory=ReleaseTable)
    balance: dict[str, int] = field(default_factory=dict)
    early_stopping: EarlyStoppingTable = field(default_factory=EarlyStoppingTable)
    plateau: PlateauTable = field(default_factory=PlateauTable)
    snapshots: SnapshotsTable = field(default_factory=SnapshotsTable)

    def __post_init__(self) -> None:
        check_types(self)
        self._check_entries()
        check_values(self)
        self._check_training()
        if not self.heads or not self.stages:
            raise InputError(f"Recipe {self.name!r} needs at least one [[heads]] and one [[stages]] entry.")
        self._check_kinds()
        if any(stage.epochs < 0 or stage.size < 8 for stage in self.stages) or self.epochs < 1:
            raise InputError(f"Recipe {self.name!r} needs stages of at least one epoch in all and 8 pixels; got {self.stages}.")

    def _check_kinds(self) -> None:
        """Refuse what would be ignored, or would not do, with several labels at once or with values."""
        other = [head for head in self.heads if head.kind != CLASSES]
        if not other:
            return
        if len(self.heads) > 1:
            raise InputError(
                f"Recipe {self.name!r}: the head {other[0].labels!r} is of kind {other[0].kind!r}; expected it to be the only one."
            )
        given = [table for table in ("teacher", "photos", "balance", "snapshots") if getattr(self, table)]
        given += ["training.faint_smiles"] if "faint_smiles" in self.training else []
        given += ["label_smoothing"] if other[0].kind == VALUES and other[0].label_smoothing else []
        if given:
            raise InputError(
                f"Recipe {self.name!r}: {', '.join(given)} is for classes; its head {other[0].labels!r} is of kind {other[0].kind!r}."
            )

    @property
    def answers(self) -> LabelSet | None:
        """The several labels, or the values, that the recipe's head learns; None where it learns classes."""
        return self.heads[0].label_set if self.heads[0].kind != CLASSES else None

    def _check_entries(self) -> None:
        for table, entries in ENTRIES.items():
            _known(f"[{table}] of recipe {self.name!r}", getattr(self, table), entries)
        name = self.optimizer.get("name", "sgd")
        if name not in OPTIMIZERS:
            raise InputError(f"Unknown optimiser {name!r} in recipe {self.name!r}; expected one of {', '.join(OPTIMIZERS)}.")
        _known(f"[optimizer] of recipe {self.name!r} ({name})", self.optimizer, (*_OPTIMIZER, *OPTIMIZERS[name]))
        if "learning_rate" not in self.optimizer:
            raise InputError(f"Recipe {self.name!r} needs learning_rate in [optimizer].")
        if "mean" not in self.data or "std" not in self.data:
            raise InputError(f"Recipe {self.name!r} needs mean and std of pixels / 255 in [data]; 0 and 1 leave them as they are.")

    def _check_training(self) -> None:
        """Refuse combinations of which one part would be ignored."""
        if self.schedule not in SCHEDULES:
            raise InputError(f"Unknown schedule {self.schedule!r} in recipe {self.name!r}; expected one of {', '.join(SCHEDULES)}.")
        if self.schedule != "cosine":
            cosine = [key for key in ("cycles", "warmup_epochs", "decay_epochs") if key in self.optimizer]
            if cosine or any(stage.learning_rate is not None for stage in self.stages):
                named = ", ".join(cosine) or "a stage's learning_rate"
                raise InputError(f'Recipe {self.name!r}: {named} needs schedule = "cosine" in [optimizer].')
        elif self.plateau:
            raise InputError(f'Recipe {self.name!r}: [plateau] needs schedule = "constant" in [optimizer]; a cosine has its own fall.')
        if "cycles" in self.optimizer and (
            {"warmup_epochs", "decay_epochs"} & set(self.optimizer) or any(stage.learning_rate is not None for stage in self.stages)
        ):
            raise InputError(
                f"Recipe {self.name!r}: cycles are equal cosines; warmup_epochs, decay_epochs and stages' rates contradict them."
            )
        if self.stored not in STORED:
            raise InputError(f"Unknown precision {self.stored!r} in [release] of recipe {self.name!r}; expected {' or '.join(STORED)}.")
        if self.teacher and not 0 < self.teaching["weight"] <= 1:
            raise InputError(f"Recipe {self.name!r}: a teacher's weight of {self.teaching['weight']}; expected more than 0, at most 1.")
        self._check_photos()
        for table in (self.early_stopping, self.plateau):
            if table and int(table.get("patience", 0)) < 1:
                raise InputError(f"Recipe {self.name!r}: a patience of {table.get('patience')}; expected epochs, at least 1.")
        if self.plateau and not 0 < float(self.plateau.get("factor", 0)) < 1:
            raise InputError(f"Recipe {self.name!r}: a plateau factor of {self.plateau.get('factor')}; expected more than 0, less than 1.")
        every = self.snapshots.get("every")
        if self.snapshots and not (every == "cycle" or (isinstance(every, int) and every > 0)):
            raise InputError(f'Recipe {self.name!r}: snapshots every {every!r}; expected a number of iterations, or "cycle".')
        if every == "cycle" and "cycles" not in self.optimizer:
            raise InputError(f'Recipe {self.name!r}: snapshots every "cycle" need cycles in [optimizer].')

    def _check_photos(self) -> None:
        if not self.photos:
            return
        settings = self.photo_settings
        if not self.teacher or self.teaching["weight"] == 1:
            raise InputError(
                f"Recipe {self.name!r}: [photos] needs a [teacher] with a weight below 1, since photos' labels are only half right."
            )
        if "fer2013" not in self.head_names or self.size != 48:
            raise InputError(f"Recipe {self.name!r}: [photos] needs the head 'fer2013' and faces of 48 pixels.")
        if not 0 < self.photo_places < self.batch_size:
            raise InputError(
                f"Recipe {self.name!r}: a share of {settings['share']} of photos in batches of {self.batch_size}; expected some, not all."
            )
        _known(f"unchecked in [photos] of recipe {self.name!r}", settings["unchecked"], label_set("fer2013"))
        shares = {**{key: settings[key] for key in ("label_weight", "arguable", "degrade", "balance")}, **settings["unchecked"]}
        for key, value in shares.items():
            if not 0 <= value <= 1:
                raise InputError(f"Recipe {self.name!r}: {key} = {value} in [photos]; expected a share from 0 to 1.")
        if "weight" in self.photos and not (self.joint and settings["weight"] > 0):
            raise InputError(
                f"Recipe {self.name!r}: a weight of {settings['weight']} in [photos]; expected a number above 0, and joint = true, whose loss it weighs."
            )
        if not settings["temperature"] > 0:
            raise InputError(f"Recipe {self.name!r}: a temperature of {settings['temperature']} in [photos]; expected a number above 0.")

    @property
    def head_names(self) -> list[str]:
        """The heads' label sets by name, in the order of the raw columns; the network's last layers bear these names."""
        return [head.labels for head in self.heads]

    @property
    def epochs(self) -> int:
        return sum(stage.epochs for stage in self.stages)

    @property
    def batch_size(self) -> int:
        return int(self.training.get("batch_size", 128))

    @property
    def geometry(self) -> CropGeometry:
        """How a detected face is cut out."""
        return CropGeometry.from_dict(self.crop)

    @property
    def precision(self) -> str:
        """Of the arithmetic: a Keras dtype policy."""
        return self.training.get("precision", "float32")

    @property
    def stored(self) -> str:
        """What the finished weights are written in; they compute in float32 either way."""
        return str(self.release.get("precision", "float32"))

    @property
    def window(self) -> int:
        """Side of the centre of a face that the network sees once it is trained, pixels."""
        return int(self.data.get("window", self.size))

    @property
    def size(self) -> int:
        """Side of a face as prediction prepares it, pixels; training faces are 48x48 and are resized."""
        return int(self.data.get("size", 48))

    @property
    def channels(self) -> int:
        """Of a face: 1, grey, or 3, in color."""
        return int(self.data.get("channels", 1))

    def for_labels(self, labels: LabelSet) -> Recipe:
        """Return the recipe for a data set of other labels than its heads': one head that learns those, with the first one's smoothing.

        Raises:
            InputError: It begins from weights, or is taught by some, whose labels are others.
        """
        if self.answers is not None and self.answers != labels:
            raise InputError(
                f"Recipe {self.name!r} learns {', '.join(self.answers)}, of kind {self.answers.kind!r}, and the data has "
                f"{', '.join(labels)}, of kind {labels.kind!r}."
            )
        if self.answers == labels or (
            labels.kind == CLASSES and any(head.labels == labels.name or set(head.label_set) <= set(labels) for head in self.heads)
        ):
            return self  # which trains on the part that it has
        inherited = [name for name in ("teacher", "photos", "balance") if getattr(self, name)]
        inherited += ["training.initial"] if "initial" in self.training else []
        if inherited:
            raise InputError(
                f"Recipe {self.name!r} has {', '.join(inherited)} for the labels {', '.join(self.heads[0].label_set)}, and the data has "
                f"{', '.join(labels)}. For labels of your own take a recipe that begins from nothing."
            )
        smoothing = self.heads[0].label_smoothing if labels.kind == CLASSES else 0.0
        head = Head(labels.name, label_smoothing=smoothing, classes=labels.classes, kind=labels.kind)
        release = self.release.copy()
        release.pop("default_output", None)
        return replace(self, heads=(head,), release=release)

    @property
    def teaching(self) -> dict[str, float]:
        """``weight`` of the teacher's answers beside the labels', and the ``temperature`` that softens them."""
        return {"weight": float(self.teacher.get("weight", 0.7)), "temperature": float(self.teacher.get("temperature", 3.0))}

    @property
    def photo_settings(self) -> PhotosTable:
        """``[photos]`` with its defaults; see docs/training.md."""
        return {
            "share": 0.125,
            "label_weight": 0.6,
            "arguable": 0.3,
            "unchecked": {},
            "temperature": 1.3,
            "degrade": 0.5,
            "balance": 0.75,
            "joint": False,
            "weight": 1.0,
        } | self.photos

    @property
    def photo_places(self) -> int:
        """How many faces of each batch are photos."""
        return round(float(self.photo_settings["share"]) * self.batch_size) if self.photos else 0

    @property
    def joint(self) -> bool:
        """Whether portraits teach the product of the heads instead of each head apart."""
        return bool(self.photos and self.photo_settings["joint"])

    @property
    def schedule(self) -> str:
        """``"cosine"`` or ``"constant"``."""
        return str(self.optimizer.get("schedule", "cosine"))

    def size_at(self, epoch: int) -> int:
        """Return the input size of an epoch, counted from 0."""
        for stage in self.stages:
            if epoch < stage.epochs:
                return stage.size
            epoch -= stage.epochs
        return self.stages[-1].size

    def weight_decay_at(self, epoch: int) -> float | None:
        """Return the weight decay of an epoch, counted from 0."""
        decay = self.optimizer.get("weight_decay")
        for stage in self.stages:
            decay = decay if stage.weight_decay is None else stage.weight_decay
            if epoch < stage.epochs:
                break
            epoch -= stage.epochs
        return decay

    def cycles(self) -> list[tuple[int, int, float]]:
        """Return the cosine cycles of the learning rate: ``(epochs, epochs to reach zero, rate at the start)`` each.

        The two differ for a first cycle with ``optimizer.decay_epochs``, which a later stage interrupts.
        """
        lengths, rates = [0], [float(self.optimizer["learning_rate"])]
        for stage in self.stages:
            if stage.learning_rate is not None:
                lengths.append(0)
                rates.append(stage.learning_rate)
            lengths[-1] += stage.epochs
        horizons = [int(self.optimizer.get("decay_epochs", lengths[0])), *lengths[1:]]
        return [cycle for cycle in zip(lengths, horizons, rates, strict=True) if cycle[0] > 0]

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as nested tables, which ``from_dict`` reads."""
        return asdict(self) | {"heads": tuple(head.to_dict() for head in self.heads)}

    @staticmethod
    def from_dict(table: Mapping[str, Any], source: str = "a recipe") -> Recipe:
        """Return the recipe that ``to_dict`` gave. Raises InputError, which names ``source``."""
        return _from_dict(table, source)


def _known(where: str, given: Iterable[str], entries: Iterable[str]) -> None:
    unknown = [key for key in given if key not in set(entries)]
    if unknown:
        raise InputError(f"{where}: unknown {', '.join(unknown)}; expected {', '.join(entries)}.")


def _from_dict(table: Mapping[str, Any], source: str) -> Recipe:
    _known(source, table, [f.name for f in fields(Recipe)])
    missing = [key for key in ("name", "seed", "model", "data", "heads", "stages", "optimizer") if key not in table]
    if missing or not isinstance(table["model"], Mapping) or "name" not in table["model"]:
        raise InputError(
            f"{source} is not a complete recipe: it lacks {', '.join(missing) or 'the name in [model]'}. "
            f"Compare it with one of {', '.join(list_recipes())}."
        )
    for name, kind in (("heads", Head), ("stages", Stage)):
        if not isinstance(table[name], list | tuple) or not all(isinstance(entry, Mapping) for entry in table[name]):
            raise InputError(f"{name} of {source} is not a list of tables; expected [[{name}]] entries.")
        for entry in table[name]:
            _known(f"[[{name}]] of {source}", entry, [f.name for f in fields(kind)])
    try:
        heads = tuple(Head(**head) for head in table["heads"])
        stages = tuple(Stage(**stage) for stage in table["stages"])
        return Recipe(**{**table, "heads": heads, "stages": stages})
    except TypeError as error:
        raise InputError(f"{source} is not a complete recipe: {error}. Compare it with one of {', '.join(list_recipes())}.") from None


def list_recipes() -> list[str]:
    """Return the names of the recipes that ferkit ships."""
    folder = resources.files(__package__) / "recipes"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_recipe(name: str | Path, settings: Sequence[str] = ()) -> Recipe:
    """Load a recipe by its name, or from a TOML file of one's own.

    A file with ``base = "NAME"`` starts from that recipe, or from another file, its path relative to the one that names it:
    tables are merged entry by entry, lists replaced.

    Args:
        name: Of a recipe, or a path ending in .toml.
        settings: Entries to change, ``["lr=0.01", "training.batch_size=32"]``; see ``ferkit.train.classifier.setting.with_settings``.

    Raises:
        InputError: Unknown name, or a malformed file; an entry that no recipe has is named, and those that it could be.
    """
    table, source = _read(name)
    return _from_dict(with_settings(table, settings, {**ENTRIES, "optimizer": _SETTABLE, "model": _MODEL}), source)


def _read(name: str | Path, derived: tuple[str, ...] = ()) -> tuple[dict[str, Any], str]:
    """Return a recipe's merged table and what to call it in messages."""
    if str(name) in derived:
        raise InputError(f"Recipe {name} is based on itself, by way of {', '.join(derived)}.")
    if str(name).endswith(".toml"):
        try:
            text, source = expanded(name).read_text(encoding="utf-8-sig"), str(name)  # some editors begin a file with a mark
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"Recipe {name} cannot be read ({error}); expected a TOML file, or one of {', '.join(list_recipes())}."
            ) from None
    elif str(name) in list_recipes():
        text, source = (resources.files(__package__) / "recipes" / f"{name}.toml").read_text(encoding="utf-8"), f"recipe {name}"
    else:
        raise InputError(f"Unknown recipe {str(name)!r}; expected one of {', '.join(list_recipes())}, or a path ending in .toml.")
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{source} is not valid TOML: {error}.") from None
    base = table.pop("base", None)
    if base is not None and str(base).endswith(".toml"):
        base = str(expanded(name).parent / expanded(str(base)))  # beside the file that names it
    return (table, source) if base is None else (_merged(_read(base, (*derived, str(name)))[0], table), source)


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with ``changes``, tables entry by entry."""
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = _merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged
