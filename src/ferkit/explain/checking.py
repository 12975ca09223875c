"""Does a map mean something? Deletion and insertion curves: take away first what it calls important, or show that first."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..protocols import Classifier, prepared
from .occluding import blurred

__all__ = ["Curves", "curves"]


class Curves(NamedTuple):
    """A label's probability while the pixels of a map are taken away, and while they are shown, the most important first.

    Attributes:
        deletion: float64 ``(steps + 1,)``; pixels become the face's mean grey. The faster it falls, the better the map.
        insertion: float64 ``(steps + 1,)``; pixels of the blurred face become sharp. The faster it rises, the better the map.
        deletion_auc: The area under ``deletion``, 0-1.
        insertion_auc: The area under ``insertion``, 0-1.
    """

    deletion: NDArray[np.float64]
    insertion: NDArray[np.float64]

    @property
    def deletion_auc(self) -> float:
        return _area(self.deletion)

    @property
    def insertion_auc(self) -> float:
        return _area(self.insertion)


def curves(classifier: Classifier, crop: NDArray[np.uint8], heat: NDArray[np.floating], label: str, *, steps: int = 24) -> Curves:
    """Measure a map by what the classifier answers when it is believed.

    Source: Petsiuk, Das and Saenko, "RISE: Randomized input sampling for explanation of black-box models", BMVC 2018.

    Args:
        classifier: Anything that ``ferkit.protocols.Classifier`` describes.
        crop: One face, uint8 ``(H, W)`` or ``(H, W, 3)``.
        heat: ``(S, S)`` of the square that the network sees, as ``occlusion`` returns it for one label; higher is more important.
        label: Whose probability is followed.
        steps: In how many equal parts the pixels are exchanged.

    Raises:
        InputError: The map has another shape, the label is none of the classifier's, or steps is below 1.
    """
    face = prepared(classifier, crop)
    if np.shape(heat) != face.shape[:2]:
        raise InputError(f"A map of shape {np.shape(heat)}; expected {face.shape[:2]}, the square that {classifier.name} sees.")
    if steps < 1:
        raise InputError(f"steps={steps}; expected at least 1.")
    column = classifier.labels.index(label)
    order = np.argsort(-np.asarray(heat, np.float64).ravel(), kind="stable")
    rank = np.empty(order.size, np.int64)
    rank[order] = np.arange(order.size)
    first = rank.reshape(face.shape[:2]) < np.linspace(0, order.size, steps + 1).round()[:, None, None]
    first = first.reshape(first.shape + (1,) * (face.ndim - 2))
    mean = face.mean(axis=(0, 1), keepdims=True).round().astype(np.uint8)
    faces = np.concatenate([np.where(first, mean, face), np.where(first, face, blurred(face))])
    answers = classifier.predict_proba(faces)[:, column].astype(np.float64)
    return Curves(answers[: steps + 1], answers[steps + 1 :])


def _area(values: NDArray[np.float64]) -> float:
    return float(((values[1:] + values[:-1]) / 2).mean())
