"""What ferkit asks of a detector, a classifier and an engine: write a class with these methods, and it is one.

Nothing is inherited and nothing is registered. A type checker compares a class with the protocol where it is given to
ferkit; at run time only the methods are called.

>>> import numpy as np
>>> from ferkit import Face
>>> class Middle:
...     "Finds one face in the middle of every picture."
...     def detect_rgb(self, pixels):
...         height, width = pixels.shape[:2]
...         return [Face((width / 4, height / 4, 3 * width / 4, 3 * height / 4))]
>>> Middle().detect_rgb(np.zeros((40, 80, 3), np.uint8))[0].box
(20.0, 10.0, 60.0, 30.0)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from .crops import CropGeometry, Crops, crop_face, resized
from .faces import Expression, Face, as_expression
from .labels import LabelSet
from .turning import turn_upright, upright

__all__ = [
    "Abstains",
    "AnswersMaps",
    "Classifier",
    "Describes",
    "Detector",
    "Engine",
    "Predicts",
    "Prepares",
    "Reader",
    "ReleasesBuffers",
    "cut",
    "cut_out",
    "expression_of",
    "expressions_of",
    "feature_count",
    "is_whole",
    "name_of",
    "prepared",
    "rotations_of",
    "tta_of",
]

_SIDE = 112  # pixels of the squares that a classifier gets which does not say what it needs


class Detector(Protocol):
    """Finds faces in one picture.

    Three attributes are optional: ``name`` (str, for messages; else the class's name), ``whole`` (True: the picture is the face,
    and is not cropped again) and ``rotations`` (the turns of faces, in degrees, that it was asked to look for).
    """

    def detect_rgb(self, pixels: NDArray[np.uint8]) -> list[Face]:
        """Find the faces of a picture, the largest first; an empty list where there are none.

        Args:
            pixels: RGB uint8 ``(H, W, 3)``, 0-255. Must not be changed.

        Returns:
            Faces with boxes xyxy from the forehead to the chin, in pixels of this picture, scores 0-1 and, where they are
            known, five landmarks: the subject's right eye, left eye, nose tip, right and left mouth corner.
        """
        ...


class Classifier(Protocol):
    """Answers how probable each label is for crops of faces. Safe to call from several threads."""

    @property
    def name(self) -> str:
        """What results and reports call it."""
        ...

    @property
    def labels(self) -> LabelSet:
        """The classes, in the order of the probabilities' columns."""
        ...

    @property
    def crop(self) -> CropGeometry:
        """How a detected face is to be cut out for it; ``CropGeometry()`` is a square on the box."""
        ...

    def predict_proba(self, crops: Crops) -> NDArray[np.float32]:
        """Return probabilities, float32 ``(n, k)``, of which every row sums to 1.

        Args:
            crops: n crops, uint8, 0-255, RGB ``(H, W, 3)`` or grey ``(H, W)``, of any sizes; it may be empty.
        """
        ...


class Engine(Protocol):
    """Runs a network; a row of ``ferkit.engines.table`` opens one from the bytes of a model file."""

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map ``(n, c, H, W)``, of 1 or 3 channels as the network has them, to ``(n, k)``; safe to call from several threads."""
        ...


@runtime_checkable
class AnswersMaps(Protocol):
    """An engine that runs networks with several outputs too, as ferkit's face detector is one."""

    def output_names(self) -> list[str]:
        """Return the names of what the network answers."""
        ...

    def maps(self, batch: NDArray[np.float32], names: Sequence[str]) -> list[NDArray[np.float32]]:
        """Map ``(n, c, H, W)`` to the outputs named, in the shapes that they have; safe to call from several threads."""
        ...


@runtime_checkable
class ReleasesBuffers(Protocol):
    """An engine, or a detector, that can let go of the memory which it keeps from one picture to the next."""

    def release_buffers(self) -> None:
        """Let go of it; what is being looked at meanwhile is finished, and the next call takes it anew."""
        ...


