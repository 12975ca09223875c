"""What a detector makes of the pictures of ``_portraits.py``, and of pictures without faces."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from _portraits import CUT as CUT_COUNT
from _portraits import CUTS, SIZES, TURNED, all_in_front, all_set_into, cut, portraits, scaled, turned

from ferkit import Face, FaceDetector, Pipeline, load_image
from ferkit.evaluation.detection import AnnotatedPhoto
from ferkit.geometry import area, intersection, iou

Detect = Callable[[np.ndarray], list[Face]]

TURNS = (0, 90, 180, 270)
WITHOUT_FACES = (  # scikit-image's public pictures that show nobody
    "brick.png", "cell.png", "chelsea.png", "clock_motion.png", "coffee.png", "color.png", "grass.png", "gravel.png", "horse.png",
    "hubble_deep_field.jpg", "ihc.png", "moon.png", "motorcycle_left.png", "page.png", "retina.jpg", "rocket.jpg", "text.png",
)  # fmt: skip
_CELLS = 32  # a side of the grid in which face-free regions are looked for
_LEAST = 96  # px of a region's shorter side
_PHONE = 3000  # px of a phone's picture's longer side


def _matched(faces: list[Face], boxes: np.ndarray) -> tuple[np.ndarray, list[Face]]:
    """Return which boxes ``(n, 4)`` were found, and the faces that are nobody's best answer."""
    if not faces:
        return np.zeros(len(boxes), bool), []
    overlaps = iou(boxes, [face.box for face in faces])
    found = overlaps.max(axis=1) >= 0.5
    best = set(overlaps.argmax(axis=1)[found].tolist())
    return found, [face for number, face in enumerate(faces) if number not in best]


def _inside(faces: list[Face], boxes: np.ndarray) -> bool:
    """Tell whether more than half of one of the faces lies in one of the boxes."""
    mine = np.array([face.box for face in faces]).reshape(-1, 4)
    return bool((intersection(mine, boxes) > 0.5 * area(mine)[:, None]).any())


def nested(detect: Detect, photos: Path) -> dict[str, Any]:
    """Portraits set into larger pictures: in how many the one face has a second box in it, and in how many it is not found."""
    rows = {str(width): {"pictures": 0, "second_box": 0, "not_found": 0} for width, *_ in SIZES}
    for width, portrait in all_set_into(photos):
        found, others = _matched(detect(portrait.pixels), portrait.box[None])
        row = rows[str(width)]
        row["pictures"] += 1
        row["second_box"] += _inside(others, portrait.box[None])
        row["not_found"] += int(not found[0])
    return rows


def in_front(detect: Detect, photos: Path) -> dict[str, int]:
    """One face before another, larger one: how many of both are found, and in how many pictures there is a box too many in them."""
    row = {"pictures": 0, "behind": 0, "front": 0, "box_too_many": 0}
    for pixels, boxes in all_in_front(photos):
        found, others = _matched(detect(pixels), boxes)
        row["pictures"] += 1
        row["behind"] += int(found[0])
        row["front"] += int(found[1])
        row["box_too_many"] += _inside(others, boxes)
    return row


def cut_off(detect: Detect, photos: Path) -> dict[str, Any]:
    """Portraits that the frame cuts: in how many a box is answered, and in how many it is that of what can be seen of the face."""
    some = portraits(photos, 0, CUT_COUNT)
    result: dict[str, Any] = {"pictures": len(some)}
    for name, stays in CUTS.items():
        pictures = [cut(portrait, stays) for portrait in some]
        answers = [detect(picture) for picture in pictures]
        seen = [_cut_box(portrait.box, portrait.pixels.shape, stays) for portrait in some]
        right = sum(_shown(faces, picture, box) for faces, picture, box in zip(answers, pictures, seen, strict=True))
        result[name] = {"found": sum(map(bool, answers)), "box_right": right}
    return result


def _shown(faces: list[Face], picture: np.ndarray, box: np.ndarray) -> bool:
    """Tell whether one of the faces, as far as the picture shows it, is the one in ``box``."""
    edges = np.tile(picture.shape[1::-1], 2)
    inner = [np.clip(face.box, 0, edges) for face in faces]
    return bool(inner) and bool((iou([box], inner) >= 0.5).any())


def _cut_box(box: np.ndarray, shape: tuple[int, ...], stays: tuple[float, float, float, float]) -> np.ndarray:
    frame = np.round(np.array(stays) * np.tile([shape[1], shape[0]], 2))
    return np.concatenate([np.maximum(box[:2], frame[:2]), np.minimum(box[2:], frame[2:])]) - np.tile(frame[:2], 2)


def _surest(pipeline: Pipeline, pixels: np.ndarray) -> Face | None:
    return max(pipeline(pixels).faces, key=lambda face: face.score, default=None)


def turned_around(detector: Any, photos: Path, *, upright: Detect) -> dict[str, Any]:
    """Portraits turned by quarters, through the default classifier: faces found, and what became of the label of the surest.

    Args:
        detector: Anything that ``ferkit.protocols.Detector`` describes.
        photos: The folder.
        upright: The detector whose labels of the upright pictures are the ones to get.
    """
    pipeline, plain = Pipeline(detector), Pipeline(SimpleNamespace(detect_rgb=upright))
    some = portraits(photos, 0, TURNED)
    labels = [face.expression.label if (face := _surest(plain, portrait.pixels)) else None for portrait in some]
    result: dict[str, Any] = {"pictures": len(some)}
    for turn in TURNS:
        faces = [_surest(pipeline, turned(portrait, turn)) for portrait in some]
        same = sum(face is not None and face.expression.label == label is not None for face, label in zip(faces, labels, strict=True))
        found = [face for face in faces if face]
        unsure = sum(face.expression.label is None for face in found)
        result[str(turn)] = {"found": len(found), "label_as_upright": same, "unsure": unsure, "another_label": len(found) - same - unsure}
    return result


