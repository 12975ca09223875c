"""Following people: numbers that stay, smoothing, events, tables, the timeline, and stages that overlap."""

from __future__ import annotations

import csv
import itertools
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import ferkit
from ferkit import Expression, Face, FaceDetector, InputError, Pipeline, Result
from tests.helpers import films
from tests.helpers.waiting import until

pytest.importorskip("av", reason='needs the video extra: pip install "ferkit[video]"')
pytest.importorskip("scipy", reason='needs the video extra: pip install "ferkit[video]"')

import av

from ferkit.labels import FER7
from ferkit.video.annotate import AnnotatedVideo
from ferkit.video.events import Events
from ferkit.video.follow import _detect
from ferkit.video.frame import Frame
from ferkit.video.overlap import latest, overlap, paced
from ferkit.video.smoothing import Smoother
from ferkit.video.tables import columns, open_table
from ferkit.video.timeline import Timeline
from ferkit.video.tracks import Tracker

RNG = np.random.default_rng(3)
GROUND = np.asarray(Image.fromarray(RNG.integers(60, 180, (12, 16, 3), dtype=np.uint8)).resize((320, 240)))
PEOPLE = [np.asarray(Image.fromarray(RNG.integers(0, 255, (9, 9, 3), dtype=np.uint8)).resize((60, 60))) for _ in range(3)]


def scene(spots: list[tuple[int, float, float]]) -> tuple[np.ndarray, list[Face]]:
    """Paste people (textured squares) at places, later ones in front, with the faces that a detector would find."""
    pixels, faces = GROUND.copy(), []
    for who, x, y in spots:
        left, top = round(x), round(y)
        pixels[top : top + 60, left : left + 60] = PEOPLE[who]
        faces = [f for f in faces if abs(f.box[0] - left) > 35]  # covered
        faces.append(Face((left, top, left + 60, top + 60), 0.9))
    return pixels, faces


def follow(spots_at: object, count: int, k: int = 4) -> list[dict[int, tuple[float, ...]]]:
    """Run a tracker over scenes; return the box of every numbered track per frame."""
    tracker, kept = Tracker(), []
    for n in range(count):
        pixels, faces = scene(spots_at(n))  # type: ignore[operator]
        kept.append(tracker.update(pixels, n / 25, faces if n % k == 0 else None))
    tracker.finish()
    return [{t.number: f.box for t, f in frame if t.number is not None} for frame in kept]


def test_flow_carries_boxes_between_detections() -> None:
    frames = follow(lambda n: [(0, 20 + 2 * n, 50), (1, 200 - n, 120)], 50, k=10)
    assert all(set(frame) == {1, 2} for frame in frames)
    for n, frame in enumerate(frames):
        first = min(frame.values(), key=lambda box: abs(box[0] - 20 - 2 * n))
        assert abs(first[0] - (20 + 2 * n)) < 3


def test_numbers_survive_a_gap() -> None:
    """Away for a second, back at about the same place."""
    frames = follow(lambda n: [(0, 100, 80)] if not 40 <= n < 65 else [], 110)
    assert [set(frames[n]) for n in (0, 39, 69, 109)] == [{1}] * 4
    assert frames[55] == {}


@pytest.mark.parametrize(("away_s", "numbers"), [(6.0, {1}), (9.0, {2})])
def test_a_number_is_kept_for_eight_seconds(away_s: float, numbers: set[int]) -> None:
    """Somebody who comes back to the same place after that is a new person."""
    back = 40 + round(25 * away_s)
    frames = follow(lambda n: [(0, 100, 80)] if not 40 <= n < back else [], back + 40)
    assert set(frames[-1]) == numbers


def test_numbers_survive_a_crossing() -> None:
    frames = follow(lambda n: [(0, 30 + 2.5 * n, 90), (1, 230 - 2.5 * n, 95)], 85)
    assert set().union(*frames) == {1, 2}
    left = min(frames[0], key=lambda number: frames[0][number][0])
    assert frames[0].keys() == frames[-1].keys() == {1, 2}
    assert frames[-1][left][0] > frames[-1][3 - left][0]  # who began on the left ends on the right


def test_somebody_else_gets_another_number() -> None:
    frames = follow(lambda n: [(0 if n < 60 else 2, 100, 80)] if not 40 <= n < 60 else [], 110)
    assert set(frames[-1]) == {2}


def test_a_flicker_of_the_detector_gets_no_number() -> None:
    tracker, answers = Tracker(), []
    for n in range(12):
        pixels, faces = scene([(0, 50, 60)])
        if n == 4:
            faces = [*faces, Face((200, 100, 250, 150), 0.9)]
        answers.append(tracker.update(pixels, n / 25, faces if n % 4 == 0 else None))
    assert len(answers[4]) == 2
    assert {track.number for frame in answers for track, _ in frame} == {1, None}
    assert all(track.decided for frame in answers for track, _ in frame)


