"""Pictures made from portraits by rule: set into larger ones, cut off by the frame, turned, one face in front of another.

``portraits.csv`` lists the photos in which YuNet finds one face, the largest first, with its box. To draw it again:

    python benchmarks/_portraits.py --photos PHOTOS --yunet face_detection_yunet_2026may.onnx
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from ferkit import FaceDetector, load_image

LIST = Path(__file__).with_name("portraits.csv")
SIZES = ((320, 240, 150), (640, 480, 300), (1280, 720, 450), (1920, 1080, 700), (4000, 3000, 1400))  # px: width, height, the face's height
CUTS = {"top 40 %": (0.0, 0.4, 1.0, 1.0), "left half": (0.5, 0.0, 1.0, 1.0), "top half": (0.0, 0.5, 1.0, 1.0)}  # what stays, shares
SET_IN, CUT, TURNED, FRONT = 69, 49, 49, 48  # pictures of each kind, of the largest faces
_BEHIND = 100  # the face in front of the nth portrait is that of the portrait so many further on
_RATIOS = (0.4, 0.55, 0.7)  # heights of the face in front, over the height of the one behind it
_PLACES = ((0.0, 0.5), (0.35, 0.45), (0.55, 0.3), (0.3, 0.3))  # of its centre from that of the face behind, in boxes


class Portrait(NamedTuple):
    """RGB uint8 ``(H, W, 3)``, and the box of its face, xyxy pixels."""

    pixels: np.ndarray
    box: np.ndarray


def portraits(folder: Path, first: int, last: int) -> list[Portrait]:
    """Read portraits of the list, the largest faces first; ``folder`` has ``images/``."""
    with LIST.open(newline="") as file:
        rows = list(csv.DictReader(file))[first:last]
    return [
        Portrait(load_image(folder / "images" / row["file"]), np.array([float(row[key]) for key in ("x1", "y1", "x2", "y2")]))
        for row in rows
    ]


def set_into(portrait: Portrait, width: int, height: int, face: float, rng: np.random.Generator) -> Portrait:
    """Scale a portrait to a face of ``face`` pixels and lay it somewhere into a plain picture of its mean color."""
    scale = face / (portrait.box[3] - portrait.box[1])
    how = cv2.INTER_LANCZOS4 if scale > 1 else cv2.INTER_AREA
    photo, box = cv2.resize(portrait.pixels, None, fx=scale, fy=scale, interpolation=how), portrait.box * scale
    picture = np.empty((height, width, 3), np.uint8)
    picture[:] = portrait.pixels.reshape(-1, 3).mean(0)
    size = np.array([width, height])
    free = size - photo.shape[1::-1]
    at = rng.integers(np.minimum(free, 0), np.maximum(free, 0) + 1)
    at = np.clip(at, np.ceil(-box[:2]), np.maximum(np.ceil(-box[:2]), np.floor(size - box[2:]))).astype(int)  # the whole face shows
    _paste(picture, photo, at, np.ones(photo.shape[:2], np.float32))
    return Portrait(picture, box + np.tile(at, 2))


def cut(portrait: Portrait, stays: tuple[float, float, float, float]) -> np.ndarray:
    """Cut a portrait down to what stays: shares of its width and height, xyxy."""
    height, width = portrait.pixels.shape[:2]
    left, top, right, bottom = (round(share * side) for share, side in zip(stays, (width, height) * 2, strict=True))
    return np.ascontiguousarray(portrait.pixels[top:bottom, left:right])


def turned(portrait: Portrait, turn: int) -> np.ndarray:
    """Turn a portrait clockwise by ``turn`` degrees, a multiple of 90."""
    return np.ascontiguousarray(np.rot90(portrait.pixels, -turn // 90))


def scaled(pixels: np.ndarray, scale: float) -> np.ndarray:
    """Return a picture so many times as large; enlarged it is smooth."""
    return cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)


def in_front(behind: Portrait, front: Portrait, ratio: float, dx: float, dy: float) -> Portrait:
    """Lay a face, ``ratio`` as high, before another: its centre is ``(dx, dy)`` boxes from the other's."""
    size = behind.box[2:] - behind.box[:2]
    scale = float(ratio * size[1] / (front.box[3] - front.box[1]))
    photo = scaled(front.pixels, scale)
    box = front.box * scale
    centre, half = (box[:2] + box[2:]) / 2, 0.54 * (box[2:] - box[:2])
    mask = np.zeros(photo.shape[:2], np.float32)
    cv2.ellipse(mask, [int(v) for v in centre], [int(v) for v in half], 0, 0, 360, 1.0, -1)
    mask = cv2.GaussianBlur(mask, (0, 0), max(1.0, 0.01 * float(size[1])))
    at = np.round((behind.box[:2] + behind.box[2:]) / 2 + np.array([dx, dy]) * size - centre).astype(int)
    picture = behind.pixels.copy()
    _paste(picture, photo, at, mask)
    return Portrait(picture, box + np.tile(at, 2))


def _paste(picture: np.ndarray, photo: np.ndarray, at: np.ndarray, mask: np.ndarray) -> None:
    low = np.maximum(at, 0)
    high = np.minimum(at + photo.shape[1::-1], picture.shape[1::-1])
    (x1, y1), (x2, y2), (left, top) = low, high, at
    shown, share = photo[y1 - top : y2 - top, x1 - left : x2 - left], mask[y1 - top : y2 - top, x1 - left : x2 - left, None]
    picture[y1:y2, x1:x2] = picture[y1:y2, x1:x2] * (1 - share) + shown * share


def all_set_into(folder: Path, count: int = SET_IN) -> Iterator[tuple[int, Portrait]]:
    """Yield the long side and the picture of each portrait at each of ``SIZES``."""
    for number, portrait in enumerate(portraits(folder, 0, count)):
        for row, (width, height, face) in enumerate(SIZES):
            yield width, set_into(portrait, width, height, face, np.random.default_rng((number, row)))


def all_in_front(folder: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield pictures and the boxes ``(2, 4)`` of the face behind and the face before it."""
    pairs = zip(portraits(folder, 0, FRONT), portraits(folder, _BEHIND, _BEHIND + FRONT), strict=True)
    for number, (behind, front) in enumerate(pairs):
        rng = np.random.default_rng((7, number))
        width, height, face = SIZES[number % len(SIZES)]
        scene = set_into(behind, width, height, int(0.8 * face), rng)
        dx, dy = _PLACES[number // len(_RATIOS) % len(_PLACES)]
        made = in_front(scene, front, _RATIOS[number % len(_RATIOS)], float(rng.choice([-1, 1])) * dx, dy)
        yield made.pixels, np.array([scene.box, made.box])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", required=True, type=Path, help="folder with images/")
    parser.add_argument("--yunet", required=True)
    args = parser.parse_args()
    detector = FaceDetector("yunet", model=args.yunet, min_score=0.6)
    found = [(path.name, detector.detect(path)) for path in sorted((args.photos / "images").iterdir())]
    rows = [(name, faces[0]) for name, faces in found if len(faces) == 1]
    rows.sort(key=lambda row: (-row[1].height, row[0]))
    with LIST.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["file", "x1", "y1", "x2", "y2"])
        writer.writerows([name, *(round(v, 1) for v in face.box)] for name, face in rows)


if __name__ == "__main__":
    main()
