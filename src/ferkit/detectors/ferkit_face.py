"""ferkit's own detector: faces from 8 px to the whole frame, and five landmarks; two small networks."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..engines.table import open_engine
from ..errors import WeightsError
from ..faces import Face
from ..geometry import area, clip_boxes, intersection, iou, nms
from ..logits import logit, softmax_and_log
from ..protocols import AnswersMaps, Engine, ReleasesBuffers
from ..resizing import resized_to
from ..turning import turn_upright, upright
from ..weights.releases import BUNDLED_DETECTOR
from ..weights.specs import SPEC_FILE, DetectorSpec
from ..weights.store import read_verified, resolve_detector
from .ferkit_face_format import (
    FACE,
    OUTPUTS,
    POINTS_FILE,
    STRIDES,
    decode,
    face_view,
    filled,
    mirrored_points,
    open_network,
    planes,
    soft_argmax,
)

_IN_OPENCV = partial(open_engine, "opencv")
_TOGETHER = 16  # faces whose landmarks are found at once, four views each
_MAX_SIDE = 1280  # bounds time and memory; a face then needs about 1 % of the long side
_LEAST_SIDE, _ENLARGED = 640, 2.0  # smaller pictures are enlarged to this side, at most so many times: + 1 point of AP
SMALL_SIDE = 256  # the second look: the network was trained on faces up to 300 px
LARGE = 160  # px in the first look, from which the second look's answer is asked for too
OVERLAP = 0.5  # IoU above which two boxes are one face
NESTED, LARGER = 0.85, 3.0  # a box of which so much lies in a much surer one, so many times larger, is a part of that face
MUCH = 0.5  # logits by which it is: a child before an adult is a face as sure as the adult's
WITHIN, GROWN, SAME = 0.8, 1.3, 0.6  # shares of a first look's box in a second look's, their areas, and the IoU of one box in both
ASTRAY = 0.4  # IoU of a first look's box with a second look's, from which it is that face, badly placed
CLEAR = 24  # px of a face in the second look, from which that look says whether it is one, and how it is turned
UNSEEN = 0.35  # share of the first look's score, below which it says that it is none
MOSTLY, PLAINLY = 0.5, 1.0  # share of a box that lies in a larger one, and logits by which that one is surer: it echoes that face
_SIDES = (90, 180, 270)  # degrees clockwise by which faces may be turned
_CUT = 0.6  # share of a turned face that the picture shows, below which nobody can tell it from a corner of something else
_CLEARER = 0.1  # nats by which the landmarks of a face are clearer once it is turned over, from which it is upside down
_DOUBTFUL = -0.5  # and from which the other sides are looked at: four in five upright faces are plainly upright
_ONE = 0.5  # share of the smaller box that lies in the other, above which the two are one face from two sides
_MOST = 2000  # candidates of one look that go into NMS


class FerkitFace:
    """Five landmarks, faces from about 8 px to full frame, turned heads; comes with the package."""

    default_score = None  # the spec's
    on_engines = True

    def __init__(self, model: Path | None, min_score: float | None, opened: Callable[[bytes], Engine] = _IN_OPENCV) -> None:
        folder = model if model is not None else resolve_detector(BUNDLED_DETECTOR)
        if folder.is_file():
            raise WeightsError(f"{folder} is a file; expected the folder of a ferkit face detector ({SPEC_FILE}, model.onnx).")
        spec = DetectorSpec.load(folder)
        points = read_verified(folder, spec, POINTS_FILE) if POINTS_FILE in spec.files else None
        self._load(read_verified(folder, spec), points, str(folder), spec.min_score if min_score is None else min_score, opened)

    @classmethod
    def from_bytes(cls, onnx: bytes, min_score: float, points: bytes | None = None) -> FerkitFace:
        """Open networks that are not on disk yet: training measures itself so."""
        detector = cls.__new__(cls)
        detector._load(onnx, points, "the network", min_score, _IN_OPENCV)
        return detector

    def _load(self, data: bytes, points: bytes | None, where: str, min_score: float, opened: Callable[[bytes], Engine]) -> None:
        # One for each look: a network whose input changes its size allocates everything anew.
        self._first, self._second = (open_network(data, where, OUTPUTS, opened) for _ in range(2))
        # Without a network for landmarks those of the detector itself stay: where faces have them on the average.
        self._points = None if points is None else open_network(points, f"{where}, {POINTS_FILE}", ["points"], opened)
        self._asked = ["points"] if self._points is None or FACE not in self._points.output_names() else ["points", FACE]
        self._where = where
        self._min_score = min_score

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        """Find faces in RGB uint8 ``(H, W, 3)``."""
        long_side = max(image.shape[:2])
        first = min(_ENLARGED, _LEAST_SIDE / long_side) if long_side < _LEAST_SIDE else min(1.0, _MAX_SIDE / long_side)
        rows = self._look(self._first, _scaled(image, first), image.shape)
        large, small = LARGE / first, _scaled(image, SMALL_SIDE / long_side)
        from_side = cache(partial(self._from_side, small, image.shape))
        if long_side * first > 1.5 * SMALL_SIDE:
            seen = self._look(self._second, small, image.shape, UNSEEN * self._min_score)
            second = seen[seen[:, 0] >= self._min_score]
            unseen = _unseen(rows, seen, CLEAR * long_side / SMALL_SIDE)
            for turn in _SIDES if unseen.any() else ():  # a turned face that look sees from another side
                there = rows[unseen]
                there[:, 1:5] = _turned(there, turn, image.shape)
                unseen[unseen] = _unseen(there, from_side(turn), CLEAR * long_side / SMALL_SIDE)
            ghosts = _outvoted(rows, second, large) | unseen
            rows = np.concatenate([rows[~ghosts], second[_sizes(second) > large]])
        rows = rows[nms(rows[:, 1:5], rows[:, 0], OVERLAP)]
        rows = rows[~(_parts(rows) | _echoes(rows, large, image.shape))]
        points, clearer, faces = self._looked_at(image, rows)
        turns, again = self._turns(from_side, image.shape, rows, clearer)
        shown = clip_boxes(rows[:, 1:5], image.shape[1], image.shape[0])
        kept = (turns == 0) | ~again & (area(shown) > _CUT * area(rows[:, 1:5]))
        # From near a face lying on its side looks like nothing.
        kept &= (logit(rows[:, 0]) + faces >= logit(self._min_score)) | np.isin(turns, (90, 270))
        return [
            Face(tuple(row[1:5]), float(row[0]), tuple((x, y) for x, y in five), turn=int(turn) or None)
            for row, five, turn in zip(rows[kept], points[kept], turns[kept], strict=True)
        ]

    def release_buffers(self) -> None:
        """Let go of the memory that the networks keep from one picture to the next, 80 MB after one of 1280 pixels."""
        for network in (self._first, self._second, self._points):
            if isinstance(network, ReleasesBuffers):
                network.release_buffers()

    def _looked_at(
        self, image: NDArray[np.uint8], rows: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Look at each face, its mirror image, and both turned over.

        Returns:
            Five points ``(n, 5, 2)``; by how much they are clearer once the face is turned over ``(n,)``, nats; and what the view adds to
            the logit of the face's score ``(n,)``. Without a network for landmarks the points are the rows' own, and nothing is added.
        """
        if self._points is None:
            return rows[:, 5:].reshape(-1, 5, 2), np.full(len(rows), -np.inf), np.zeros(len(rows))
        points, clearer, faces = [np.zeros((0, 5, 2))], [np.zeros(0)], [np.zeros(0)]
        for start in range(0, len(rows), _TOGETHER):
            squares, views = zip(*(face_view(image, box) for box in rows[start : start + _TOGETHER, 1:5]), strict=True)
            seen = np.stack(views)
            answers, added = self._maps(np.concatenate([seen, seen[:, :, ::-1], seen[:, ::-1, ::-1], seen[:, ::-1]]))
            maps = np.split(answers, 4)
            blur = np.stack([_entropy(one) for one in maps])
            clearer.append(blur[:2].mean(axis=0) - blur[2:].mean(axis=0))
            faces.append(added.reshape(2, 2, -1).mean(axis=1).max(axis=0))  # of the two ways up
            # A face and its mirror image: two answers err less than one.
            found = (soft_argmax(maps[0]) + mirrored_points(soft_argmax(maps[1]))) / 2
            square = np.array(squares, np.float64)[:, None]
            # From edges, in which shares of a side are told, to pixel centres, at which landmarks are.
            points.append(square[..., :2] + (found + 0.5) * square[..., 2:] - 0.5)
        return np.concatenate(points), np.concatenate(clearer), np.concatenate(faces)

    def _from_side(self, small: NDArray[np.uint8], shape: tuple[int, ...], turn: int) -> NDArray[np.float64]:
        """Return the second look's rows of the picture turned, in pixels of the picture turned."""
        return self._look(self._second, upright(small, turn), shape[:2] if turn == 180 else shape[1::-1])

    def _turns(
        self,
        from_side: Callable[[int], NDArray[np.float64]],
        shape: tuple[int, ...],
        rows: NDArray[np.float64],
        clearer: NDArray[np.float64],
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the degrees by which each face is turned clockwise, 0 where nothing says that it is turned, and which are there again.

        Where a face might be, the whole picture, as the second look has it, is looked at from the other sides, and one of them may be
        surer of it: what it sees as one face is one, whatever parts of it the first side took for faces. A face too small for that
        look is upside down if its landmarks are clearer once it is turned over.
        """
        turns = np.where(clearer > _CLEARER, 180, 0)
        scale = SMALL_SIDE / max(shape[:2])
        doubtful = (clearer > _DOUBTFUL) & (_sizes(rows) * scale > CLEAR)
        best, whose, alike = rows[:, 0].copy(), np.full(len(rows), -1), np.zeros(len(rows))
        for turn in _SIDES if doubtful.any() else ():
            seen, boxes = from_side(turn), _turned(rows, turn, shape)
            least = np.maximum(np.minimum(area(boxes)[:, None], area(seen[:, 1:5])[None]), 1e-9)
            same = intersection(boxes, seen[:, 1:5]) / least > _ONE
            scores = same * seen[None, :, 0]
            surer = np.flatnonzero(doubtful & (scores.max(axis=1, initial=0.0) > best))
            found = scores[surer].argmax(axis=1) if len(seen) else surer
            turns[surer], best[surer] = turn, scores[surer, found]
            whose[surer], alike[surer] = turn * _MOST + found, iou(boxes, seen[:, 1:5])[surer, found]
        again = (whose[:, None] == whose[None]) & (whose >= 0) & (alike[None] > alike[:, None])
        return turns, np.asarray(again.any(axis=1))

    def _maps(self, views: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the landmarks' heat maps ``(n, 5, s, s)`` of views ``(n, 48, 48, 3)``, and what each adds to a score's logit ``(n,)``."""
        assert self._points is not None
        maps, *added = (one.astype(np.float64) for one in self._points.maps(planes(views), self._asked))
        return maps, added[0].reshape(-1) if added else np.zeros(len(views))

    def _look(
        self, network: AnswersMaps, shown: NDArray[np.uint8], shape: tuple[int, ...], min_score: float | None = None
    ) -> NDArray[np.float64]:
        """Detect in a picture at the scale at which it is shown; rows of score, box xyxy, five points, in pixels of one of that shape."""
        min_logit = float(logit(self._min_score if min_score is None else min_score))
        maps = [m[0] for m in network.maps(planes(filled(shown)[None]), OUTPUTS)]
        if any(np.isnan(m[0]).any() for m in maps):  # which no score is above: there would be no faces, and nobody would know why
            raise WeightsError(
                f"{self._where} answers nan instead of scores; expected finite numbers. Look at how it was trained or converted."
            )
        rows = np.concatenate([decode(m, stride, min_logit) for m, stride in zip(maps, STRIDES, strict=True)])
        if len(rows) > _MOST:
            rows = rows[np.argsort(-rows[:, 0], kind="stable")[:_MOST]]
        rows[:, 1:] *= np.tile([shape[1] / shown.shape[1], shape[0] / shown.shape[0]], 7)
        return rows


def _turned(rows: NDArray[np.float64], turn: int, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the rows' boxes ``(n, 4)`` as they lie in the picture once what is turned so stands upright."""
    height, width = shape[:2]
    return np.array([turn_upright(Face(tuple(row[1:5])), turn, width, height).box for row in rows]).reshape(-1, 4)


def _scaled(image: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    return resized_to(image, max(1, round(width * scale)), max(1, round(height * scale)))


def _entropy(maps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how unclear each view's landmarks are ``(n,)``: the mean entropy of its maps ``(n, 5, s, s)``, nats."""
    p, log = softmax_and_log(maps.reshape(*maps.shape[:2], -1))
    return np.asarray(-(p * log).sum(axis=2).mean(axis=1))


def _outvoted(first: NDArray[np.float64], second: NDArray[np.float64], large: float) -> NDArray[np.bool_]:
    """Return which of the first look's rows are the middles of faces that were too large for it.

    The second look sees every face above ``large`` pixels well. Where it is surer of a larger box around such an answer, or of one that
    mostly shares its place, and has no answer of that size itself, there is one face and not a second one.
    """
    mine, theirs = first[:, 1:5], second[:, 1:5]
    shared = iou(mine, theirs)
    around = (intersection(mine, theirs) > WITHIN * area(mine)[:, None]) & (area(theirs)[None] > GROWN * area(mine)[:, None])
    around = (around | (shared > ASTRAY)) & (second[None, :, 0] > first[:, None, 0])
    return np.asarray((_sizes(first) > large) & around.any(axis=1) & ~(shared >= SAME).any(axis=1))


def _unseen(first: NDArray[np.float64], seen: NDArray[np.float64], clear: float) -> NDArray[np.bool_]:
    """Return which of the first look's rows are faces to that look alone, though the second one sees all above ``clear`` pixels well.

    In enlarged and blurred pictures, as many from phones are, smooth cloth and walls look like large faces. Made smaller they look like
    what they are, and a face like a face. Of two faces in one place, one before the other, the second look sees one.

    Args:
        first: The first look's rows.
        seen: The second look's, down to ``UNSEEN`` of the least score.
        clear: Pixels.
    """
    mine, scores = first[:, 1:5], first[:, 0]
    same = (iou(mine, seen[:, 1:5]) > ASTRAY) & (seen[None, :, 0] >= UNSEEN * scores[:, None])
    before = (intersection(mine, seen[:, 1:5]) > MOSTLY * area(mine)[:, None]) & (seen[None, :, 0] > scores[:, None])
    return np.asarray((_sizes(first) > clear) & ~(same | before).any(axis=1))


def _parts(rows: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which rows are eyes and mouths of others: close-ups look like faces in faces."""
    boxes, size = rows[:, 1:5], area(rows[:, 1:5])
    nested = (intersection(boxes, boxes) > NESTED * size[:, None]) & (size[None] > LARGER * size[:, None])
    return np.asarray((nested & _surer(rows, MUCH)).any(axis=1))


def _echoes(rows: NDArray[np.float64], large: float, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return which rows are weak answers beside the middle of a large face, of which they show the half that the picture has of them.

    A network that knows faces which the frame cuts takes a corner of a close-up for one, at times for one that is upside down. A face in
    front of another is about as sure as that one.
    """
    boxes, size = rows[:, 1:5], area(rows[:, 1:5])
    shown = clip_boxes(boxes, shape[1], shape[0])
    within = (intersection(shown, boxes) > MOSTLY * area(shown)[:, None]) & (size[None] > size[:, None]) & (_sizes(rows) > large)[None]
    return np.asarray((within & _surer(rows, PLAINLY)).any(axis=1))


def _surer(rows: NDArray[np.float64], by: float) -> NDArray[np.bool_]:
    """Return for each row which others ``(n, n)`` are surer by more than so many logits."""
    logits = logit(rows[:, 0])
    return np.asarray(logits[None] > logits[:, None] + by)


def _sizes(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.sqrt((rows[:, 3] - rows[:, 1]) * (rows[:, 4] - rows[:, 2])))
