"""Who is who: detections and optical flow become tracks with stable numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..faces import Face
from ..gate import native
from ..geometry import iou
from .flow import likeness, look, moved, shrunk

__all__ = ["Track", "Tracker"]

Float = NDArray[np.float64]

_REFUSED = 1e3  # cost of a pair that may not be matched
_SAME_PLACE = 0.3  # IoU above which a live track and a detection are taken for the same face
_ALIKE = 0.72  # likeness above which a face that jumped or came back is the same person
_STILL_THERE = 0.62  # likeness below which a box without a detection no longer shows its face
_COVERED = 0.3  # IoU with a detected face at which an undetected one counts as hidden behind it
_COAST_S = 1.2  # how long flow alone may carry a box
_GAP_S = 8.0  # how long a person who is out of sight keeps the number
_NEAR = 0.55  # likeness that is enough at the very place where somebody was expected back: half covered, turned
_TOUCH = 0.02  # IoU of two boxes from which a look may be of two people
_FADE_S = 1.0  # the speed of somebody out of sight halves in about this time
_NO_PROOF_S = 0.5  # detections further apart than this prove nothing by their absence


@dataclass
class Track:
    """One person. Mutable: the tracker's own; ``number`` is None until the track is confirmed."""

    box: Float
    score: float
    landmarks: Float | None
    look: Float | None
    seen_s: float  # last time the box was known
    detected_s: float
    speed: Float = field(default_factory=lambda: np.zeros(2))
    free: tuple[float, Float, Float] | None = None  # time, box and speed of the last detection with nobody else near
    number: int | None = None
    turn: int | None = None  # of the last detection
    hidden: bool = False  # out of sight: has no row, keeps its number for a while
    dead: bool = False

    @property
    def decided(self) -> bool:
        """False while it may still be a false alarm."""
        return self.dead or self.number is not None

    def face(self, box: Float, landmarks: Float | None) -> Face:
        points = None if landmarks is None else tuple((float(x), float(y)) for x, y in landmarks)
        return Face(tuple(float(v) for v in box), self.score, points, turn=self.turn)  # type: ignore[arg-type]

    def shift(self, dx: float, dy: float, zoom: float) -> None:
        centre = (self.box[:2] + self.box[2:]) / 2
        half = (self.box[2:] - self.box[:2]) / 2 * zoom
        if self.landmarks is not None:
            self.landmarks = (self.landmarks - centre) * zoom + centre + np.array([dx, dy])
        centre = centre + np.array([dx, dy])
        self.box = np.concatenate([centre - half, centre + half])