def test_a_change_of_size_keeps_numbers() -> None:
    tracker = Tracker()
    pixels, faces = scene([(0, 100, 80)])
    tracker.update(pixels, 0.0, faces)
    tracker.update(pixels, 0.2, faces)
    large = np.asarray(Image.fromarray(pixels).resize((640, 480)))
    (track, face), *_ = tracker.update(large, 0.24, None)
    assert track.number == 1
    assert np.allclose(face.box, [200, 160, 320, 280])


def test_smoothing() -> None:
    sharp = np.array([0.98, 0.01, 0.01], np.float32)
    other = np.array([0.01, 0.98, 0.01], np.float32)
    assert (Smoother(0)(1, 0.0, sharp) == sharp).all()
    smooth = Smoother(0.5)
    smooth(1, 0.0, sharp)
    answers = [smooth(1, 0.04 * n, other) for n in range(1, 60)]
    assert answers[0].argmax() == 0
    assert answers[-1] == pytest.approx(other, abs=0.03)
    assert all(row.sum() == pytest.approx(1, abs=1e-5) and row.dtype == np.float32 for row in answers)
    # Halfway in the logits after 0.5 s x ln 2, whatever the frame rate.
    assert next(n * 0.04 for n, row in enumerate(answers, 1) if row.argmax() == 1) == pytest.approx(0.5 * np.log(2), abs=0.05)
    assert smooth(2, 3.0, sharp) == pytest.approx(sharp, abs=1e-3), "people do not mix"


@pytest.mark.parametrize(("rate", "read"), [(10, 10), (25, 12.5), (30, 15), (60, 15)])
def test_a_smoothed_face_is_read_fifteen_times_a_second(rate: float, read: float) -> None:
    smooth = Smoother(0.5)
    due = [smooth.due(1, n / rate) for n in range(10 * round(rate))]
    assert sum(due) / 10 == pytest.approx(read, abs=0.2)
    assert smooth.due(2, 0.0), "people do not mix"
    plain = Smoother(0)
    assert all(plain.due(1, n / rate) for n in range(20))


def test_between_readings_the_last_one_holds() -> None:
    smooth = Smoother(0.5)
    sharp = np.array([0.9, 0.05, 0.05], np.float32)
    read = smooth(1, 0.0, sharp)
    assert smooth(1, 0.04, None) == pytest.approx(read)


def moment(time_s: float, happy: float | None, track: int = 1) -> tuple[Frame, Result]:
    frame = Frame(round(time_s * 25), time_s, np.full((60, 80, 3), 100, np.uint8))
    if happy is None:
        return frame, Result((), 80, 60)
    rest = (1 - happy) / 6
    probabilities = {label: happy if label == "happy" else rest for label in FER7}
    probabilities["neutral"] += 0.0
    label = max(probabilities, key=lambda name: probabilities[name])
    face = Face((10, 10, 40, 50), 0.8, None, Expression(label, probabilities[label], probabilities), track)
    return frame, Result((face,), 80, 60)


def test_events_with_hysteresis() -> None:
    events = Events()
    for n in range(250):
        time_s = n / 25
        # Happy from 2 s to 6 s, wavering between 0.45 and 0.6; one brief peak at 8 s; away from 9 s.
        happy = 0.1 if not 2 <= time_s < 6 else 0.6 if n % 2 else 0.45
        happy = 0.9 if 8 <= time_s < 8.15 else happy
        events.add(*moment(time_s, None if time_s > 9 else happy))
    events.close()
    assert [(e.track_id, e.label) for e in events.events] == [(1, "happy")]
    assert events.events[0].start_s == pytest.approx(2.0, abs=0.05)
    assert events.events[0].end_s == pytest.approx(6.0, abs=0.05)
    table = events.to_dict("a.mp4", "w")
    assert table["people"][0]["share"]["happy"] == pytest.approx(4.15 / 9, abs=0.02)
    assert sum(table["people"][0]["share"].values()) == pytest.approx(1, abs=1e-3)
    assert json.loads(json.dumps(table)) == table
    assert "person 1" in events.lines()[0]


