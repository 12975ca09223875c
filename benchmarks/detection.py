"""Face detectors side by side: average precision, recall, landmarks, latency.

The pictures are the human-labelled development part. Landmarks are compared on YuNet's easy faces, there and in the portraits: with YuNet's
own, with YuNet's steadied over six views (its own differ from those of the mirrored picture by a tenth of the eye distance), and with
the detector's own in the mirrored picture.
Latency is the median of ``--repeat`` calls on one photo scaled to 4:3 pictures of each width.

    python benchmarks/detection.py --faces FACES --photos PHOTOS --yunet face_detection_yunet_2026may.onnx --out benchmarks/results/detection.json

MTCNN joins in where the package ``mtcnn`` (1.0, TensorFlow) is installed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from _record import record

from ferkit import Face, FaceDetector, FerkitError, load_image
from ferkit.detectors.ferkit_face_format import mirrored_points
from ferkit.evaluation.detection import read_annotated, score_detections
from ferkit.geometry import iou
from ferkit.train.detector.landmark_crops import steady_landmarks

SIZES = ((16, np.inf), (16, 32), (32, 96), (96, np.inf))
WIDTHS = (320, 640, 1280)
EASY = 0.8  # YuNet's score from which a face is easy

Detect = Callable[[np.ndarray], list[Face]]


def mtcnn() -> Detect:
    """Wrap the package ``mtcnn``; it answers x, y, width, height."""
    from mtcnn import MTCNN

    network = MTCNN()
    order = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")  # as seen in the picture: the subject's right eye first

    def detect(image: np.ndarray) -> list[Face]:
        faces = []
        for row in network.detect_faces(image) or []:
            x, y, w, h = (float(v) for v in row["box"])
            if w > 0 and h > 0:
                points = tuple(tuple(float(v) for v in row["keypoints"][name]) for name in order)
                faces.append(Face((x, y, x + w, y + h), min(1.0, float(row["confidence"])), points))
        return faces

    return detect


def landmark_error(found: list[list[Face]], teacher: list[list[Face]]) -> dict[str, Any]:
    """Mean distance of the five points from a teacher's in units of the inter-eye distance, on faces that it is sure of."""
    errors: list[np.ndarray] = []
    for faces, references in zip(found, teacher, strict=True):
        for reference in references:
            if reference.score < EASY or min(reference.width, reference.height) < 32 or not faces:
                continue
            overlaps = iou([reference.box], [face.box for face in faces])[0]
            face = faces[int(overlaps.argmax())]
            if overlaps.max() < 0.5 or face.landmarks is None:
                continue
            points, truth = np.array(face.landmarks), np.array(reference.landmarks)
            eyes = np.linalg.norm(truth[0] - truth[1])
            if eyes < 0.25 * reference.width:  # a profile: the eyes fall together
                continue
            errors.append(np.linalg.norm(points - truth, axis=1) / eyes)
    if not errors:
        return {"n": 0}
    return {"n": len(errors), "mean": round(float(np.mean(errors)), 4), "by_point": np.mean(errors, axis=0).round(4).tolist()}


def steadied(images: list[np.ndarray], found: list[list[Face]], detect: Detect) -> list[list[Face]]:
    """Replace the landmarks by steadied ones; faces whose landmarks do not become steady drop out."""
    result = []
    for image, faces in zip(images, found, strict=True):
        steady = [(face, steady_landmarks(image, np.array(face.box), np.array(face.landmarks), detect)) for face in faces]
        result.append([Face(face.box, face.score, tuple(map(tuple, points))) for face, points in steady if points is not None])
    return result


def mirrored(image: np.ndarray, detect: Detect) -> list[Face]:
    """Detect in the mirrored picture; the answers are mirrored back."""
    last = image.shape[1] - 1
    return [
        Face(
            (last - face.box[2], face.box[1], last - face.box[0], face.box[3]),
            face.score,
            tuple(map(tuple, mirrored_points(np.array(face.landmarks), last))),
        )
        for face in detect(np.ascontiguousarray(image[:, ::-1]))
    ]


