"""YuNet through OpenCV (Wu et al., "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence Research 2023)."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import MissingExtraError, WeightsError
from ..faces import Face
from ..geometry import nms
from ..resizing import resized_to
from ..weights.store import resolve_detector

_MAX_SIDE = 1280  # bounds time and memory; a face then needs about 1 % of the long side
_SMALLEST = 8  # pixels; YuNet's faces begin at about 10
_SMALL_SIDE = 320  # the second look: YuNet misses, or misplaces the landmarks of, faces over about 300 px


class YuNet:
    """Five landmarks, faces from about 10 px to full frame, turned heads."""

    default_score = 0.6

    def __init__(self, model: Path | None, min_score: float) -> None:
        import cv2

        path = model if model is not None else resolve_detector("yunet-2026may")
        try:
            data = np.frombuffer(path.read_bytes(), np.uint8)
            self._net = cv2.FaceDetectorYN.create("onnx", data, np.zeros(0, np.uint8), (320, 320), min_score, 0.3, 1000)
        except AttributeError as error:
            raise MissingExtraError("opencv-python-headless", None, "The yunet detector") from error
        except OSError as error:
            raise WeightsError(f"{path} cannot be read ({error.strerror}); expected YuNet's ONNX file.") from error
        except cv2.error as error:
            raise WeightsError(f"{path} is not a YuNet network that OpenCV {cv2.__version__} can read: {error}") from error
        self._lock = threading.Lock()  # the input size is state of the network

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        """Find faces in RGB uint8 ``(H, W, 3)``."""
        import cv2

        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        long_side = max(bgr.shape[:2])
        rows = [self._at(bgr, min(1.0, _MAX_SIDE / long_side))]
        if long_side > _SMALL_SIDE:
            # The shrunk look answers for large faces only; small ones are better seen in full.
            small = self._at(bgr, _SMALL_SIDE / long_side)
            rows.append(small[np.maximum(small[:, 2], small[:, 3]) > 0.25 * long_side])
            rows[0] = rows[0][np.maximum(rows[0][:, 2], rows[0][:, 3]) <= 0.75 * long_side]
        found = np.concatenate(rows)
        boxes = np.column_stack([found[:, 0], found[:, 1], found[:, 0] + found[:, 2], found[:, 1] + found[:, 3]])
        return [
            Face(tuple(boxes[i]), float(found[i, 14]), tuple((x, y) for x, y in found[i, 4:14].reshape(5, 2)))
            for i in nms(boxes, found[:, 14], 0.4)
        ]

    def _at(self, bgr: NDArray[np.uint8], scale: float) -> NDArray[np.float64]:
        """Detect at one scale; rows of x, y, w, h, five points, score in the image's own pixels."""

        height, width = bgr.shape[:2]
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        if min(size) < _SMALLEST:
            return np.zeros((0, 15))  # OpenCV 4.14 answers such strips with whatever its buffers held
        shrunk = resized_to(bgr, *size)
        with self._lock:
            self._net.setInputSize(size)
            _, rows = self._net.detect(shrunk)
        if rows is None:
            return np.zeros((0, 15))
        rows = rows.astype(np.float64)
        rows[:, :14] *= np.tile([width / size[0], height / size[1]], 7)
        return np.asarray(rows[np.isfinite(rows).all(axis=1) & (rows[:, 2:4] > 0).all(axis=1)])
