"""Anonymous films: a head is covered in every frame between two in which it was seen, before it was first seen and after it was lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ferkit import Face, Pipeline, Result
from ferkit.drawing.anonymous import head
from ferkit.video.covering import Covered, Covering
from ferkit.video.frame import Frame

SIZE, FACE = (240, 320), 40  # height and width; a face of so many pixels


def place(number: int) -> tuple[float, float, float, float]:
    """Where the head is: it walks through the picture, 4 px a frame."""
    x = 20.0 + 4 * number
    return x, 100.0, x + FACE, 100.0 + FACE


def picture(number: int, seen: bool, step_s: float = 1 / 25, *, person: int | None = 1) -> tuple[Frame, Result]:
    """A frame with a white face, and what was read in it; without a person the face is one that nobody confirmed."""
    pixels = np.full((*SIZE, 3), 60, np.uint8)
    x1, y1, x2, y2 = (int(v) for v in place(number))
    pixels[y1:y2, x1:x2] = 255
    faces = (Face(place(number), 0.9, track_id=person),) if seen and person is not None else ()
    frame = Frame(number, number * step_s, pixels, heads=(place(number),) if seen else ())
    return frame, Result(faces, SIZE[1], SIZE[0], "film", "none", pixels)


def played(covering: Covering, frames: list[tuple[Frame, Result]]) -> list[Covered]:
    given = [covered for frame, result in frames for covered in covering.add(frame, result)]
    return [*given, *covering.finish()]


def hidden(covered: Covered) -> bool:
    """Tell whether the whole face is under one of the covers."""
    x1, y1, x2, y2 = place(covered.frame.index)
    regions = [head(box) for box in covered.boxes]
    return any(r[0] <= x1 and r[1] <= y1 and r[2] >= x2 and r[3] >= y2 for r in regions)


@pytest.mark.parametrize(
    ("step_s", "gap", "person"),
    [(1 / 25, gap, person) for gap in (1, 12) for person in (1, None)]
    + [(step, gap, 1) for step, gap in ((1 / 25, 45), (1 / 5, 8), (0.5, 3), (2.0, 2), (30.0, 3))],
)
def test_no_frame_of_a_gap_shows_the_face(step_s: float, gap: int, person: int | None) -> None:
    """Lost for a moment while it moves: at any rate of frames, also where they are sampled minutes apart."""
    numbers = range(gap + 6)
    film = [picture(n, not 3 <= n < 3 + gap, step_s, person=person) for n in numbers]
    covered = played(Covering(), film)
    assert [c.frame.index for c in covered] == list(numbers)
    assert all(c.frame is frame and c.result is result for c, (frame, result) in zip(covered, film, strict=True))
    assert [c.frame.index for c in covered if not hidden(c)] == []


def test_who_comes_in_is_covered_before_the_detector_looks_and_after_it_lost_them() -> None:
    film = [picture(n, 30 <= n < 40) for n in range(80)]
    covers = [bool(c.boxes) for c in played(Covering(), film)]
    first, last = covers.index(True), 79 - covers[::-1].index(True)
    assert (first, last) == (5, 64)  # a second before, and a second after
    assert all(covers[first : last + 1])


def test_a_seen_face_is_covered_where_it_is_and_nowhere_else() -> None:
    """No trail: people of other places would be covered for nothing."""
    for covered in played(Covering(), [picture(n, True) for n in range(20)]):
        assert covered.boxes == (place(covered.frame.index),)


def test_a_live_picture_does_not_wait() -> None:
    covering = Covering(ahead=False)
    film = [picture(n, n < 5) for n in range(40)]
    lost = []
    for frame, result in film:
        (covered,) = covering.add(frame, result)
        assert covered.frame is frame
        lost.append(bool(covered.boxes))
    assert lost == [True] * 30 + [False] * 10
    assert not list(covering.finish())


def test_few_large_frames_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded: frames go on before the second is over, one at least is looked ahead."""
    frames = [picture(n, True) for n in range(12)]
    monkeypatch.setattr("ferkit.video.covering._WAITING_BYTES", 4 * frames[0][0].pixels.nbytes)
    covering = Covering()
    counts = [len(list(covering.add(*frame))) for frame in frames]
    assert counts == [0, 0, 0, 0] + [1] * 8
    monkeypatch.setattr("ferkit.video.covering._WAITING_BYTES", 0)
    covering = Covering()
    assert [len(list(covering.add(*frame))) for frame in frames] == [0] + [1] * 11


def test_the_written_copy_has_every_frame_and_no_face(tmp_path: Path) -> None:
    pytest.importorskip("av")
    from ferkit.video.annotate import AnnotatedVideo
    from ferkit.video.decode import frames

    def brightest(blur: bool) -> list[int]:
        path = tmp_path / f"{blur}.mp4"
        video = AnnotatedVideo(path, blur=blur)
        for frame, result in (picture(n, not 10 <= n < 30) for n in range(50)):
            video.add(frame, replace(result, faces=()) if not blur else result)
        video.close()
        return [int(frame.pixels.max()) for frame in frames(str(path))]

    shown, covered = brightest(False), brightest(True)
    assert len(shown) == len(covered) == 50
    assert min(shown) > 240
    assert max(covered[10:30]) < 200  # frames without a box or a label of their own


def test_what_the_detector_answered_once_is_told_with_the_frame(tmp_path: Path) -> None:
    """A face that no second look confirms is nobody in the result; its place is known all the same."""
    pytest.importorskip("av")
    pytest.importorskip("scipy")
    from ferkit.video.annotate import AnnotatedVideo

    video = AnnotatedVideo(tmp_path / "film.mp4")
    for number in range(5):
        video.add(*picture(number, False))
    video.close()

    class Once:
        def __init__(self) -> None:
            self.calls = 0

        def detect_rgb(self, pixels: np.ndarray) -> list[Face]:
            self.calls += 1
            return [Face(place(1), 0.9)] if self.calls == 2 else []

    answers = list(Pipeline(Once()).video(tmp_path / "film.mp4", detect_every=1))
    assert not any(result.faces for _, result in answers)
    assert [bool(frame.heads) for frame, _ in answers] == [False, True, False, False, False]
