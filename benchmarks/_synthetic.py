"""A made video whose truth is known: real photos of faces that move over a background, with times, boxes and ids."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

WIDTH, HEIGHT, RATE = 640, 480, 25
AFTER_S = 1.0  # a switch this soon after two people touched belongs to their crossing
SIDE = 150  # of a photo in the frame, pixels
Box = tuple[float, float, float, float]
PERIOD_S = 40.0  # two people apart, then crossing, then apart; every third period one is away for a while


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


def truth(time_s: float, persons: list[Person]) -> tuple[list[tuple[int, Box]], bool]:
    """Return the visible faces at a time, each with its person, and whether the two faces touch.

    A face that is covered by more than a third is no longer one that could be found.
    """
    boxes = []
    for number, (who, spot) in enumerate(zip(persons, places(time_s), strict=True)):
        if spot is not None:
            x, y = round(spot[0]), round(spot[1])
            boxes.append((number, (who.box[0] + x, who.box[1] + y, who.box[2] + x, who.box[3] + y)))
    if len(boxes) < 2:
        return boxes, False
    (_, p), (_, q) = boxes
    # The second photo lies over the first: what it covers is all of it, not its face alone.
    x, y = (round(v) for v in places(time_s)[1] or (0, 0))
    wide = max(0.0, min(p[2], x + SIDE) - max(p[0], x)) * max(0.0, min(p[3], y + SIDE) - max(p[1], y))
    covered = wide / ((p[2] - p[0]) * (p[3] - p[1]))
    touch = p[0] < q[2] and q[0] < p[2] and p[1] < q[3] and q[1] < p[3]
    return (boxes[1:] if covered > 1 / 3 else boxes), touch or covered > 0


def write_video(path: Path, seconds: float, persons: list[Person], seed: int = 0) -> None:
    """Write the video, frame by frame."""
    import av

    rng = np.random.default_rng(seed)
    blots = Image.fromarray(rng.integers(60, 170, (12, 16, 3), dtype=np.uint8))
    ground = np.asarray(blots.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"preset": "ultrafast", "crf": "23"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 12800)
        for number in range(round(seconds * RATE)):
            pixels = ground.copy()
            for who, spot in zip(persons, places(number / RATE), strict=True):
                if spot is not None:
                    x, y = round(spot[0]), round(spot[1])
                    pixels[y : y + SIDE, x : x + SIDE] = who.photo
            picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            picture.pts, picture.time_base = number * 12800 // RATE, Fraction(1, 12800)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


class Score:
    """IDF1 (Ristani et al. 2016) and identity switches, counted frame by frame in constant memory."""

    def __init__(self) -> None:
        self.pairs: dict[tuple[int, int], int] = {}
        self.truths: dict[int, int] = {}
        self.answers: dict[int, int] = {}
        self.apart: list[float] = []  # times of identity switches
        self.crossed: list[float] = []
        self.crossings = 0
        self._last: dict[int, int] = {}
        self._touched = -1e9

    def add(self, time_s: float, truth: list[tuple[int, Box]], answers: list[tuple[int, Box]], crossing: bool) -> None:
        from scipy.optimize import linear_sum_assignment

        from ferkit.geometry import iou

        if crossing:
            self.crossings += time_s - self._touched > AFTER_S
            self._touched = time_s
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
                (self.crossed if time_s - self._touched <= AFTER_S else self.apart).append(time_s)
            self._last[person] = number

    def idf1(self) -> float:
        """Return 2 IDTP / (truths + answers) under the best one-to-one match of people and tracks."""
        from scipy.optimize import linear_sum_assignment

        people, numbers = sorted(self.truths), sorted(self.answers)
        table = np.array([[self.pairs.get((p, n), 0) for n in numbers] for p in people]).reshape(len(people), len(numbers))
        right = int(table[linear_sum_assignment(-table)].sum())
        total = sum(self.truths.values()) + sum(self.answers.values())
        return 2 * right / total if total else 1.0

    def found(self, person: int) -> float:
        """Return the share of a person's frames in which some track was on the face."""
        return sum(count for (p, _), count in self.pairs.items() if p == person) / self.truths[person]
