"""No detection: the picture is the face."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..faces import Face


class WholeImage:
    """Answers one face that fills the image; for folders of ready crops."""

    default_score = None

    def __init__(self, model: Path | None, min_score: float | None) -> None:
        given = [name for name, value in (("model", model), ("min_score", min_score)) if value is not None]
        if given:
            raise InputError(
                f"The detector 'none' takes the whole image as the face, without a network and a score; leave {' and '.join(given)} out, "
                "or name another detector."
            )

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        """Return the whole of RGB uint8 ``(H, W, 3)`` as a face."""
        return [Face((0.0, 0.0, float(image.shape[1]), float(image.shape[0])))]
