"""Tracks by hand: where a box goes, when a face is confirmed, hidden, forgotten or found again."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ferkit import Expression, Face
from ferkit.crops import CropGeometry
from ferkit.labels import label_set

pytest.importorskip("scipy", reason='needs the video extra: pip install "ferkit[video]"')

from ferkit.video.follow import _classify, _Item
from ferkit.video.frame import Frame
from ferkit.video.tracks import Track, Tracker

RNG = np.random.default_rng(5)
GROUND = np.asarray(Image.fromarray(RNG.integers(60, 180, (12, 16, 3), dtype=np.uint8)).resize((320, 240)))
PEOPLE = [np.asarray(Image.fromarray(RNG.integers(0, 255, (9, 9, 3), dtype=np.uint8)).resize((60, 60))) for _ in range(3)]
PLACE = np.array([100, 80])
POINTS = np.array([[20.0, 20.0], [40.0, 20.0], [30.0, 35.0], [22.0, 45.0], [38.0, 45.0]])


def shown(*spots: tuple[int, int, int]) -> np.ndarray:
    """Paste people (textured squares of 60 pixels) at places, as far as the frame shows them."""
    pixels = GROUND.copy()
    for who, x, y in spots:
        left, top, right, bottom = max(x, 0), max(y, 0), min(x + 60, 320), min(y + 60, 240)
        if left < right and top < bottom:
            pixels[top:bottom, left:right] = PEOPLE[who][top - y : bottom - y, left - x : right - x]
    return pixels


def face(x: float, y: float, score: float = 0.9, side: float = 60, points: bool = False) -> Face:
    landmarks = tuple((float(px + x), float(py + y)) for px, py in POINTS) if points else None
    return Face((x, y, x + side, y + side), score, landmarks)


def started(*spots: tuple[int, int, int], points: bool = False) -> Tracker:
    """A tracker that knows people who have stood still for 0.2 s."""
    tracker = Tracker()
    for time_s in (0.0, 0.1, 0.2):
        tracker.update(shown(*spots), time_s, [face(x, y, points=points) for _, x, y in spots])
    return tracker


def test_a_shift_moves_and_scales_about_the_middle() -> None:
    track = Track(np.array([10.0, 20, 30, 60]), 0.9, np.array([[20.0, 40], [10, 20]]), None, 0.0, 0.0)
    track.shift(3, -2, 1.5)
    assert track.box.tolist() == [8, 8, 38, 68]
    assert track.landmarks is not None
    assert track.landmarks.tolist() == [[23, 38], [8, 8]]
    bare = Track(np.array([0.0, 0, 10, 10]), 0.9, None, None, 0.0, 0.0)
    bare.shift(-1, 2, 1.0)
    assert bare.box.tolist() == [-1, 2, 9, 12]
    assert bare.landmarks is None
    assert bare.speed.tolist() == [0, 0]


def test_a_track_is_decided_once_it_has_a_number_or_is_dead() -> None:
    track = Track(np.zeros(4), 0.9, None, None, 0.0, 0.0)
    assert not track.decided
    track.dead = True
    assert track.decided
    track.dead, track.number = False, 1
    assert track.decided


def test_a_new_size_of_the_stream_scales_each_side_by_itself() -> None:
    tracker = started((0, 100, 80), points=True)
    large = np.asarray(Image.fromarray(shown((0, 100, 80))).resize((640, 360)))
    [(track, there)] = tracker.update(large, 0.24, None)
    assert there.box == pytest.approx((200, 120, 320, 210))
    assert np.array(there.landmarks) == pytest.approx((POINTS + PLACE) * [2, 1.5], abs=0.5)
    assert track.number == 1


def test_a_detection_near_by_counts_half() -> None:
    tracker = started((0, 100, 80))
    [(_, there)] = tracker.update(shown((0, 100, 80)), 0.24, [face(108, 80, 0.7)])
    assert there.box == pytest.approx((104, 80, 164, 140), abs=0.5)
    assert there.score == 0.7


@pytest.mark.parametrize("y", [20, 80, 150])
def test_a_jump_of_two_thirds_of_a_face_is_still_the_same_one(y: int) -> None:
    tracker = started((0, 100, y))
    [(track, there)] = tracker.update(shown((0, 140, y)), 0.24, [face(140, y)])
    assert there.box == pytest.approx((140, y, 200, y + 60), abs=0.5)
    assert track.number == 1


def test_landmarks_are_those_of_the_last_detection() -> None:
    tracker = started((0, 100, 80), points=True)
    [(_, there)] = tracker.update(shown((0, 100, 80)), 0.3, [face(100, 80, points=True)])
    assert np.array(there.landmarks) == pytest.approx(POINTS + PLACE)
    [(_, there)] = tracker.update(shown((0, 100, 80)), 0.4, [face(100, 80)])
    assert there.landmarks is None


def test_the_turn_is_that_of_the_last_detection() -> None:
    tracker = started((0, 100, 80))
    [(_, there)] = tracker.update(shown((0, 100, 80)), 0.3, [Face((100, 80, 160, 140), 0.9, turn=90)])
    assert there.turn == 90


def test_a_second_detection_confirms_and_numbers_follow_one_another() -> None:
    tracker = Tracker()
    pixels = shown((0, 20, 20), (1, 200, 20))
    assert [t.number for t, _ in tracker.update(pixels, 0.0, [face(20, 20), face(200, 20)])] == [None, None]
    assert sorted(t.number or 0 for t, _ in tracker.update(pixels, 0.1, [face(20, 20), face(200, 20)])) == [1, 2]


def test_detections_far_apart_prove_nothing_by_their_absence() -> None:
    for step, numbers in ((0.4, []), (0.6, [1])):
        tracker = Tracker()
        tracker.update(shown((0, 100, 80)), 0.0, [face(100, 80)])
        tracker.update(shown((0, 100, 80)), step, [])
        tracker.finish()
        assert [t.number for t, _ in tracker.update(shown((0, 100, 80)), step + 0.04, None)] == numbers


def test_the_end_confirms_what_the_last_detection_saw() -> None:
    tracker = Tracker()
    tracker.update(shown((0, 100, 80)), 0.0, [])
    [(track, _)] = tracker.update(shown((0, 100, 80)), 0.1, [face(100, 80)])
    tracker.finish()
    assert track.number == 1
    tracker = Tracker()
    [(track, _)] = tracker.update(shown((0, 100, 80)), 0.0, [face(100, 80)])
    tracker.update(shown((0, 100, 80)), 0.9, None)
    tracker._detected_s = 0.9
    tracker.finish()
    assert track.number is None
    assert track.dead


def test_flow_alone_carries_a_face_that_the_detector_missed_for_a_while() -> None:
    tracker = started((0, 100, 80))
    for n in range(1, 12):  # to 1.3 s: 1.1 s without a detection
        [(track, there)] = tracker.update(shown((0, 100, 80)), 0.2 + n / 10, [])
        assert there.box == pytest.approx((100, 80, 160, 140), abs=1)
    assert tracker.update(shown((0, 100, 80)), 1.5, []) == []  # 1.3 s
    assert track.hidden
    assert not track.dead


def test_a_box_that_no_longer_shows_its_face_is_hidden() -> None:
    tracker = started((0, 100, 80))
    assert tracker.update(shown(), 0.3, []) == []
    [(track, _)] = tracker.update(shown((0, 100, 80)), 1.0, [face(100, 80)])
    assert track.number == 1
    assert not track.hidden


def test_a_face_behind_another_is_hidden_and_comes_back_with_its_number() -> None:
    tracker = started((0, 60, 80), (1, 200, 80))
    numbers = {t.box[0] < 130: t.number for t, _ in tracker.update(shown((0, 60, 80), (1, 200, 80)), 0.3, [face(60, 80), face(200, 80)])}
    for n, x in enumerate(range(190, 70, -20)):  # the second one walks before the first
        seen = [face(x, 80)] if x < 110 else [face(60, 80), face(x, 80)]
        last = tracker.update(shown((0, 60, 80), (1, x, 80)), 0.4 + n / 10, seen)
    assert [t.number for t, _ in last] == [numbers[False]]
    for n, x in enumerate(range(110, 201, 15)):  # and back
        back = tracker.update(shown((0, 60, 80), (1, x, 80)), 1.1 + n / 10, [face(60, 80), face(x, 80)])
    assert {t.box[0] < 130: t.number for t, _ in back} == numbers


def test_somebody_out_of_sight_is_expected_where_they_were_heading() -> None:
    tracker = Tracker()
    for n in range(11):
        pixels, x = shown((0, 20 + 8 * n, 80)), 20 + 8 * n
        answer = tracker.update(pixels, n / 10, [face(x, 80)])
    [(track, _)] = answer
    assert track.speed == pytest.approx([80, 0], abs=8)  # pixels a second
    assert tracker.update(shown(), 1.1, []) == []
    for n in range(12, 21):
        tracker.update(shown(), n / 10, [])
    # Another second on: the speed halves in each, so 80 / ln 2 * (1 - 1/2) = 58 pixels at most beyond where it was.
    assert 110 < track.box[0] < 190
    assert np.hypot(*track.speed) == pytest.approx(40, abs=12)
    [(found, _)] = tracker.update(shown((0, 150, 80)), 2.1, [face(150, 80)])
    assert found.number == 1


def test_nobody_is_forecast_for_more_than_a_second() -> None:
    tracker = Tracker()
    for n in range(11):
        [(track, _)] = tracker.update(shown((0, 20 + 8 * n, 80)), n / 10, [face(20 + 8 * n, 80)])
    seen, speed = track.box[0], track.speed[0]
    assert tracker.update(shown(), 3.0, []) == []
    assert speed == pytest.approx(80, abs=8)
    assert track.box[0] == pytest.approx(seen + speed, abs=1)  # not twice as far, two seconds later


@pytest.mark.parametrize(("x", "known"), [(170, True), (215, False)])
def test_somebody_who_was_away_for_two_seconds_may_come_back_three_faces_further_and_no_more(x: int, known: bool) -> None:
    tracker = started((0, 20, 80))
    tracker.update(shown(), 0.3, [])
    answer = tracker.update(shown((0, x, 80)), 2.2, [face(x, 80)])
    assert [track.number for track, _ in answer] == [1 if known else None]


def test_a_stranger_at_the_same_place_is_somebody_new() -> None:
    tracker = started((0, 100, 80))
    tracker.update(shown(), 0.3, [])
    for time_s in (1.0, 1.1):
        answer = tracker.update(shown((2, 100, 80)), time_s, [face(100, 80)])
    assert [t.number for t, _ in answer] == [2]


def test_what_is_known_of_people_who_left_is_forgotten() -> None:
    """A camera sees people without end; of each one vector was kept for ever."""
    held: list[weakref.ref[np.ndarray]] = []

    class Describing:
        labels, crop, name = label_set("fer2013"), CropGeometry(), "told-v1"

        def predict_proba(self, crops: Any) -> np.ndarray:
            return np.full((len(crops), 7), 1 / 7, np.float32)

        def predict_with_features(self, crops: Any) -> tuple[list[Expression], np.ndarray]:
            features = np.zeros((len(crops), 4), np.float32)
            held.append(weakref.ref(features))
            return [Expression("happy", 1 / 7, dict.fromkeys(self.labels.classes, 1 / 7)) for _ in crops], features

    def people() -> Iterator[list[_Item]]:
        for number in range(200):  # each for a moment, a second after the one before
            who = Track(np.array([0.0, 0, 9, 9]), 0.9, None, None, number, number, number=number)
            yield [_Item(Frame(number, float(number), np.zeros((9, 9, 3), np.uint8)), None, [(who, face(5, 5, side=8))])]

    reader: Any = SimpleNamespace(classifier=Describing(), detector=SimpleNamespace(), features=True)
    seen = [result.faces[0].features is not None for _, result in _classify(reader, people(), "camera 0", 0.5)]
    assert seen == [True] * 200
    walk = _classify(reader, people(), "camera 0", 0.5)
    held.clear()
    for _ in range(200):
        next(walk)
    gc.collect()
    assert sum(array() is not None for array in held) < 100


def test_a_face_of_another_size_is_not_the_one_that_jumped() -> None:
    tracker = started((0, 100, 80))
    large = np.asarray(Image.fromarray(PEOPLE[0]).resize((150, 150)))
    pixels = shown()
    pixels[80:230, 165:315] = large
    answer = tracker.update(pixels, 0.3, [face(165, 80, side=150)])
    assert sorted((t.number or 0) for t, _ in answer) == [0]