@pytest.mark.parametrize(("away_s", "count"), [(0.8, 1), (3.0, 2)])
def test_an_absence_of_more_than_a_second_ends_an_event(away_s: float, count: int) -> None:
    events = Events()
    for n in range(200):
        if not 2 <= n / 25 < 2 + away_s:
            events.add(*moment(n / 25, 0.9))
    events.close()
    assert [e.label for e in events.events] == ["happy"] * count
    assert events.events[0].end_s == pytest.approx(2.0 if count == 2 else 8.0, abs=0.05)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_tables(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows{suffix}"
    if suffix == ".parquet":
        pq = pytest.importorskip("pyarrow.parquet", reason='needs the video extra: pip install "ferkit[video]"')
    table = open_table(path, list(FER7))
    for n in range(3000):
        table.add(*moment(n / 25, None if n % 3 == 0 else 0.8))
        if n == 2999 and suffix != ".parquet":  # lines are on disk as soon as they are written
            assert path.read_text().count("\n") == 3000 + (suffix == ".csv")
    table.close()
    if suffix == ".csv":
        with path.open() as file:
            rows = list(csv.DictReader(file))
        assert list(rows[0]) == columns(list(FER7))
        assert (rows[0]["track_id"], rows[0]["label"], rows[1]["track_id"], rows[1]["label"]) == ("", "", "1", "happy")
    elif suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        assert rows[0]["box"] is None
        assert rows[0]["probabilities"] is None
        assert rows[1]["probabilities"]["happy"] == 0.8
    else:
        rows = pq.read_table(path).to_pylist()
        assert rows[0]["track_id"] is None
        assert rows[1]["happy"] == pytest.approx(0.8)
    assert [int(row["frame"]) for row in rows] == list(range(3000))
    assert float(rows[1]["time_s"]) == 0.04


def test_table_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a name ending in"):
        open_table(tmp_path / "rows.xlsx", list(FER7))


def test_timeline_in_constant_memory() -> None:
    timeline = Timeline(FER7)
    for n in range(20000):
        timeline.add(*moment(n / 10, None if n % 1000 > 800 else 0.2 + 0.7 * (n % 1000 < 400), track=1 + n % 2))
    picture = timeline.draw("two people")
    assert picture.width == 1400
    yellow = np.all(np.asarray(picture) == (240, 180, 20), axis=2).mean()
    assert yellow > 0.03
    assert sum(strip.sums.nbytes for strip in timeline._strips.values()) < 1e6
    assert Timeline(FER7).draw().width == 1400  # nobody


def test_overlap_keeps_order_bounds_and_errors() -> None:
    made: list[int] = []
    closed = threading.Event()

    def numbers() -> Iterator[int]:
        try:
            for n in range(20):
                made.append(n)
                yield n
            raise ValueError("the end")
        finally:
            closed.set()

    got = []
    items = overlap(numbers(), 3)
    for _ in range(20):
        got.append(next(items))
        assert len(made) <= len(got) + 5
        time.sleep(0.001)
    with pytest.raises(ValueError, match="the end"):
        next(items)
    assert got == list(range(20))
    closed.clear()
    stream = overlap(numbers(), 2)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert closed.is_set()


def test_a_clock_that_is_set_back_does_not_stop_the_detector() -> None:
    class Blind:
        def detect_rgb(self, _: np.ndarray) -> list[Face]:
            return []

    times = [*(100 + n / 25 for n in range(25)), *(n / 25 for n in range(50))]
    frames = [Frame(n, time_s, np.zeros((8, 8, 3), np.uint8)) for n, time_s in enumerate(times)]
    looked = [item.detected is not None for item in _detect(SimpleNamespace(detector=Blind()), frames, None)]  # type: ignore[arg-type]
    assert [n for n, seen in enumerate(looked) if seen] == [0, 8, 16, 24, 25, 33, 41, 49, 57, 65, 73]


def test_latest_drops_what_nobody_came_for() -> None:
    made: list[int] = []

    def camera() -> Iterator[int]:
        for n in range(60):
            made.append(n)
            yield n

    got: list[int] = []
    for n in latest(camera()):
        got.append(n)
        until(lambda: len(made) >= min(60, got[-1] + 12), "a camera that waits for nobody")
    assert all(b >= a + 10 for a, b in itertools.pairwise(got[:-1]))
    assert got[-1] == 59


@pytest.fixture(scope="module")
def film(astronaut: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "portrait.mp4"
    films.write(path, [*films.portrait(astronaut, 30), *films.plain(10, 480, 360)])
    return path


def test_pipeline_video(film: Path) -> None:
    pipeline = Pipeline()
    got = list(pipeline.video(film, smooth=0))
    assert [frame.index for frame, _ in got] == list(range(40))
    assert {face.track_id for _, result in got[:30] for face in result.faces} == {1}
    assert all(len(result) == 1 for _, result in got[:30])
    assert all(len(result) == 0 for _, result in got[35:])
    frame, result = got[0]
    assert result.weights == pipeline.classifier.name
    assert result.faces[0].to_dict()["track_id"] == 1
    # Unsmoothed, the first frame's answer is that of the same face in a picture.
    expected = pipeline.classifier.predict([pipeline.crop(frame.pixels, result.faces[0])])[0]
    assert result.faces[0].expression.label == expected.label
    assert result.faces[0].expression.probabilities == pytest.approx(dict(expected.probabilities), abs=1e-6)  # once, in CI, 4e-9 apart
    assert result.draw().size == (480, 360)
    assert "track_id" not in Face((0, 0, 1, 1)).to_dict()


@pytest.mark.parametrize("height", [450, 650])
def test_a_large_face_is_one_person(astronaut: np.ndarray, tmp_path: Path, height: int) -> None:
    """The middle of a face that fills the picture looked like a second one, whom the video then followed too."""
    side = round(512 * height / 128)
    large = np.asarray(Image.fromarray(astronaut).resize((side, side), Image.Resampling.LANCZOS))
    left, top = round(0.43 * side) - 640, round(0.12 * side) - (720 - height) // 2
    path = tmp_path / "man.mp4"
    films.write(path, [large[max(0, top) :, max(0, left) + step :][:720, :1280] for step in range(0, 60, 4)])
    people = [[face.track_id for face in result.faces] for _, result in Pipeline().video(path, detect_every=1)]
    assert people == [[1]] * 15


def test_pipeline_video_arguments(film: Path) -> None:
    pipeline = Pipeline(FaceDetector("none"))
    with pytest.raises(InputError, match="smooth=-1"):
        pipeline.video(film, smooth=-1)
    with pytest.raises(InputError, match="detect_every=0"):
        pipeline.video(film, detect_every=0)
    sampled = list(pipeline.video(film, fps=5, start=0.4, detect_every=2))
    assert [frame.index for frame, _ in sampled] == list(range(10, 40, 5))
    stream = pipeline.video(film)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.endswith("(_run)")]


def test_features_are_columns_of_parquet_too(tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")
    table = open_table(tmp_path / "rows.parquet", list(FER7), features=3)
    face = Face(
        (1, 2, 3, 4), expression=Expression("happy", 0.5, dict.fromkeys(FER7, 1 / 7)), track_id=2, features=np.float32([0.5, -1, 2])
    )
    for number, faces in enumerate(((face,), ())):
        frame = Frame(number, number / 25, np.zeros((9, 9, 3), np.uint8))
        table.add(frame, Result(faces, 9, 9, None, None, frame.pixels))
    table.close()
    rows = pq.read_table(tmp_path / "rows.parquet").to_pylist()
    assert list(rows[0]) == columns(list(FER7), 3)
    names = list(rows[0])[-3:]
    assert [[row[name] for name in names] for row in rows] == [[0.5, -1.0, 2.0], [None] * 3]


def test_a_copy_is_written_without_libx264(film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some builds of FFmpeg lack it."""
    monkeypatch.setattr(av, "codecs_available", av.codecs_available - {"libx264"})
    copy = AnnotatedVideo(tmp_path / "copy.mp4")
    frames = list(ferkit.frames(film))[:5]
    for frame in frames:
        copy.add(frame, Result((), frame.pixels.shape[1], frame.pixels.shape[0], None, None, frame.pixels))
    copy.close()
    with av.open(str(tmp_path / "copy.mp4")) as file:
        assert file.streams.video[0].codec_context.name == "mpeg4"
    read = list(ferkit.frames(tmp_path / "copy.mp4"))
    assert [frame.time_s for frame in read] == pytest.approx([frame.time_s - frames[0].time_s for frame in frames], abs=2e-3)
    assert abs(read[-1].pixels.astype(int) - frames[-1].pixels).mean() < 6


def test_a_file_as_a_camera(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Played at its own speed, late frames dropped, and no frame twice."""
    now = [0.0]
    clock = SimpleNamespace(monotonic=lambda: now[0], sleep=lambda seconds: now.append(now.pop() + seconds))
    monkeypatch.setattr("ferkit.video.overlap.time", clock)
    got = [frame.index for frame, _ in Pipeline(FaceDetector("none")).video(film, live=True)]
    assert now == [pytest.approx(list(ferkit.frames(film))[-1].time_s)]
    assert got == sorted(set(got))


def test_items_come_no_sooner_than_their_times_say(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    clock = SimpleNamespace(monotonic=lambda: now[0], sleep=lambda seconds: now.append(now.pop() + seconds))
    monkeypatch.setattr("ferkit.video.overlap.time", clock)
    came = []
    for item in paced(iter([SimpleNamespace(time_s=time_s) for time_s in (5.0, 5.5, 5.6, 9.0)])):
        came.append((item.time_s, now[0]))
        now[0] += 0.3  # that whoever takes it needs
    assert came == [(5.0, 100.0), (5.5, 100.5), (5.6, pytest.approx(100.8)), (9.0, 104.0)]
