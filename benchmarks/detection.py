"""Face detectors side by side: average precision, recall, landmarks, latency, and sets of pictures that are drawn by rule.

The pictures are the human-labelled development part. Landmarks are compared on YuNet's easy faces, there and in the portraits: with YuNet's
own, with YuNet's steadied over six views (its own differ from those of the mirrored picture by a tenth of the eye distance), and with
the detector's own in the mirrored picture. The sets are portraits set into larger pictures, one face before another, portraits cut off
and turned (``_portraits.py``), and pictures without faces, these and portraits also enlarged (``_detection_sets.py``).
Latency is the median of ``--repeat`` calls on one photo scaled to 4:3 pictures of each width; processor time is that of all threads.

    python benchmarks/detection.py --faces FACES --photos PHOTOS --yunet face_detection_yunet_2026may.onnx \\
        --model weights/ferkit-face-v4 weights/superseded/ferkit-face-v3 --out benchmarks/results/detection.json

Beside the detectors named stands the one of commit d37bcb9, read from git. MTCNN joins in where the package ``mtcnn`` (1.0, TensorFlow) is
installed.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from _detection_sets import SETS, Detect, all_sets
from _earlier import BEFORE_ISSUE_19, earlier
from _record import record

from ferkit import Face, FaceDetector, FerkitError, load_image
from ferkit.detectors.ferkit_face_format import mirrored_points
from ferkit.evaluation.detection import AnnotatedPhoto, read_annotated, score_detections
from ferkit.geometry import iou
from ferkit.train.detector.landmark_crops import steady_landmarks

SIZES = ((16, np.inf), (16, 32), (32, 96), (96, np.inf))
WIDTHS = (320, 640, 1280)
EASY = 0.8  # YuNet's score from which a face is easy
LEAST = 0.02  # scores below this would only lengthen the tail of the precision-recall curve


class Contestant(NamedTuple):
    """A detector for the precision-recall curve, as users run it, and asked for turned faces, where it can be."""

    name: str
    every: Detect
    usual: Detect
    turning: FaceDetector | None = None


def contestants(args: argparse.Namespace, folder: Path) -> Iterator[Contestant]:
    """Yield the detectors; ``folder`` is for the source of the earlier one."""
    backends = [(Path(model).name, "ferkit", model) for model in args.model] or [("ferkit", "ferkit", None)]
    for name, backend, model in [*backends, ("yunet", "yunet", args.yunet), ("haar", "haar", None)]:
        try:
            every = FaceDetector(backend, model=model, min_score=0.0 if backend == "haar" else LEAST)
            turning = None if backend == "haar" else FaceDetector(backend, model=model, rotations=(0, 90, 180, 270))
            yield Contestant(name, every.detect_rgb, FaceDetector(backend, model=model).detect_rgb, turning)
        except FerkitError as error:
            print(f"{name} is left out: {error}")
    yield Contestant(f"ferkit at {BEFORE_ISSUE_19}", earlier(folder, LEAST), earlier(folder))
    if find_spec("mtcnn"):
        detect = mtcnn()
        yield Contestant("mtcnn", detect, detect)


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


def milliseconds(detect: Detect, photo: np.ndarray, repeat: int) -> dict[str, dict[str, float]]:
    """Return medians at each width: of the time that passed, and of the processor time of all threads."""
    result = {}
    for width in WIDTHS:
        picture = cv2.resize(photo, (width, width * 3 // 4), interpolation=cv2.INTER_AREA)
        detect(picture)
        times = []
        for _ in range(repeat):
            start = time.perf_counter(), time.process_time()
            detect(picture)
            times.append((time.perf_counter() - start[0], time.process_time() - start[1]))
        passed, spent = 1e3 * np.median(times, axis=0)
        result[f"{width}x{width * 3 // 4}"] = {"passed": round(float(passed), 2), "processor": round(float(spent), 2)}
    return result


class Pictures(NamedTuple):
    """The development part and the portraits, with YuNet's landmarks."""

    dev: list[AnnotatedPhoto]
    images: dict[str, list[np.ndarray]]
    teacher: dict[str, list[list[Face]]]
    steady: dict[str, list[list[Face]]]


