"""A run's data, read as its recipe takes them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ...data.faces import Faces, MissingSplitError
from ...data.portraits import Portraits, read_portraits
from ...data.reading import Source, Unmade, read_cut_faces
from ...protocols import Detector
from ..common.fingerprints import PIXELS, fingerprint
from .inputs import matching
from .recipe import Recipe

__all__ = ["RunData", "parts_of", "read_run"]


class RunData(NamedTuple):
    """A recipe for the labels that the data have, and the data for it."""

    recipe: Recipe
    training: Faces
    validation: Faces | None
    portraits: Portraits | None


def read_run(
    recipe: Recipe,
    data: str | Path,
    *,
    ferplus: str | Path | None,
    photos: str | Path | None,
    detector: Detector | None,
    relabel: Mapping[str, str] | str | None,
    quiet: bool = False,
) -> RunData:
    """Read what a run learns from and is measured on, and tell standard error what was skipped unless ``quiet``. Raises as the readers."""
    crop, source = recipe.geometry, Source.of(data, relabel, recipe.answers)
    read = partial(
        read_cut_faces,
        source,
        unmade=Unmade(crop, max(48, recipe.size), recipe.channels),
        ferplus=ferplus,
        detector=detector,
        labels=recipe.answers,
    )
    training = read(split="Training", told=not quiet)
    recipe = recipe.for_labels(training.label_set)
    training = matching(training, recipe)
    portraits = None if photos is None else read_portraits(photos, crop)
    if not quiet:
        for _, reason in (*training.skipped, *(() if portraits is None else portraits.skipped)):
            print(f"Skipped {reason}", file=sys.stderr)
    validation = _validation(source, read, quiet)
    return RunData(recipe, training, None if validation is None else matching(validation, recipe), portraits)


def parts_of(data: Faces, portraits: Portraits | None) -> dict[str, str]:
    """Return a digest of each part of what a run learns from.

    Faces that come from files are known by their names: what decodes and cuts them may differ in a shade between two machines.
    """
    shown = None if portraits is None else portraits.images
    named = bool(data.files)
    return {
        "faces": fingerprint(data.files if named else data.images),
        "labels": fingerprint(data.label_set.classes, data.labels, data.soft, data.weights),
        "votes": fingerprint(data.votes),
        "portraits": fingerprint(*((None,) if portraits is None else (portraits.labels, portraits.checked))),
        PIXELS: fingerprint(data.images if named else None, shown),
    }


def _validation(source: Source, read: Callable[..., Faces], quiet: bool) -> Faces | None:
    missing: MissingSplitError | str = "No validation folder."
    try:
        if source.has("PublicTest"):
            return read(split="PublicTest")
    except MissingSplitError as error:
        missing = error
    if not quiet:
        print(f"{missing} The weights will be neither measured nor calibrated.", file=sys.stderr)
    return None
