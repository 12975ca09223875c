"""Optimisers, learning rates, and what watches them: all of it read from the recipe."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from ..common.schedule import CosineCycles
from .recipe import OPTIMIZERS, Recipe
from .recipe_tables import Watch

__all__ = ["best_epoch", "learning_rate_after", "make_optimizer", "snapshot_steps", "stops"]

_DEFAULTS: dict[str, dict[str, Any]] = {"sgd": {"momentum": 0.9, "nesterov": True}}
_CLASSES = {"sgd": keras.optimizers.SGD, "adam": keras.optimizers.Adam, "rmsprop": keras.optimizers.RMSprop}


def make_optimizer(recipe: Recipe, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    """Build the recipe's optimiser. Its ``weight_decay`` is decoupled from the gradient, as Keras does it for every optimiser.

    A decay that is part of the loss (L2) is an option of the architecture instead: it acts through the gradient.
    """
    settings = recipe.optimizer
    name, ema = settings.get("name", "sgd"), settings.get("ema")
    options: dict[str, Any] = _DEFAULTS.get(name, {}) | {key: value for key, value in settings.items() if key in OPTIMIZERS[name]}
    optimizer = _CLASSES[name](
        _schedule(recipe, steps_per_epoch),
        weight_decay=settings.get("weight_decay"),
        use_ema=ema is not None,
        ema_momentum=ema if ema is not None else 0.99,
        **options,
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])  # a stage may have a decay where the start has none
    return optimizer


def _schedule(recipe: Recipe, steps_per_epoch: int) -> CosineCycles | float:
    rate = float(recipe.optimizer["learning_rate"])
    if recipe.schedule == "constant":
        return rate
    if "cycles" in recipe.optimizer:
        length = _cycle_length(recipe, steps_per_epoch)
        return CosineCycles([(length, length, rate)] * int(recipe.optimizer["cycles"]))
    warmup = int(recipe.optimizer.get("warmup_epochs", 0) * steps_per_epoch)
    return CosineCycles([(e * steps_per_epoch, h * steps_per_epoch, rate) for e, h, rate in recipe.cycles()], warmup)


def _cycle_length(recipe: Recipe, steps_per_epoch: int) -> int:
    return math.ceil(recipe.epochs * steps_per_epoch / int(recipe.optimizer["cycles"]))


def snapshot_steps(recipe: Recipe, steps_per_epoch: int) -> list[int]:
    """Return after which steps, counted from 1, the weights are kept.

    ``every = "cycle"`` keeps them at the end of each cosine, where the rate is lowest (Huang et al., "Snapshot Ensembles:
    Train 1, Get M for Free", ICLR 2017).
    """
    if not recipe.snapshots:
        return []
    every, total = recipe.snapshots["every"], recipe.epochs * steps_per_epoch
    length = _cycle_length(recipe, steps_per_epoch) if every == "cycle" else int(every)
    steps = list(range(length, total + 1, length))
    if every == "cycle" and (not steps or steps[-1] != total):
        steps.append(total)  # the last cycle is a little shorter where the steps do not divide evenly
    return steps[-int(recipe.snapshots.get("keep", len(steps))) :]


# What early stopping and the plateau know is a function of the history alone, which every checkpoint holds: a resumed run
# finds them as they were, and there is no state to keep beside it.


def _measured(history: Sequence[Mapping[str, Any]], watch: Watch) -> list[tuple[int, float]]:
    """Return ``(epoch, value)`` of the watched figure, negated where more is better."""
    name = watch.get("monitor", "val_loss")
    sign = 1.0 if name.endswith("loss") else -1.0
    return [(int(row["epoch"]), sign * float(row[name])) for row in history if name in row]


def best_epoch(history: Sequence[Mapping[str, Any]], watch: Watch) -> int:
    """Return the epoch of the last improvement by more than ``min_delta`` (0), or 0."""
    best, epoch = math.inf, 0
    for number, value in _measured(history, watch):
        if value < best - float(watch.get("min_delta", 0.0)):
            best, epoch = value, number
    return epoch


def stops(history: Sequence[Mapping[str, Any]], watch: Watch) -> bool:
    """Return True once ``patience`` epochs have passed without an improvement; epochs after the last measurement tell nothing yet."""
    measured = _measured(history, watch) if watch else []
    return bool(measured) and measured[-1][0] - best_epoch(history, watch) >= int(watch["patience"])


def learning_rate_after(history: Sequence[Mapping[str, Any]], recipe: Recipe) -> float:
    """Return the constant schedule's rate for the next epoch: times ``factor`` for every ``patience`` epochs on a plateau."""
    watch, rate = recipe.plateau, float(recipe.optimizer["learning_rate"])
    if not watch:
        return rate
    best, since = math.inf, 0
    for number, value in _measured(history, watch):
        if value < best - float(watch.get("min_delta", 1e-4)):
            best, since = value, number
        elif number - since >= int(watch["patience"]):
            rate, since = max(rate * float(watch["factor"]), float(watch.get("min_learning_rate", 0.0))), number
    return rate
