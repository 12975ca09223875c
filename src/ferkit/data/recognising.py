"""Telling whole photos from ready crops, so that nobody's photos are squashed to a face's size."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..crops import CropGeometry, Crops, checked, resized
from ..detectors.face_detector import FaceDetector
from ..errors import ImageError
from ..image_files import expanded
from ..images import load_image, to_grey
from ..labels import FER7, LabelSet
from ..protocols import Detector, name_of
from .faces import SIZE, Faces, read_faces
from .folders import label_files, read_photos

__all__ = ["are_photos", "detector_for", "read_cut_faces"]

_SAMPLE = 24  # pictures that are looked at
_CROP_SIDE = 64  # px: whatever is no larger is a ready crop
_SQUARE = 1.25  # ratio of the sides above which a picture is no crop
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


def detector_for(root: Path, split: str) -> Detector:
    """Return the default detector for a folder of photos, ``FaceDetector("none")`` for ready crops; says on standard error which photos.

    Raises:
        DataError: There are no label folders.
    """
    finder = FaceDetector()
    if not are_photos([file for files in label_files(root, split).values() for file in files], finder):
        return FaceDetector("none")
    sys.stderr.write(
        f"{root} holds whole photos: their faces are found by {name_of(finder)} and cut as the weights want them. "
        "If they are ready crops, give detector='none'.\n"
    )
    return finder


class _Grey:
    """What :func:`read_photos` asks of a classifier, for weights that do not exist yet."""

    name = "training"
    labels: LabelSet = FER7

    def __init__(self, crop: CropGeometry) -> None:
        self.crop = crop

    def prepare(self, crops: Crops) -> NDArray[np.uint8]:
        return np.stack([resized(to_grey(crop), SIZE) for crop in checked(crops)])

    def predict_proba(self, crops: Crops) -> NDArray[np.float32]:
        raise NotImplementedError


def read_cut_faces(
    path: str | Path, split: str, crop: CropGeometry, *, ferplus: str | Path | None = None, detector: Detector | None = None
) -> Faces:
    """Read one split as :func:`read_faces` does; faces of whole photos are found, and cut as prediction cuts them.

    Args:
        path: ``fer2013.csv`` or a folder.
        split: ``Training``, ``PublicTest`` or ``PrivateTest``.
        crop: Of the weights.
        ferplus: FER+ votes beside a csv.
        detector: ``FaceDetector("none")`` for ready crops. None: the pictures tell.

    Returns:
        Faces of 48x48.

    Raises:
        DataError: As the readers.
    """
    path = expanded(path)
    if not path.is_dir():
        return read_faces(path, split, ferplus)
    detector = detector or detector_for(path, split)
    if getattr(detector, "whole", False) or ferplus is not None:
        return read_faces(path, split, ferplus)
    return read_photos(path, _Grey(crop), detector, split=split).faces
