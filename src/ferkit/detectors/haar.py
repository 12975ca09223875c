"""OpenCV 4's Haar cascade (Viola and Jones, "Rapid Object Detection using a Boosted Cascade", CVPR 2001)."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import MissingExtraError, WeightsError
from ..faces import Face
from ..geometry import nms
from ..resizing import resized_to

_MAX_SIDE = 960  # the cascade's time grows with the area; a face then needs about 3 % of the long side
_MIN_FACE = 24  # the cascade's own window, pixels

# Haar answers squares on the inner face. ferkit's boxes reach from the forehead to the chin, as YuNet's do, so that
# crop geometry is a property of the weights alone. Both were run on the same FER2013 faces (benchmarks/crop_geometry.py):
# the offset of the centre, the width and the height of YuNet's box, in units of the Haar square's side.
_BOX_FROM_SQUARE = (0.0, 0.017, 0.804, 1.074)


class Haar:
    """Upright frontal faces only, no landmarks; nothing to fetch."""

    default_score = 0.0

    def __init__(self, model: Path | None, min_score: float) -> None:
        import cv2

        if not hasattr(cv2, "CascadeClassifier"):
            raise MissingExtraError("opencv-python-headless<5", None, f"The haar detector (OpenCV {cv2.__version__} has no cascades)")
        folder = Path(cv2.data.haarcascades)  # type: ignore[attr-defined]
        path = model if model is not None else folder / "haarcascade_frontalface_default.xml"
        if not path.is_file():
            raise WeightsError(f"{path} does not exist; expected a Haar cascade (xml).")
        try:
            self._cascade = cv2.CascadeClassifier(str(path))
        except (cv2.error, SystemError) as error:
            raise WeightsError(f"{path} is not a Haar cascade that OpenCV {cv2.__version__} can read.") from error
        self._min_score = min_score
        self._lock = threading.Lock()  # a cascade keeps its image between calls

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        """Find faces in RGB uint8 ``(H, W, 3)``."""
        import cv2

        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        scale = min(1.0, _MAX_SIDE / max(grey.shape))
        if scale < 1:
            grey = resized_to(grey, max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale)))
        if min(grey.shape) < _MIN_FACE:
            return []
        grey = cv2.equalizeHist(grey)
        with self._lock:
            squares, _, weights = self._cascade.detectMultiScale3(
                grey, scaleFactor=1.1, minNeighbors=5, minSize=(_MIN_FACE, _MIN_FACE), outputRejectLevels=True
            )
        if len(squares) == 0:
            return []
        squares = np.asarray(squares, np.float64).reshape(-1, 4) / scale
        # The last stage's margin, 0 to about 10, squeezed into 0-1: an order, not a probability.
        scores = 1 - np.exp(-np.maximum(np.asarray(weights, np.float64).reshape(-1), 0) / 3)
        dx, dy, w, h = _BOX_FROM_SQUARE
        side = squares[:, 2]
        cx, cy = squares[:, 0] + side * (0.5 + dx), squares[:, 1] + side * (0.5 + dy)
        boxes = np.column_stack([cx - side * w / 2, cy - side * h / 2, cx + side * w / 2, cy + side * h / 2])
        return [Face(tuple(boxes[i]), float(scores[i])) for i in nms(boxes, scores, 0.4) if scores[i] >= self._min_score]