def milliseconds(detect: Detect, photo: np.ndarray, repeat: int) -> dict[str, float]:
    result = {}
    for width in WIDTHS:
        picture = cv2.resize(photo, (width, width * 3 // 4), interpolation=cv2.INTER_AREA)
        detect(picture)
        times = []
        for _ in range(repeat):
            start = time.perf_counter()
            detect(picture)
            times.append(time.perf_counter() - start)
        result[f"{width}x{width * 3 // 4}"] = round(1e3 * float(np.median(times)), 2)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", required=True, type=Path, help="folder with dev/")
    parser.add_argument("--photos", type=Path, help="folder with images/: in how many a face is found")
    parser.add_argument("--model", type=Path, help="another ferkit detector than the bundled one")
    parser.add_argument("--yunet", required=True)
    parser.add_argument("--repeat", type=int, default=15)
    parser.add_argument("--out")
    args = parser.parse_args()

    low: dict[str, Detect] = {}  # for the precision-recall curve: every detection that there is
    usual: dict[str, Detect] = {}  # as users run it
    for name, model in (("ferkit", args.model), ("yunet", args.yunet), ("haar", None)):
        try:
            low[name] = FaceDetector(name, model=model, min_score=0.0 if name == "haar" else 0.02).detect_rgb
            usual[name] = FaceDetector(name, model=model).detect_rgb
        except FerkitError as error:
            print(f"{name} is left out: {error}")
    if find_spec("mtcnn"):
        low["mtcnn"] = usual["mtcnn"] = mtcnn()

    dev = read_annotated(args.faces / "dev")
    portraits = [load_image(path) for path in sorted((args.photos / "images").iterdir())] if args.photos else []
    sample = max((photo.pixels for photo in dev), key=lambda pixels: pixels.size)
    images = {"dev": [photo.pixels for photo in dev], "portraits": portraits}
    teacher = {part: [usual["yunet"](image) for image in some] for part, some in images.items()}
    patient = FaceDetector("yunet", model=args.yunet, min_score=0.5).detect_rgb
    steady = {part: steadied(some, teacher[part], patient) for part, some in images.items()}
    table = []
    for name, every in low.items():
        found = [every(photo.pixels) for photo in dev]
        row: dict[str, Any] = {"detector": name, "opencv": cv2.__version__}
        for smallest, largest in SIZES:
            scores = score_detections(found, dev, smallest=smallest, largest=largest)
            key = f"{smallest}+" if np.isinf(largest) else f"{smallest}-{largest}"
            row[key] = {"faces": scores.faces, "ap50": round(scores.ap50, 4), "recall_at_1_fppi": round(scores.recall, 4)}
        for source in sorted({photo.source for photo in dev}):
            pairs = [(f, p) for f, p in zip(found, dev, strict=True) if p.source == source]
            row[source] = round(score_detections([f for f, _ in pairs], [p for _, p in pairs]).ap50, 4)
        answers = {part: [usual[name](image) for image in some] for part, some in images.items()}
        if name != "haar":
            for part, some in images.items():
                row[f"landmarks_{part}"] = {
                    "against_yunet": landmark_error(answers[part], teacher[part]),
                    "against_yunet_steadied": landmark_error(answers[part], steady[part]),
                    "against_own_mirrored": landmark_error([mirrored(image, usual[name]) for image in some], answers[part]),
                }
        if portraits:
            row["portraits_found"] = round(sum(map(bool, answers["portraits"])) / len(portraits), 4)
            row["portraits"] = len(portraits)
        row["milliseconds"] = milliseconds(usual[name], sample, args.repeat)
        print(row)
        table.append(row)
    record(args.out, {"pictures": len(dev), "table": table})


if __name__ == "__main__":
    main()