@runtime_checkable
class Predicts(Protocol):
    """A classifier that makes its expressions itself, for example because its members may disagree."""

    def predict(self, crops: Crops) -> list[Expression]:
        """Return one expression for each crop."""
        ...


@runtime_checkable
class Abstains(Protocol):
    """A classifier that turns a row of probabilities into an expression by a rule of its own, such as a least confidence."""

    def expression(self, row: NDArray[np.float32]) -> Expression:
        """Return the expression of one row ``(k,)``."""
        ...


@runtime_checkable
class Describes(Protocol):
    """A classifier that also says by which numbers it tells faces apart."""

    def predict_with_features(self, crops: Crops) -> tuple[list[Expression], NDArray[np.float32]]:
        """Return one expression for each crop, and features, float32 ``(n, d)``; d is the same for an empty batch."""
        ...


@runtime_checkable
class Prepares(Protocol):
    """A classifier that brings crops to the size and the colors of its input, so that many of them fit into memory."""

    def prepare(self, crops: Crops) -> NDArray[np.uint8]:
        """Return uint8 ``(n, S, S)`` or ``(n, S, S, 3)``; predicting these gives the same answer as predicting the crops."""
        ...


class Reader(Protocol):
    """A detector and a classifier that belong together, as ``ferkit.Pipeline`` holds them."""

    @property
    def detector(self) -> Detector:
        """Finds the faces."""
        ...

    @property
    def classifier(self) -> Classifier:
        """Reads them."""
        ...


def name_of(detector: Detector) -> str:
    """Return the name that a detector gives itself, or its class's."""
    return str(getattr(detector, "name", type(detector).__name__))


def is_whole(detector: Detector) -> bool:
    """Return True if a detector takes every picture as a face that was cut out before."""
    return bool(getattr(detector, "whole", False))


def rotations_of(detector: Detector) -> tuple[int, ...]:
    """Return the turns that a detector was asked to look for, in degrees, as ``ferkit.FaceDetector`` takes them; empty if none."""
    return tuple(getattr(detector, "rotations", ()))


def tta_of(classifier: Classifier) -> str | int:
    """Return the test-time augmentation that a classifier says it uses, as ``ferkit.ExpressionClassifier`` spells it, or ``"none"``."""
    found: str | int = getattr(classifier, "tta", "none")
    return found


def cut(pixels: NDArray[np.uint8], face: Face, detector: Detector, crop: CropGeometry) -> NDArray[np.uint8]:
    """Return a detected face as a classifier wants it, at the picture's own resolution; a ready crop comes back as it is."""
    return pixels if is_whole(detector) else cut_out(pixels, face, crop)


def cut_out(pixels: NDArray[np.uint8], face: Face, crop: CropGeometry) -> NDArray[np.uint8]:
    """Return a face as a classifier wants it, upright, at the picture's own resolution."""
    turn = face.turn or 0
    seen = turn_upright(face, turn, pixels.shape[1], pixels.shape[0])
    return crop_face(upright(pixels, turn), seen.box, crop, seen.landmarks)


def expression_of(classifier: Classifier, row: NDArray[np.float32]) -> Expression:
    """Return one row of a classifier's probabilities ``(k,)`` as an expression, by its own rule if it has one."""
    return classifier.expression(row) if isinstance(classifier, Abstains) else as_expression(row, classifier.labels, None)


def expressions_of(classifier: Classifier, crops: Crops) -> list[Expression]:
    """Return one expression for each crop, made by the classifier itself if it can."""
    if isinstance(classifier, Predicts):
        return classifier.predict(crops)
    return [expression_of(classifier, row) for row in classifier.predict_proba(crops)]


def feature_count(classifier: Classifier) -> int:
    """Return how many features a classifier gives each face; 0 for one that gives none."""
    return classifier.predict_with_features([])[1].shape[1] if isinstance(classifier, Describes) else 0


def prepared(classifier: Classifier, crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return one crop as the classifier wants to keep it, or as a square of 112 pixels, so that many fit into memory and one array."""
    return classifier.prepare([crop])[0] if isinstance(classifier, Prepares) else resized(crop, _SIDE)
