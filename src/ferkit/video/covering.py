"""Which heads to cover in a film: those that are seen, and those that nobody saw for a moment. One frame would be enough to know a face."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..drawing.layout import Box
from ..geometry import iou
from ..results import Result
from .frame import Frame

__all__ = ["Covered", "Covering"]

_REACH_S = 1.0  # how long before it was seen, and after, a head is covered
_FRAMES_BEFORE, _FRAMES_AFTER = 1, 2  # and at least so many frames, where they lie further apart
_GROWTH = 0.5  # of a box on each side, for every second since it was seen or until it will be: heads move
_MOTION_S = 0.3  # of sights that tell how a head moves
_WAITING_BYTES = 96 << 20  # of frames that wait to know who comes next: two seconds of 720p, half a second of 1080p
_SAME = 0.3  # IoU from which a detector's answer and a followed face are one


@dataclass(frozen=True)
class Covered:
    """A frame, what was read in it, and the boxes xyxy of the heads to cover."""

    frame: Frame
    result: Result
    boxes: tuple[Box, ...]


@dataclass(frozen=True)
class _Sight:
    number: int
    time_s: float
    person: int | None
    box: Box


class Covering:
    """Takes the frames of a film one after another and gives them back with the heads to cover.

    A head stays covered for a second after it was seen and is covered for a second before it is seen again: the place itself, where it
    moved on to, and where both seconds meet all that lies between the two places. So a gap of up to two seconds is closed, and nobody who comes into the picture shows before the
    detector looks. What a detector answered once and nobody confirmed counts as well.

    Args:
        ahead: Hold frames back until it is known who is seen in the next second, as far as 96 MB of them go. False for a live picture,
            which cannot wait: heads are covered after they were seen alone.
    """

    def __init__(self, *, ahead: bool = True) -> None:
        self._ahead = ahead
        self._waiting: deque[tuple[int, Frame, Result]] = deque()
        self._sights: list[_Sight] = []
        self._count = 0

    def add(self, frame: Frame, result: Result) -> Iterator[Covered]:
        """Take the next frame; yield those whose heads are known by now, in order."""
        number, self._count = self._count, self._count + 1
        self._sights += [_Sight(number, frame.time_s, *seen) for seen in _heads(frame, result)]
        self._waiting.append((number, frame, result))
        while self._waiting and self._known(*self._waiting[0][:2], number, frame):
            yield self._covered(*self._waiting.popleft())

    def finish(self) -> Iterator[Covered]:
        """Yield the frames that still wait: the film is over."""
        while self._waiting:
            yield self._covered(*self._waiting.popleft())

    def _known(self, number: int, frame: Frame, newest: int, last: Frame) -> bool:
        if not self._ahead:
            return True
        enough = last.time_s - frame.time_s >= _REACH_S or sum(f.pixels.nbytes for _, f, _ in self._waiting) > _WAITING_BYTES
        return newest - number >= _FRAMES_BEFORE and enough

    def _covered(self, number: int, frame: Frame, result: Result) -> Covered:
        now = frame.time_s
        # A clock that was set back starts anew.
        self._sights = [s for s in self._sights if s.number > number or _after(s, number, now)]
        people = {s.person for s in self._sights if s.person is not None}
        boxes = [box for person in people for box in self._of_person(person, number, now)]
        for s in self._sights:
            if s.person is None and (s.number <= number or _before(s, number, now)):
                boxes.append(_grown(s.box, abs(now - s.time_s)))
        return Covered(frame, result, tuple(boxes))

    def _of_person(self, person: int, number: int, now: float) -> Iterator[Box]:
        own = [s for s in self._sights if s.person == person]  # in the order of time
        past = [s for s in reversed(own) if s.number <= number]
        coming = [s for s in own if s.number > number]
        if past and past[0].number == number:
            yield past[0].box
            return
        if coming and not _before(coming[0], number, now):
            coming = []
        ends = [sights for sights in (past, coming) if sights]
        if len(ends) == 2:
            boxes = [sights[0].box for sights in ends]
        else:
            boxes = [box for sights in ends for box in (sights[0].box, _gone_on(sights, now))]
        if boxes:
            yield _grown(_hull(boxes), min(abs(now - sights[0].time_s) for sights in ends))


def _heads(frame: Frame, result: Result) -> list[tuple[int | None, Box]]:
    """Return everybody in a frame: the followed people, and what else the detector or the tracker took for a face."""
    people = [(face.track_id, face.box) for face in result.faces]
    others = [box for box in frame.heads if not (iou([box], [own for _, own in people]) > _SAME).any()]
    return [*people, *((None, box) for box in others)]


def _after(sight: _Sight, number: int, now: float) -> bool:
    return now - sight.time_s >= 0 and (now - sight.time_s <= _REACH_S or number - sight.number <= _FRAMES_AFTER)


def _before(sight: _Sight, number: int, now: float) -> bool:
    return sight.time_s - now <= _REACH_S or sight.number - number <= _FRAMES_BEFORE


def _gone_on(sights: list[_Sight], now: float) -> Box:
    """Return where a head is if it went on as it was seen to move: in the first of the sights, and the others after or before it."""
    nearest = sights[0]
    other = [s for s in sights if abs(s.time_s - nearest.time_s) <= _MOTION_S][-1]
    if other.time_s == nearest.time_s:
        return nearest.box
    share = (now - nearest.time_s) / (nearest.time_s - other.time_s)
    dx, dy = ((a1 + a2 - b1 - b2) / 2 * share for a1, a2, b1, b2 in _sides(nearest.box, other.box))
    x1, y1, x2, y2 = nearest.box
    return x1 + dx, y1 + dy, x2 + dx, y2 + dy


def _sides(a: Box, b: Box) -> tuple[tuple[float, float, float, float], ...]:
    return (a[0], a[2], b[0], b[2]), (a[1], a[3], b[1], b[3])


def _hull(boxes: Iterable[Box]) -> Box:
    x1, y1, x2, y2 = zip(*boxes, strict=True)
    return min(x1), min(y1), max(x2), max(y2)


def _grown(box: Box, seconds: float) -> Box:
    x1, y1, x2, y2 = box
    more = _GROWTH * min(seconds, _REACH_S) * max(x2 - x1, y2 - y1)
    return x1 - more, y1 - more, x2 + more, y2 + more