class Tracker:
    """Follows faces from frame to frame.

    A new face gets its number when a second detection confirms it, so that a detector's flickers get none. Between
    detections optical flow carries the boxes. At a detection, faces are assigned by overlap, landmarks and looks. Somebody who
    is covered or leaves keeps the number for eight seconds.
    """

    def __init__(self) -> None:
        self._tracks: list[Track] = []
        self._before: tuple[NDArray[np.uint8], float, tuple[int, ...]] | None = None
        self._time = 0.0
        self._detected_s: float | None = None
        self._next = 1

    def update(self, pixels: NDArray[np.uint8], time_s: float, faces: Sequence[Face] | None) -> list[tuple[Track, Face]]:
        """Take the next frame.

        Args:
            pixels: RGB uint8 ``(H, W, 3)``.
            time_s: Its time, seconds, not before the last one's.
            faces: What a detector found in it, or None if it did not look.

        Returns:
            The tracks that are in sight, each with its face here. A track without a number may still be dropped:
            see ``Track.decided``.
        """
        with native:
            grey, scale = shrunk(pixels)
            self._carry(grey, scale, pixels.shape, time_s)
            if faces is not None:
                self._assign(pixels, time_s, faces)
                self._detected_s = time_s
        self._before, self._time = (grey, scale, pixels.shape), time_s
        return [(t, t.face(t.box, t.landmarks)) for t in self._tracks if not t.hidden]

    def finish(self) -> None:
        """Confirm what no later detection can confirm any more: the video is over."""
        for track in self._tracks:
            if track.detected_s == self._detected_s:
                self._confirm(track)
            elif track.number is None:
                track.dead = True

    def _confirm(self, track: Track) -> None:
        if track.number is None:
            track.number, self._next = self._next, self._next + 1

    def _carry(self, grey: NDArray[np.uint8], scale: float, shape: tuple[int, ...], time_s: float) -> None:
        """Move every box to the new frame."""
        if self._before is None:
            return
        old, _, old_shape = self._before
        if old_shape != shape:
            # The stream changed its size: the same picture, drawn larger or smaller.
            factor = np.array([shape[1] / old_shape[1], shape[0] / old_shape[0]])
            for track in self._tracks:
                track.box, track.speed = track.box * np.tile(factor, 2), track.speed * factor
                track.landmarks = None if track.landmarks is None else track.landmarks * factor
            return
        step = max(time_s - self._time, 1e-3)
        live = [track for track in self._tracks if not track.hidden]
        answers = moved(old, grey, np.array([track.box * scale for track in live]).reshape(-1, 4))
        for track, answer in zip(live, answers, strict=True):
            if answer is None:
                track.shift(float(track.speed[0]) * step, float(track.speed[1]) * step, 1.0)
                continue
            dx, dy = answer[0] / scale, answer[1] / scale
            track.shift(dx, dy, answer[2])
            weight = min(1.0, step / 0.2)
            track.speed = (1 - weight) * track.speed + weight * np.array([dx, dy]) / step
            track.seen_s = time_s
        for track in self._tracks:
            if track.hidden:
                track.shift(float(track.speed[0]) * step, float(track.speed[1]) * step, 1.0)
                track.speed = track.speed * 0.5 ** (step / _FADE_S)

    def _assign(self, pixels: NDArray[np.uint8], time_s: float, faces: Sequence[Face]) -> None:
        from scipy.optimize import linear_sum_assignment

        boxes = np.array([face.box for face in faces], np.float64).reshape(-1, 4)
        looks = [look(pixels, box) for box in boxes]
        cost = self._costs(boxes, faces, looks, time_s)
        taken: dict[int, int] = {}
        for row, column in zip(*linear_sum_assignment(cost), strict=True):
            if cost[row, column] < _REFUSED:
                taken[int(column)] = int(row)
        matched = set(taken.values())
        crowd = iou(boxes, boxes) - np.eye(len(boxes))
        for column, row in taken.items():
            alone = crowd[column].max(initial=0.0) < _TOUCH
            self._renew(self._tracks[row], boxes[column], faces[column], looks[column] if alone else None, time_s)
        self._review([t for n, t in enumerate(self._tracks) if n not in matched], boxes, pixels, time_s)
        for column, face in enumerate(faces):
            if column not in taken:
                points = None if face.landmarks is None else np.array(face.landmarks)
                self._tracks.append(Track(boxes[column], face.score, points, looks[column], time_s, time_s))
        self._tracks = [track for track in self._tracks if not track.dead]

    def _costs(self, boxes: Float, faces: Sequence[Face], looks: Sequence[Float | None], time_s: float) -> Float:
        cost = np.full((len(self._tracks), len(boxes)), _REFUSED)
        shared = iou(np.array([track.box for track in self._tracks]).reshape(-1, 4), boxes)
        for n, track in enumerate(self._tracks):
            size = max(1.0, track.box[3] - track.box[1])
            reach = min(3.0, 0.7 + 1.5 * (time_s - track.seen_s))
            for m, box in enumerate(boxes):
                alike = likeness(track.look, looks[m])
                away = float(np.hypot(*(track.box[:2] + track.box[2:] - box[:2] - box[2:]))) / 2 / size
                ratio = abs(np.log(max(1.0, box[3] - box[1]) / size))
                same_place = not track.hidden and shared[n, m] > _SAME_PLACE
                wanted = _NEAR + (_ALIKE + 0.1 - _NEAR) * min(1.0, away / reach) if track.hidden else _ALIKE
                if not same_place and (away > reach or ratio > 0.6 or alike < wanted):
                    continue
                place = 1 - shared[n, m]
                points = faces[m].landmarks
                if track.landmarks is not None and points is not None and not track.hidden:
                    gap = np.linalg.norm(track.landmarks - np.array(points), axis=1).mean() / size
                    place = (place + min(1.0, 2 * float(gap))) / 2
                # Looks weigh double: where two people cross, places say little.
                cost[n, m] = place + 2 * (1 - alike)
        return cost

    def _renew(self, track: Track, box: Float, face: Face, seen: Float | None, time_s: float) -> None:
        self._confirm(track)
        near = not track.hidden and float(iou(track.box[None], box[None])[0, 0]) > 0.5
        # Detectors jitter and flow drifts; half of each does neither.
        track.box = (track.box + box) / 2 if near else box
        track.landmarks, track.turn = None if face.landmarks is None else np.array(face.landmarks), face.turn
        track.score, track.hidden, track.seen_s, track.detected_s = face.score, False, time_s, time_s
        if seen is not None:
            if likeness(track.look, seen) > _ALIKE:
                track.free = (time_s, track.box, track.speed)
            track.look = seen if track.look is None else _unit(0.8 * track.look + 0.2 * seen)

    def _review(self, unmatched: Sequence[Track], boxes: Float, pixels: NDArray[np.uint8], time_s: float) -> None:
        """Decide about tracks that the detector did not see: flow may carry them on, or they are hidden, or forgotten."""
        for track in unmatched:
            if track.number is None:
                if time_s - track.detected_s > _NO_PROOF_S:
                    self._confirm(track)
                else:
                    track.dead = True
                    continue
            if track.hidden:
                track.dead = time_s - track.seen_s > _GAP_S
                continue
            covered = len(boxes) and iou(track.box[None], boxes).max() > _COVERED
            centre = (track.box[:2] + track.box[2:]) / 2
            outside = (centre < 0).any() or (centre > pixels.shape[1::-1]).any()
            lost = track.seen_s < time_s or time_s - track.detected_s > _COAST_S
            changed = likeness(track.look, look(pixels, track.box)) < _STILL_THERE
            track.hidden = bool(covered or outside or lost or changed)
            if track.hidden and track.free is not None:
                # Flow may have gone along with whoever covers this face: expect it where it was heading before.
                since, box, speed = track.free
                track.box, track.speed = box + np.tile(speed, 2) * min(time_s - since, 1.0), speed


def _unit(look: Float) -> Float:
    return np.asarray(look / (np.linalg.norm(look) + 1e-9))
