"""ferkit's own detector: faces from 8 px to the whole frame, five landmarks, one small network through OpenCV."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .._geometry import area, intersection, nms
from .._specs import SPEC_FILE, DetectorSpec
from ..errors import WeightsError
from ..results import Face
from ..weights import BUNDLED_DETECTOR, read_verified, resolve_detector

_STRIDES = (8, 16, 32)
_MULTIPLE = 32  # of a side that the network takes
_MAX_SIDE = 1280  # bounds time and memory; a face then needs about 1 % of the long side
_LEAST_SIDE, _ENLARGED = 640, 2.0  # smaller pictures are enlarged to this side, at most so many times: + 1 point of AP
_SMALL_SIDE = 256  # the second look: the network was trained on faces up to 300 px
_LARGE = 160  # px in the first look, from which the second look's answer is asked for too
_OVERLAP = 0.5  # IoU above which two boxes are one face
_NESTED, _LARGER = 0.85, 3.0  # a box of which so much lies in a surer one, so many times larger, is a part of that face
_MOST = 2000  # candidates of one look that go into NMS
_MEAN, _STD, _PADDING = 127.5, 128.0, 114  # the network's input scale, and the grey that it saw beyond pictures' edges


class Own:
    """Five landmarks, faces from about 8 px to full frame, turned heads; comes with the package."""

    default_score = None  # the spec's

    def __init__(self, model: Path | None, min_score: float | None) -> None:
        folder = model if model is not None else resolve_detector(BUNDLED_DETECTOR)
        if folder.is_file():
            raise WeightsError(f"{folder} is a file; expected the folder of a ferkit face detector ({SPEC_FILE}, model.onnx).")
        spec = DetectorSpec.load(folder)
        self._load(read_verified(folder, spec), str(folder), spec.min_score if min_score is None else min_score)

    @classmethod
    def from_bytes(cls, onnx: bytes, min_score: float) -> Own:
        """Open a network that is not on disk yet: training measures itself so."""
        detector = cls.__new__(cls)
        detector._load(onnx, "the network", min_score)
        return detector

    def _load(self, data: bytes, where: str, min_score: float) -> None:
        import cv2

        try:
            self._net = cv2.dnn.readNetFromONNX(np.frombuffer(data, np.uint8))
            names = set(self._net.getUnconnectedOutLayersNames())
        except cv2.error as error:
            raise WeightsError(f"{where} is no network that OpenCV {cv2.__version__} can read: {error}") from error
        self._outputs = [f"stride{stride}" for stride in _STRIDES]
        if not names.issuperset(self._outputs):
            raise WeightsError(
                f"{where} has the outputs {', '.join(sorted(names))}; expected {', '.join(self._outputs)} (a ferkit-face network)."
            )
        # A score of 1 or 0 would be an infinite logit.
        p = min(max(min_score, 1e-6), 1 - 1e-6)
        self._min_logit = float(np.log(p / (1 - p)))
        self._lock = threading.Lock()  # a network keeps its blobs between calls

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        """Find faces in RGB uint8 ``(H, W, 3)``."""
        long_side = max(image.shape[:2])
        first = min(_ENLARGED, _LEAST_SIDE / long_side) if long_side < _LEAST_SIDE else min(1.0, _MAX_SIDE / long_side)
        rows = self._at(image, first)
        if long_side * first > 1.5 * _SMALL_SIDE:
            small = self._at(image, _SMALL_SIDE / long_side)
            large = _LARGE / first
            rows = np.concatenate([rows, small[_sizes(small) > large]])
        boxes, scores = rows[:, 1:5], rows[:, 0]
        return [
            Face(tuple(boxes[i]), float(scores[i]), tuple((x, y) for x, y in rows[i, 5:].reshape(5, 2)))
            for i in _whole(boxes, nms(boxes, scores, _OVERLAP))
        ]

    def _at(self, image: NDArray[np.uint8], scale: float) -> NDArray[np.float64]:
        """Detect at one scale; rows of score, box xyxy, five points, in the image's own pixels."""
        import cv2

        height, width = image.shape[:2]
        w, h = max(1, round(width * scale)), max(1, round(height * scale))
        canvas = np.full((_padded(h), _padded(w), 3), _PADDING, np.uint8)
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        canvas[:h, :w] = image if (w, h) == (width, height) else cv2.resize(image, (w, h), interpolation=how)
        blob = cv2.dnn.blobFromImage(canvas, 1 / _STD, None, (_MEAN, _MEAN, _MEAN))
        with self._lock:
            self._net.setInput(blob)
            maps = [np.array(m[0]) for m in self._net.forward(self._outputs)]
        rows = np.concatenate([_decode(m, stride, self._min_logit) for m, stride in zip(maps, _STRIDES, strict=True)])
        if len(rows) > _MOST:
            rows = rows[np.argsort(-rows[:, 0], kind="stable")[:_MOST]]
        rows[:, 1:] *= np.tile([width / w, height / h], 7)
        return rows


def _whole(boxes: NDArray[np.float64], kept: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return ``kept``, indices of boxes by falling score, without eyes and mouths: close-ups look like faces in faces."""
    b = boxes[kept]
    shared, size = intersection(b, b), area(b)
    part = (shared > _NESTED * size[:, None]) & (size[None] > _LARGER * size[:, None])
    return np.asarray(kept[~np.tril(part, -1).any(axis=1)])  # below the diagonal: only what scored better


def _padded(side: int) -> int:
    # Two cells at least at stride 32: on a map one cell high or wide, OpenCV 4.14 convolves with what lies beyond it.
    return max(2 * _MULTIPLE, -(-side // _MULTIPLE) * _MULTIPLE)


def _decode(level: NDArray[np.float32], stride: int, min_logit: float) -> NDArray[np.float64]:
    """Turn a level's map ``(15, h, w)`` into rows of score, box and points in the look's pixels."""
    y, x = np.nonzero(level[0] >= min_logit)
    cells = level[:, y, x].T.astype(np.float64)
    centre = np.column_stack([x + 0.5, y + 0.5])
    reach = np.exp(np.clip(cells[:, 1:5], -4.0, 4.5))
    boxes = np.concatenate([centre - reach[:, :2], centre + reach[:, 2:]], axis=1)
    points = cells[:, 5:15] + np.tile(centre, 5)
    return np.concatenate([1 / (1 + np.exp(-cells[:, :1])), boxes * stride, points * stride], axis=1)


def _sizes(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.sqrt((rows[:, 3] - rows[:, 1]) * (rows[:, 4] - rows[:, 2])))
