"""Pictures for detectors, and their answers as rows."""

from __future__ import annotations

import numpy as np
from PIL import Image

from ferkit import Face


def resized(image: np.ndarray, scale: float) -> np.ndarray:
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC))


def as_rows(faces: list[Face]) -> np.ndarray:
    """Boxes, scores and points ``(n, 15)``."""
    return np.array([[*face.box, face.score, *np.ravel(face.landmarks)] for face in faces])
