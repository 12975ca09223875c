"""A learning rate to begin with: a few steps at growing rates, and where the loss falls fastest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from numpy.typing import NDArray

from ...data.faces import Faces
from ...data.reading import Unmade, read_cut_faces
from ...detectors.face_detector import open_detector
from ...errors import DataError, InputError
from ...labels import LabelSet
from ...protocols import Detector
from .answers import checked_head
from .batches import Batches
from .inputs import augmentation, in_recipe_colors, matching
from .loop import build_from_recipe, compile_from_recipe
from .recipe import Recipe, load_recipe
from .recipe_tables import OptimizerTable

__all__ = ["LearningRates", "find_learning_rate"]

_SMOOTH, _LOST = 0.9, 4.0  # of the running mean of losses; how many times the least loss ends the search


class LearningRates(NamedTuple):
    """What ``find_learning_rate`` saw.

    Attributes:
        rates: Of the steps.
        losses: Smoothed, one a step.
        suggested: The rate at which the loss falls fastest.
    """

    rates: list[float]
    losses: list[float]
    suggested: float


def find_learning_rate(
    recipe: str | Path | Recipe,
    data: str | Path | Faces,
    *,
    steps: int = 100,
    low: float = 1e-5,
    high: float = 3.0,
    detector: Detector | str | None = None,
    relabel: Mapping[str, str] | str | None = None,
    answers: LabelSet | None = None,
) -> LearningRates:
    """Try growing learning rates on a new network of the recipe, a step each.

    Source: Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017; the suggestion is the rate of the steepest fall of
    the smoothed loss by the rate's logarithm.

    Args:
        recipe: Name, TOML path or Recipe; it may not begin from weights or have a teacher.
        data: Its Training faces, or where they lie, as ``ferkit.train.train`` takes them.
        steps: How many, at least 20.
        low, high: The first and the last rate.
        detector, relabel, answers: As train's.

    Raises:
        InputError: Arguments out of range, a recipe with a teacher, or a ``low`` at which the loss is no number yet.
        DataError: As the readers; or fewer faces than one batch.
    """
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    if steps < 20 or not 0 < low < high:
        raise InputError(f"steps={steps}, low={low}, high={high}; expected at least 20 steps and 0 < low < high.")
    if recipe.teacher or "initial" in recipe.training:
        raise InputError(f"Recipe {recipe.name!r} begins from weights or has a teacher; learning rates are looked for from nothing alone.")
    recipe = recipe if answers is None else recipe.for_labels(answers)
    if not isinstance(data, Faces):
        data = _read(recipe, data, detector, relabel)
    recipe = recipe.for_labels(data.label_set)
    faces = in_recipe_colors(matching(data, recipe), recipe)
    heads = tuple(checked_head(head, faces) for head in recipe.heads if head.labels == faces.label_set.name)
    recipe = _constant(replace(recipe, heads=heads), low)
    if len(faces) < recipe.batch_size:
        raise DataError(f"{len(faces)} faces are fewer than one batch of {recipe.batch_size}; give more, or a smaller batch_size.")
    keras.utils.set_random_seed(recipe.seed)
    model = build_from_recipe(recipe)
    compile_from_recipe(model, recipe, steps)
    rates, losses, mean = np.geomspace(low, high, steps), list[float](), 0.0
    epoch_of = lru_cache(maxsize=1)(partial(Batches, faces, recipe, augmentation(recipe, faces.images.shape[1])))
    for step, rate in enumerate(rates):
        batches = epoch_of(step // max(1, len(faces) // recipe.batch_size))
        model.optimizer.learning_rate = float(rate)
        model.reset_metrics()
        loss = float(model.train_on_batch(*batches[step % len(batches)], return_dict=True)["loss"])
        mean = _SMOOTH * mean + (1 - _SMOOTH) * loss
        losses.append(mean / (1 - _SMOOTH ** (step + 1)))
        if not np.isfinite(loss) or losses[-1] > _LOST * min(losses):
            break
    return _told(rates[: len(losses)], np.asarray(losses))


def _told(rates: NDArray[np.floating], losses: NDArray[np.floating]) -> LearningRates:
    """Return what was seen, and where the loss falls fastest. Raises InputError where it was lost at once."""
    kept = np.isfinite(losses)
    if kept.sum() < 2:
        raise InputError(
            f"The loss is {losses[-1]} at a rate of {rates[-1]:.2g}, the first or the second; expected a smaller low.", arguments=["low"]
        )
    slope = np.gradient(losses[kept], np.log(rates[kept]))
    suggested = float(f"{rates[kept][int(slope.argmin())]:.2g}")
    return LearningRates([float(f"{rate:.3g}") for rate in rates], [round(float(loss), 5) for loss in losses], suggested)


def _read(recipe: Recipe, data: str | Path, detector: Detector | str | None, relabel: Mapping[str, str] | str | None) -> Faces:
    found = None if detector is None else open_detector(detector)
    unmade = Unmade(recipe.geometry, max(48, recipe.size), recipe.channels)
    return read_cut_faces(data, "Training", unmade, detector=found, relabel=relabel, told=True, labels=recipe.answers)


def _constant(recipe: Recipe, rate: float) -> Recipe:
    """Return the recipe with a rate that is set from outside, and no early stopping, snapshots or cycles."""
    optimizer: OptimizerTable = {**recipe.optimizer, "schedule": "constant", "learning_rate": rate}
    optimizer.pop("cycles", None)
    optimizer.pop("warmup_epochs", None)
    optimizer.pop("decay_epochs", None)
    optimizer.pop("sam", None)
    stages = tuple(replace(stage, learning_rate=None) for stage in recipe.stages)
    return replace(recipe, optimizer=optimizer, stages=stages, plateau={}, early_stopping={}, snapshots={})
