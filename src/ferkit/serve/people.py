"""Who is who in a stream of frames: the video's tracks, one frame at a time."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

from ..faces import Face
from ..geometry import iou
from ..results import Result

__all__ = ["TRACKS_PEOPLE", "People"]

TRACKS_PEOPLE = find_spec("scipy") is not None  # of the extra video

_SAME = 0.4  # IoU of a detected face and a track's box from which they are one


class People:
    """Gives the faces of one stream their numbers. Without scipy, of the extra ``video``, nobody gets one."""

    def __init__(self) -> None:
        self._tracker = None
        if TRACKS_PEOPLE:
            from ..video.tracks import Tracker

            self._tracker = Tracker()

    def __call__(self, result: Result, time_s: float) -> Result:
        """Return the result with ``track_id`` on every face that is known from an earlier frame, and without pixels."""
        faces = list(result.faces)
        if self._tracker is not None and result.pixels is not None:
            across, down = result.pixels.shape[1] / result.width, result.pixels.shape[0] / result.height  # not 1 in frames read smaller
            faces = [face.scaled(across, down) for face in faces]
            for track, here in self._tracker.update(result.pixels, time_s, faces):
                if track.number is not None:
                    _give(faces, here, track.number)
        numbered = (replace(own, track_id=face.track_id) for own, face in zip(result.faces, faces, strict=True))
        return replace(result, faces=tuple(numbered), pixels=None)


def _give(faces: list[Face], here: Face, number: int) -> None:
    free = [n for n, face in enumerate(faces) if face.track_id is None]
    overlaps = iou([here.box], [faces[n].box for n in free])[0]
    if free and overlaps.max() >= _SAME:
        n = free[int(overlaps.argmax())]
        faces[n] = replace(faces[n], track_id=number)
