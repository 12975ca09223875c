"""From labelled faces to what a recipe's network sees: its labels, its colors, its size, its scale."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...crops import centre, in_channels, normalised, resized
from ...data.faces import Faces
from ...data.portraits import Portraits
from ...errors import DataError, InputError
from ...labels import CLASSES, FERPLUS8
from ..common.listeners import Listeners
from .answers import checked_head
from .augment import FaceAugmentation
from .recipe import Recipe, load_recipe
from .recipe_tables import AugmentTable

__all__ = ["augmentation", "fitted", "in_recipe_colors", "matching", "normalise", "prepare", "same_labels", "unwatchable"]


def normalise(pixels: NDArray[Any], recipe: Recipe) -> NDArray[np.float32]:
    """Map pixel values 0-255 to the network's input scale."""
    return normalised(pixels, recipe.data)


def prepare(images: NDArray[np.uint8], recipe: Recipe) -> NDArray[np.uint8]:
    """Return faces ``(n, H, W)`` or ``(n, H, W, 3)`` as the trained network sees them, ``(n, window, window, channels)``."""
    faces = centre(np.stack([resized(in_channels(image, recipe.channels), recipe.size) for image in images]), recipe.window)
    return faces if recipe.channels == 3 else faces[..., None]


def in_recipe_colors(faces: Faces, recipe: Recipe) -> Faces:
    """Return faces in the colors that the recipe's network sees: grey ones are repeated, colors turned to grey."""
    if (faces.images.ndim == 4) == (recipe.channels == 3):
        return faces
    return replace(faces, images=np.stack([in_channels(image, recipe.channels) for image in faces.images]))


def augmentation(recipe: Recipe, side: int) -> FaceAugmentation:
    """Return the recipe's augmentation for faces of ``side`` pixels; what it says in pixels is of FER2013's faces, 48x48."""
    given, scale = recipe.augment, side / 48
    settings: AugmentTable = {**given, "crop": round(given.get("crop", 44) * scale), "shift": given.get("shift", 3.0) * scale}
    return FaceAugmentation(**settings)


def matching(faces: Faces, recipe: Recipe) -> Faces:
    """Return the faces that a recipe for fewer labels trains on: those whose label one of its heads has.

    A recipe that has a head for all of the data's labels gets them unchanged.
    """
    if faces.label_set.name in recipe.head_names:
        return faces
    for labels in sorted((head.label_set for head in recipe.heads), key=len, reverse=True):
        if set(labels) <= set(faces.label_set):
            return faces.restricted(labels)
    return faces


def same_labels(validation: Faces, data: Faces) -> Faces:
    """Return validation faces with the columns of the training's labels; those with other labels are left out."""
    same = validation.label_set.name == data.label_set.name and validation.label_set.classes != data.label_set.classes
    return validation.restricted(data.label_set) if same else validation


def fitted(
    recipe: str | Path | Recipe, data: Faces, validation: Faces | None, photos: Portraits | None, told: Listeners
) -> tuple[Recipe, Faces, Faces | None]:
    """Return a recipe and data that fit each other, in labels and colors. Raises as ``fit``."""
    if not isinstance(data, Faces) or data.images.ndim not in (3, 4):
        what = f"images of shape {data.images.shape}" if isinstance(data, Faces) else type(data).__name__
        raise InputError(
            f"fit was given {what}; expected Faces with images (n, H, W) or (n, H, W, 3), as ferkit.data.read_faces returns them."
        )
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    own = recipe.for_labels(data.label_set)
    if (
        own is not recipe
        and data.label_set.kind == CLASSES
        and (absent := [name for k, name in enumerate(data.label_set) if not (data.labels == k).any()])
    ):
        raise DataError(f"No face has the label {', '.join(absent)}; expected faces of every label that is to be learnt.")
    recipe = own
    data = in_recipe_colors(matching(data, recipe), recipe)
    recipe = _trainable(recipe, data, told.line)
    validation = None if validation is None else in_recipe_colors(same_labels(matching(validation, recipe), data), recipe)
    if recipe.photos and photos is None:
        raise InputError(f"Recipe {recipe.name!r} needs photos.", arguments=["photos"])
    if photos is not None and not recipe.photos:
        raise InputError(
            f"Recipe {recipe.name!r} has no [photos] and would ignore the photos; expected that table, or none.", arguments=["photos"]
        )
    _check_watched(recipe, validation)
    return recipe, data, validation


def _check_watched(recipe: Recipe, validation: Faces | None) -> None:
    """Refuse to watch what validation will not tell. Raises DataError if there is none, InputError for a figure that it does not have."""
    known = ["val_loss", *(f"val_{head.labels}_accuracy" for head in recipe.heads if head.kind == CLASSES)]
    several = tuple(f"val_{head.labels}_" for head in recipe.heads if head.kind != CLASSES)  # which figures, their labels tell
    for watch in (recipe.early_stopping, recipe.plateau):
        name = watch.get("monitor", "val_loss")
        if not watch or not name.startswith("val_"):
            continue
        if validation is None:
            raise DataError(f"Recipe {recipe.name!r} watches {name!r}; that needs validation data (PublicTest).")
        if name not in known and not (several and name.startswith(several)):
            raise unwatchable(recipe, name, known)


def unwatchable(recipe: Recipe, name: str, known: Iterable[str]) -> InputError:
    """Say that a recipe watches a figure that it will not get: the run would never stop, or keep no best."""
    return InputError(f"Recipe {recipe.name!r} watches {name!r}, which no epoch has; expected one of {', '.join(known)}.")


def _trainable(recipe: Recipe, data: Faces, log: Callable[[str], None]) -> Recipe:
    """Return the recipe without FER+'s head if there are no votes: a head that saw no target must not be shipped."""
    names = recipe.head_names
    if data.label_set.name not in names:
        raise DataError(f"Recipe {recipe.name!r} has heads {', '.join(names)}; the data's labels are {data.label_set.name!r}.")
    kept = [h for h in recipe.heads if h.labels == data.label_set.name or (h.labels == FERPLUS8.name and data.votes is not None)]
    heads, names_kept = tuple(checked_head(head, data) for head in kept), [head.labels for head in kept]
    for head in recipe.heads:
        if head.labels not in names_kept:
            log(f'No targets for the head {head.labels!r}: it is left out. FER+ votes come with ferplus="fer2013new.csv".')
    return replace(recipe, heads=heads)