def read_pictures(args: argparse.Namespace) -> Pictures:
    dev = read_annotated(args.faces / "dev")
    portraits = [load_image(path) for path in sorted((args.photos / "images").iterdir())] if args.photos else []
    images = {"dev": [photo.pixels for photo in dev], "portraits": portraits}
    sure, patient = (FaceDetector("yunet", model=args.yunet, min_score=score).detect_rgb for score in (None, 0.5))
    teacher = {part: [sure(image) for image in some] for part, some in images.items()}
    return Pictures(dev, images, teacher, {part: steadied(some, teacher[part], patient) for part, some in images.items()})


def measured(one: Contestant, pictures: Pictures, args: argparse.Namespace) -> dict[str, Any]:
    dev, images = pictures.dev, pictures.images
    found = [one.every(photo.pixels) for photo in dev]
    row: dict[str, Any] = {"detector": one.name, "opencv": cv2.__version__}
    for smallest, largest in SIZES:
        scores = score_detections(found, dev, smallest=smallest, largest=largest)
        key = f"{smallest}+" if np.isinf(largest) else f"{smallest}-{largest}"
        row[key] = {"faces": scores.faces, "ap50": round(scores.ap50, 4), "recall_at_1_fppi": round(scores.recall, 4)}
    for source in sorted({photo.source for photo in dev}):
        pairs = [(f, p) for f, p in zip(found, dev, strict=True) if p.source == source]
        row[source] = round(score_detections([f for f, _ in pairs], [p for _, p in pairs]).ap50, 4)
    answers = {part: [one.usual(image) for image in some] for part, some in images.items()}
    if one.name != "haar":
        for part, some in images.items():
            row[f"landmarks_{part}"] = {
                "against_yunet": landmark_error(answers[part], pictures.teacher[part]),
                "against_yunet_steadied": landmark_error(answers[part], pictures.steady[part]),
                "against_own_mirrored": landmark_error([mirrored(image, one.usual) for image in some], answers[part]),
            }
    if args.photos:
        row["portraits_found"] = round(sum(map(bool, answers["portraits"])) / len(images["portraits"]), 4)
        row["portraits"] = len(images["portraits"])
        if one.name not in ("haar", "mtcnn"):
            row["sets"] = all_sets(one.usual, one.turning, args.photos, dev, args.faces / "negatives")
    row["milliseconds"] = milliseconds(one.usual, max(images["dev"], key=lambda pixels: pixels.size), args.repeat)
    return row


def only_sets(one: Contestant, dev: list[AnnotatedPhoto], args: argparse.Namespace) -> dict[str, Any]:
    scores = score_detections([one.every(photo.pixels) for photo in dev], dev)
    row = {"detector": one.name, "opencv": cv2.__version__, "16+": {"faces": scores.faces, "ap50": round(scores.ap50, 4)}}
    return row | {"sets": all_sets(one.usual, one.turning, args.photos, dev, args.faces / "negatives", args.only)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", required=True, type=Path, help="folder with dev/ and, if it is there, negatives/")
    parser.add_argument("--photos", type=Path, help="folder with images/: in how many a face is found, and the sets")
    parser.add_argument("--model", nargs="+", default=[], help="folders of ferkit detectors, instead of the bundled one")
    parser.add_argument("--yunet", required=True)
    parser.add_argument("--repeat", type=int, default=15)
    parser.add_argument("--out")
    parser.add_argument("--only", nargs="+", choices=SETS, help="nothing but these sets, without Haar and MTCNN")
    args = parser.parse_args()
    if args.only and args.photos is None:
        parser.error("--only measures the sets, which need --photos")

    table = []
    with tempfile.TemporaryDirectory() as folder:
        everyone = contestants(args, Path(folder))
        if args.only:
            dev = read_annotated(args.faces / "dev")
            for one in everyone:
                if one.name not in ("haar", "mtcnn"):
                    table.append(only_sets(one, dev, args))
        else:
            pictures = read_pictures(args)
            dev = pictures.dev
            table += [measured(one, pictures, args) for one in everyone]
    record(args.out, {"pictures": len(dev), "table": table})


if __name__ == "__main__":
    main()
