"""Occlusion: hide a part of the face, and see how much less probable a label becomes. It needs nothing but answers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..gate import native
from ..labels import need_classes
from ..protocols import Classifier, prepared

__all__ = ["blurred", "log_probabilities", "occlusion", "patches"]

# Chosen on 40 faces of PublicTest, of patches of 8 and 12 pixels of 48, soft ones, and fills of the face's mean and blur.
_PATCHES = 6  # along a side
_STEPS = 2  # that a patch moves by, a side's share of it


def occlusion(classifier: Classifier, crop: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return where the evidence for each label lies: how much less probable the label is when that place is blurred.

    Source: Zeiler and Fergus, "Visualizing and understanding convolutional networks", ECCV 2014; here with overlapping patches,
    blurred instead of grey, since a grey patch is an object of its own.

    Args:
        classifier: Anything that ``ferkit.protocols.Classifier`` describes, with any engine.
        crop: One face, uint8 ``(H, W)`` or ``(H, W, 3)``, 0-255, as the classifier takes it.

    Returns:
        float32 ``(k, S, S)``, a map for each label in the classifier's order, on the square that the network sees: the mean fall of
        the logarithm of its probability, in nats, over the patches that cover a pixel. Below 0: the place speaks against the label.

    Raises:
        InputError: As ``classifier.predict_proba``.

    Examples:
        >>> import numpy as np
        >>> from ferkit import ExpressionClassifier
        >>> occlusion(ExpressionClassifier("fer2013-n-v6"), np.zeros((48, 48), np.uint8)).shape
        (7, 48, 48)
    """
    need_classes(classifier.labels, classifier.name, "Explaining")
    face = prepared(classifier, crop)
    masks = patches(face.shape[0])
    hidden = blurred(face)
    shape = (-1, *face.shape[:2]) + (1,) * (face.ndim - 2)
    log = log_probabilities(classifier, np.concatenate([face[None], np.where(masks.reshape(shape), hidden, face)]))
    fall = log[0] - log[1:]
    return np.asarray(np.tensordot(fall.T, masks.astype(np.float64), 1) / masks.sum(axis=0), np.float32)


def patches(side: int) -> NDArray[np.bool_]:
    """Return overlapping squares that cover ``(side, side)`` evenly, bool ``(n, side, side)``."""
    size = side / _PATCHES
    starts = np.arange(1 - _STEPS, _PATCHES * _STEPS) * size / _STEPS
    at = np.arange(side) + 0.5
    along = (at >= starts[:, None]) & (at < starts[:, None] + size)
    return np.asarray((along[:, None, :, None] & along[None, :, None, :]).reshape(-1, side, side))


def blurred(face: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a face ``(S, S, ...)`` without its features: a Gaussian blur by a twelfth of its side."""
    import cv2

    with native:
        return np.asarray(cv2.GaussianBlur(face, (0, 0), face.shape[0] / 12), np.uint8)


def log_probabilities(classifier: Classifier, faces: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the logarithms of a classifier's answers, float64 ``(n, k)``, of which none is below that of a millionth."""
    return np.log(classifier.predict_proba(faces).astype(np.float64) + 1e-6)