def marked_turned(detect: Detect, images: list[np.ndarray]) -> dict[str, int]:
    """Upright portraits: how many of the faces lose their label because they are taken for turned ones."""
    pipeline = Pipeline(SimpleNamespace(detect_rgb=detect))
    answers = [pipeline(image).faces for image in images]
    faces = [face for some in answers for face in some]
    marked = sum(face.expression.reason is not None for face in faces)
    return {"pictures": len(images), "found": sum(map(bool, answers)), "faces": len(faces), "marked_turned": marked}


def free_region(photo: AnnotatedPhoto) -> np.ndarray | None:
    """Return the largest part of a picture that keeps half a face's size away from every marked face; None if it is small."""
    height, width = photo.pixels.shape[:2]
    taken = np.zeros((_CELLS, _CELLS), bool)
    for box in photo.boxes:
        margin = np.tile((box[2:] - box[:2]) / 2, 2) * [-1, -1, 1, 1]
        x1, y1, x2, y2 = (box + margin) / [width, height, width, height] * _CELLS
        taken[max(0, int(y1)) : max(0, int(np.ceil(y2))), max(0, int(x1)) : max(0, int(np.ceil(x2)))] = True
    best = max(_free(taken), key=lambda cells: (cells[2] - cells[0]) * (cells[3] - cells[1]), default=(0, 0, 0, 0))
    x1, y1, x2, y2 = np.round(np.array(best) * np.tile([width, height], 2) / _CELLS).astype(int)
    return np.ascontiguousarray(photo.pixels[y1:y2, x1:x2]) if min(x2 - x1, y2 - y1) >= _LEAST else None


def _free(taken: np.ndarray) -> Iterator[tuple[int, int, int, int]]:
    """Yield the free rectangles that cannot be made wider, xyxy in cells."""
    for top in range(_CELLS):
        for bottom in range(top + 1, _CELLS + 1):
            walls = np.concatenate([[-1], np.flatnonzero(taken[top:bottom].any(axis=0)), [_CELLS]])
            gap = int(np.diff(walls).argmax())
            if walls[gap + 1] - walls[gap] > 1:
                yield int(walls[gap]) + 1, top, int(walls[gap + 1]), bottom


def without_faces(detect: Detect, dev: list[AnnotatedPhoto], negatives: Path) -> dict[str, Any]:
    """False boxes on pictures without faces: parts of the development pictures, scikit-image's, and those that ferkit's were trained on."""
    parts: dict[str, list[Any]] = {
        "parts_of_dev": [region for photo in dev if (region := free_region(photo)) is not None],
        "scikit_image": [str(files("skimage") / "data" / name) for name in WITHOUT_FACES],
        "trained_on": sorted(negatives.iterdir()) if negatives.is_dir() else [],
    }
    result = {}
    for part, pictures in parts.items():
        boxes = [len(detect(load_image(picture))) for picture in pictures]
        result[part] = {"pictures": len(boxes), "boxes": sum(boxes), "pictures_with_boxes": sum(map(bool, boxes))}
    return result


def enlarged(detect: Detect, photos: Path, dev: list[AnnotatedPhoto], negatives: Path) -> dict[str, Any]:
    """Small pictures as large as a phone's, and as smooth as those are in the dark: false boxes, and faces beside a portrait's own."""
    result = without_faces(lambda pixels: detect(_as_large_as_a_phones(pixels)), dev, negatives)
    found = [len(detect(_as_large_as_a_phones(load_image(path)))) for path in sorted((photos / "images").iterdir())]
    return result | {"portraits": {"pictures": len(found), "found": sum(map(bool, found)), "faces": sum(found)}}


def _as_large_as_a_phones(pixels: np.ndarray) -> np.ndarray:
    return scaled(pixels, _PHONE / max(pixels.shape[:2]))


SETS = ("nested", "in_front", "cut", "turned", "upright", "without_faces", "enlarged")


def all_sets(
    usual: Detect,
    turning: FaceDetector | None,
    photos: Path,
    dev: list[AnnotatedPhoto],
    negatives: Path,
    only: Sequence[str] = SETS,
) -> dict[str, Any]:
    """Measure one detector, as users run it, on ``SETS``; ``turning`` is the same with ``rotations``, where it has them."""
    measures: dict[str, Callable[[], dict[str, Any]]] = {
        "nested": lambda: nested(usual, photos),
        "in_front": lambda: in_front(usual, photos),
        "cut": lambda: cut_off(usual, photos),
        "turned": lambda: turned_around(SimpleNamespace(detect_rgb=usual), photos, upright=usual),
        "upright": lambda: marked_turned(usual, [load_image(path) for path in sorted((photos / "images").iterdir())]),
        "without_faces": lambda: without_faces(usual, dev, negatives),
        "enlarged": lambda: enlarged(usual, photos, dev, negatives),
    }
    rows = {name: measure() for name, measure in measures.items() if name in only}
    if turning and "turned" in only:
        rows["turned_with_rotations"] = turned_around(turning, photos, upright=usual)
    return rows
