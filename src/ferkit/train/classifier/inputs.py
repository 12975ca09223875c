"""From labelled faces to what a recipe's network sees: its labels, its colors, its size, its scale."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...crops import centre, in_channels, normalised, resized
from ...data.faces import Faces
from .augment import FaceAugmentation
from .recipe import Recipe

__all__ = ["augmentation", "in_recipe_colors", "matching", "normalise", "prepare", "same_labels"]


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
    settings, scale = {"crop": 44, "shift": 3.0, **recipe.augment}, side / 48
    if scale != 1:
        settings |= {"crop": round(settings["crop"] * scale), "shift": settings["shift"] * scale}
    return FaceAugmentation(**settings)


def matching(faces: Faces, recipe: Recipe) -> Faces:
    """Return the faces that a recipe for fewer labels trains on: those whose label one of its heads has.

    A recipe that has a head for all of the data's labels gets them unchanged.
    """
    if faces.label_set.name in [head.labels for head in recipe.heads]:
        return faces
    for labels in sorted((head.label_set for head in recipe.heads), key=len, reverse=True):
        if set(labels) <= set(faces.label_set):
            return faces.restricted(labels)
    return faces


def same_labels(validation: Faces, data: Faces) -> Faces:
    """Return validation faces with the columns of the training's labels; those with other labels are left out."""
    same = validation.label_set.name == data.label_set.name and validation.label_set.classes != data.label_set.classes
    return validation.restricted(data.label_set) if same else validation
