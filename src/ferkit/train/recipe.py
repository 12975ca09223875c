"""Recipes: everything that decides a training run, as data (one TOML file each)."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..labels import LabelSet, label_set

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover - the same parser under its earlier name
    import tomli as tomllib

__all__ = ["Head", "Recipe", "Stage", "list_recipes", "load_recipe", "tomllib"]


@dataclass(frozen=True)
class Head:
    """One output of the network: its labels, its weight in the loss, and label smoothing on hard labels."""

    labels: str
    weight: float = 1.0
    label_smoothing: float = 0.0

    @property
    def label_set(self) -> LabelSet:
        return label_set(self.labels)


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
    data: dict[str, float]
    heads: tuple[Head, ...]
    stages: tuple[Stage, ...]
    crop: dict[str, Any] = field(default_factory=dict)
    augment: dict[str, Any] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    release: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.heads or not self.stages:
            raise InputError(f"Recipe {self.name!r} needs at least one [[heads]] and one [[stages]] entry.")
        if any(stage.epochs < 0 or stage.size < 8 for stage in self.stages) or self.epochs < 1:
            raise InputError(f"Recipe {self.name!r} needs stages of at least one epoch in all and 8 pixels; got {self.stages}.")

    @property
    def epochs(self) -> int:
        return sum(stage.epochs for stage in self.stages)

    @property
    def batch_size(self) -> int:
        return int(self.training.get("batch_size", 128))

    @property
    def window(self) -> int:
        """Side of the centre of a 48x48 face that the network sees once it is trained, pixels."""
        return int(self.data.get("window", 48))

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
        return asdict(self)


def _from_dict(table: dict[str, Any], source: str) -> Recipe:
    try:
        heads = tuple(Head(**head) for head in table["heads"])
        stages = tuple(Stage(**stage) for stage in table["stages"])
        return Recipe(**{**table, "heads": heads, "stages": stages})
    except (KeyError, TypeError) as error:
        raise InputError(f"{source} is not a complete recipe: {error}. Compare it with one of {', '.join(list_recipes())}.") from None


def list_recipes() -> list[str]:
    """Return the names of the recipes that ferkit ships."""
    folder = resources.files(__package__) / "recipes"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_recipe(name: str | Path) -> Recipe:
    """Load a recipe by its name, or from a TOML file of one's own.

    Raises:
        InputError: Unknown name, or a malformed file.
    """
    if str(name).endswith(".toml"):
        try:
            text, source = Path(name).read_text(encoding="utf-8"), str(name)
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"Recipe {name} cannot be read ({error}); expected a TOML file, or one of {', '.join(list_recipes())}."
            ) from None
    elif str(name) in list_recipes():
        text, source = (resources.files(__package__) / "recipes" / f"{name}.toml").read_text(encoding="utf-8"), f"recipe {name}"
    else:
        raise InputError(f"Unknown recipe {str(name)!r}; expected one of {', '.join(list_recipes())}, or a path ending in .toml.")
    try:
        return _from_dict(tomllib.loads(text), source)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{source} is not valid TOML: {error}.") from None
