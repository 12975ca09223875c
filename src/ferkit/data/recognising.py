"""Telling whole photos from ready crops, so that nobody's photos are squashed to a face's size."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..detectors.face_detector import FaceDetector
from ..errors import ImageError
from ..images import load_image
from ..protocols import Detector, name_of
from .folders import list_data
from .samples import Listing

__all__ = ["are_photos", "detector_for"]

_SAMPLE = 24  # pictures that are looked at
_CROP_SIDE = 64  # px: whatever is no larger is a ready crop
_SQUARE = 1.25  # ratio of the sides above which a picture is not a crop
_SHARE = 0.55  # of a picture's shorter side, below which its largest face does not fill it; crops of data sets: 0.7 and more


def are_photos(files: Sequence[Path], finder: Detector) -> bool:
    """Return whether most of some pictures, of 24 that are spread over them, show more than a face.

    Args:
        files: Pictures; those that cannot be read do not count.
        finder: Finds the faces of the larger ones.
    """
    chosen = [files[i] for i in np.unique(np.linspace(0, len(files) - 1, min(_SAMPLE, len(files))).astype(int))] if files else []
    votes = []
    for file in chosen:
        try:
            pixels = load_image(file)
        except ImageError:
            continue  # whoever reads the data reports it
        short, long = sorted(pixels.shape[:2])
        if long <= _CROP_SIDE:
            votes.append(False)
        elif long / short > _SQUARE:
            votes.append(True)
        else:
            votes += [max(face.width, face.height) < _SHARE * short for face in finder.detect_rgb(pixels)[:1]]
    return 2 * sum(votes) > len(votes)


def detector_for(source: Path | Listing, split: str | None = None) -> Detector:
    """Return the default detector for whole photos, ``FaceDetector("none")`` for ready crops; says on standard error which photos.

    Args:
        source: A folder, a manifest, or what is listed of one. Pictures with a box for the face are photos.
        split: Which of it.

    Raises:
        DataError: As ``ferkit.data.folders.list_data``.
    """
    listing = source if isinstance(source, Listing) else list_data(source)
    samples = listing.part(split).samples
    finder = FaceDetector()
    if not any(sample.box for sample in samples):
        if not are_photos([sample.path for sample in samples], finder):
            return FaceDetector("none")
        sys.stderr.write(
            f"{listing.source} holds whole photos: their faces are found by {name_of(finder)} and cut as the weights want them. "
            "If they are ready crops, give detector='none'.\n"
        )
    return finder
