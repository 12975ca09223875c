"""A made video whose truth is known: real photos of faces that move over a background, with times, boxes and ids."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

WIDTH, HEIGHT, RATE = 640, 480, 25
SIDE = 150  # of a photo in the frame, pixels
PERIOD_S = 40.0  # two people apart, then crossing, then apart; every third period one is away for a while


@dataclass
class Truth:
    """Box of the face and id of the person, for every frame."""

    times: list[float] = field(default_factory=list)
    boxes: list[list[tuple[int, tuple[float, float, float, float]]]] = field(default_factory=list)
    crossings: list[tuple[float, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Person:
    photo: NDArray[np.uint8]
    box: tuple[float, float, float, float]  # of the face in the photo


def people(photos: Path, count: int) -> list[Person]:
    """Take the first photos of different people in which the detector finds exactly one large face."""
    from ferkit import FaceDetector, load_image

    detector, found, names = FaceDetector(), [], set()
    with (photos / "labels.csv").open() as file:
        files = [row["file"] for row in csv.DictReader(file)]
    for name in files:
        person = name.rsplit("_", 1)[0]
        if person in names:
            continue
        photo = np.asarray(Image.fromarray(load_image(photos / "images" / name)).resize((SIDE, SIDE), Image.Resampling.LANCZOS))
        faces = detector.detect_rgb(photo)
        if len(faces) == 1 and faces[0].height > 0.35 * SIDE:
            names.add(person)
            found.append(Person(photo, faces[0].box))
        if len(found) == count:
            return found
    raise SystemExit(f"Only {len(found)} photos with one face in {photos}; {count} are needed.")


def places(time_s: float) -> list[tuple[float, float] | None]:
    """Return the top left corner of both photos, or None for somebody who is away."""
    phase, period = time_s % PERIOD_S, int(time_s // PERIOD_S)
    left, right = 60.0, WIDTH - SIDE - 60.0
    # 0-15 s apart; 15-20 s they swap sides and cross in the middle; 20-35 s apart; 35-40 s they swap back.
    share = np.clip((phase - 15) / 5, 0, 1) - np.clip((phase - 35) / 5, 0, 1)
    share = share * share * (3 - 2 * share)
    sway = 25 * np.sin(2 * np.pi * time_s / 7), 18 * np.sin(2 * np.pi * time_s / 5.3)
    a = (left + (right - left) * share + sway[0], 150 + sway[1])
    b = (right - (right - left) * share - sway[1], 160 + sway[0] / 2 + 25 * np.sin(2 * np.pi * time_s / 11))
    away = period % 3 == 2 and 5 <= phase < 9
    return [a, None if away else b]


def pictures(seconds: float, persons: list[Person], seed: int = 0) -> Iterator[tuple[NDArray[np.uint8], float, Truth]]:
    """Yield every frame with its time; the Truth grows along."""
    rng = np.random.default_rng(seed)
    ground = np.asarray(
        Image.fromarray(rng.integers(60, 170, (12, 16, 3), dtype=np.uint8)).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    )
    truth = Truth()
    crossing: float | None = None
    for number in range(round(seconds * RATE)):
        time_s = number / RATE
        frame = ground.copy()
        boxes = []
        spots = places(time_s)
        for person, (who, spot) in enumerate(zip(persons, spots, strict=True)):
            if spot is None:
                continue
            x, y = round(spot[0]), round(spot[1])
            frame[y : y + SIDE, x : x + SIDE] = who.photo
            boxes.append((person, (who.box[0] + x, who.box[1] + y, who.box[2] + x, who.box[3] + y)))
        if len(boxes) == 2:
            (_, p), (_, q) = boxes
            shared = max(0, min(p[2], q[2]) - max(p[0], q[0])) * max(0, min(p[3], q[3]) - max(p[1], q[1]))
            if shared > 0 and crossing is None:
                crossing = time_s
            if shared == 0 and crossing is not None:
                truth.crossings.append((crossing, time_s))
                crossing = None
            if shared > 0.3 * (p[2] - p[0]) * (p[3] - p[1]):
                boxes = boxes[1:]  # the first is covered by the second
        truth.times.append(time_s)
        truth.boxes.append(boxes)
        yield frame, time_s, truth


def write_video(path: Path, seconds: float, persons: list[Person]) -> Truth:
    """Write the video, without holding it, and return its truth."""
    import av

    truth = Truth()
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"preset": "ultrafast", "crf": "23"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 12800)
        for pixels, time_s, truth in pictures(seconds, persons):  # noqa: B007 - the last one is the whole
            picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            picture.pts, picture.time_base = round(time_s * 12800), Fraction(1, 12800)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return truth


class Score:
    """IDF1 (Ristani et al. 2016) and identity switches, counted frame by frame in constant memory."""

    def __init__(self) -> None:
        self.pairs: dict[tuple[int, int], int] = {}
        self.truths: dict[int, int] = {}
        self.answers: dict[int, int] = {}
        self.switches: list[float] = []
        self._last: dict[int, int] = {}

    def add(self, time_s: float, truth: list[tuple[int, tuple[float, ...]]], answers: list[tuple[int, tuple[float, ...]]]) -> None:
        from scipy.optimize import linear_sum_assignment

        from ferkit._geometry import iou

        for person, _ in truth:
            self.truths[person] = self.truths.get(person, 0) + 1
        for number, _ in answers:
            self.answers[number] = self.answers.get(number, 0) + 1
        if not truth or not answers:
            return
        shared = iou([box for _, box in truth], [box for _, box in answers])
        for row, column in zip(*linear_sum_assignment(-shared), strict=True):
            if shared[row, column] < 0.5:
                continue
            person, number = truth[row][0], answers[column][0]
            self.pairs[person, number] = self.pairs.get((person, number), 0) + 1
            if self._last.get(person, number) != number:
                self.switches.append(time_s)
            self._last[person] = number

    def idf1(self) -> float:
        """Return 2 IDTP / (truths + answers) under the best one-to-one match of people and tracks."""
        from scipy.optimize import linear_sum_assignment

        people, numbers = sorted(self.truths), sorted(self.answers)
        table = np.array([[self.pairs.get((p, n), 0) for n in numbers] for p in people]).reshape(len(people), len(numbers))
        right = int(table[linear_sum_assignment(-table)].sum())
        total = sum(self.truths.values()) + sum(self.answers.values())
        return 2 * right / total if total else 1.0
