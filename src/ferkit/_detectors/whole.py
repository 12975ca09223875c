"""No detection: the picture is the face."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..results import Face


class Whole:
    """Answers one face that fills the image; for folders of ready crops."""

    default_score = 0.0

    def __init__(self, model: Path | None, min_score: float) -> None:
        del model, min_score

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        """Return the whole of RGB uint8 ``(H, W, 3)`` as a face."""
        return [Face((0.0, 0.0, float(image.shape[1]), float(image.shape[0])))]
