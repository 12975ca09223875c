"""The same faces by several detectors' boxes, as found and shaken: what a network is asked hangs on where the box lies, by a point or two."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from photos import Photos, detected

from ferkit import FaceDetector, load_image
from ferkit.crops import CropGeometry, crop_face, resized
from ferkit.data.portraits import TABLE
from ferkit.geometry import iou
from ferkit.images import to_grey
from ferkit.train.classifier.photos import degraded

SIDE = 48
SAME = 0.4  # IoU: a box below that of the portrait's own is another face's
# Of each portrait, by the box of its table and by each detector's: how far the box is shaken, whether the crop is mirrored, and spoilt as FER2013's faces are.
PORTRAIT_VIEWS = ((0.0, False, False), (0.01, True, False), (0.02, False, True), (0.03, True, True))
PHOTO_SHAKES = (0.0, 0.01, 0.02)  # of each photo, by each detector's box
Crop = NDArray[np.uint8]


@dataclass(frozen=True)
class Found:
    """A face: xyxy in pixels, and five landmarks ``(5, 2)`` or None."""

    box: NDArray[np.float64]
    landmarks: NDArray[np.float64] | None

    def crop(self, picture: Crop, geometry: CropGeometry, side: int = SIDE) -> Crop:
        return resized(to_grey(crop_face(picture, self.box, geometry, self.landmarks)), side)

    def shaken(self, amount: float, rng: np.random.Generator) -> Found:
        """Move, scale and turn by up to ``amount`` (of the box's width, of 1, of a radian), and each landmark by half of that on its own."""
        width, middle = self.box[2] - self.box[0], (self.box[:2] + self.box[2:]) / 2
        x, y, grown, turn = rng.uniform(-amount, amount, 4)
        own = rng.normal(0.0, amount * width / 2, (5, 2))
        cos, sin = (1 + grown) * np.cos(turn), (1 + grown) * np.sin(turn)
        at = middle + width * np.array([x, y])
        box = (self.box.reshape(2, 2) - middle) * (1 + grown) + at
        points = None if self.landmarks is None else (self.landmarks - middle) @ np.array([[cos, sin], [-sin, cos]]) + at + own
        return Found(box.ravel(), points)


def found(face: object) -> Found:
    """Return what a detector answers as a Found."""
    points = getattr(face, "landmarks", None)
    return Found(np.array(face.box, np.float64), None if points is None else np.array(points, np.float64))  # type: ignore[attr-defined]


def table(folder: Path) -> Iterator[tuple[Crop, Found]]:
    """Read the pictures of a folder of portraits, each with the face that its table gives."""
    with (folder / TABLE).open(newline="", encoding="utf-8-sig") as file:
        for row in csv.DictReader(file):
            points = [float(value) for value in row["landmarks"].replace(",", " ").split()]
            box = np.array([float(value) for value in row["box"].split()])
            yield load_image(folder / "images" / row["file"]), Found(box, np.array(points).reshape(5, 2) if points else None)


def portrait_views(folder: Path, geometry: CropGeometry, detectors: Sequence[FaceDetector]) -> tuple[Crop, list[float]]:
    """Cut portraits: uint8 ``((detectors + 1) * 4, n, 48, 48)``, and which share of them each detector finds; the others keep the table's box."""
    rng, rows, hits = np.random.default_rng(0), [], []
    for picture, own in table(folder):
        faces = [own]
        for detector in detectors:
            answers = [found(face) for face in detector.detect_rgb(picture)]
            overlap = iou(own.box[None], np.array([face.box for face in answers]).reshape(-1, 4))[0]
            faces.append(answers[int(overlap.argmax())] if answers and overlap.max() >= SAME else own)
        rows.append([face.shaken(amount, rng).crop(picture, geometry) for face in faces for amount, _, _ in PORTRAIT_VIEWS])
        hits.append([face is not own for face in faces[1:]])
    views = np.stack(rows, axis=1)
    for number, (_, mirrored, spoilt) in enumerate(PORTRAIT_VIEWS * (len(detectors) + 1)):
        if mirrored:
            views[number] = views[number, :, :, ::-1]
        if spoilt:
            views[number] = degraded(views[number], 1.0, np.random.default_rng(number))
    return views, [float(share) for share in np.mean(hits, axis=0)]


def photo_views(
    photos: Photos, geometry: CropGeometry, detectors: Sequence[FaceDetector], side: int = SIDE
) -> tuple[Crop, NDArray[np.bool_]]:
    """Cut the labelled photos: uint8 ``(detectors * 3, n, side, side)``, and where a face was found, bool ``(detectors * 3, n)``; 0 where none was."""
    rng, views, shown = np.random.default_rng(0), [], []
    for detector in detectors:
        faces = [None if face is None else found(face) for face in detected(photos, detector)]
        for amount in PHOTO_SHAKES:
            crops = np.zeros((len(faces), side, side), np.uint8)
            for crop, picture, face in zip(crops, photos.images, faces, strict=True):
                if face is not None:
                    crop[:] = face.shaken(amount, rng).crop(picture, geometry, side)
            views.append(crops)
            shown.append([face is not None for face in faces])
    return np.stack(views), np.array(shown)
