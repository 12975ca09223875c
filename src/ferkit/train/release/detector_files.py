"""The face detector as a single file for other runtimes: a uint8 picture in, boxes, scores and landmarks out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...detectors.ferkit_face import FerkitFace
from ...detectors.ferkit_face_format import MEAN, PADDING, POINTS_FILE, STD, face_view
from ...errors import DataError, InputError, MissingExtraError
from ...evaluation.detection import LEAST_SCORE, AnnotatedPhoto, read_annotated, score_detections
from ...faces import Face
from ...files import write_arrays, write_bytes, write_json
from ...image_files import expanded, image_files
from ...images import load_image
from ...resizing import resized_to
from ...weights.specs import DetectorSpec
from ...weights.store import read_verified
from .half_precision import halved_onnx
from .quantising import quantised
from .records import DetectionMeasured, DetectorExport

__all__ = ["SIDES", "detector_difference", "export_detector"]

SIDES = (640, 1280)  # px of a picture's longer side, between which an export finds what ferkit does
_RANGES = 64  # pictures that give the activations' ranges
Run = Callable[[NDArray[np.uint8], float], list[NDArray[np.float32]]]  # a picture and the least score to boxes, scores, landmarks


def export_detector(
    folder: Path, spec: DetectorSpec, out: Path, *, precision: str, data: str | Path | None, photo: str | os.PathLike[str] | None
) -> list[Path]:
    """Write a detector as one ONNX file, ``NAME.onnx``, with ``NAME.json``.

    Args:
        folder: The detector's.
        spec: Its spec.
        out: Folder, which is there.
        precision: As in ``ferkit.train.export``.
        data: A folder as ``train-detector`` reads it: its ``train/images`` gives int8 its ranges, and ``dev`` tells the average precision.
        photo: ``NAME.photo.npz`` gets it, at the scale of an export, and what ferkit finds in it.

    Raises:
        DataError: ``data`` has no ``dev`` with marked faces, or int8 has no pictures.
        InputError: ``photo`` has no face.
        MissingExtraError: The package onnx is not installed.
    """
    try:
        from .detector_graph import detector_graph
        from .onnx_graph import with_metadata
    except ImportError as error:
        raise MissingExtraError("onnx", "train", "Exporting to ONNX") from error
    dev = None if data is None else read_annotated(expanded(data) / "dev")
    network = read_verified(folder, spec)
    points = read_verified(folder, spec, POINTS_FILE) if POINTS_FILE in spec.files else None
    golden = None if photo is None else _golden(FerkitFace.from_bytes(network, spec.min_score, points), photo)
    every = FerkitFace.from_bytes(network, LEAST_SCORE)
    about: DetectorExport = {**_about(spec), "precision": precision}
    if precision == "float16":
        network, points = halved_onnx(network), points and halved_onnx(points)
    elif precision == "int8" and data is not None:
        pictures = _some_pictures(expanded(data) / "train" / "images")
        views = _views(FerkitFace.from_bytes(network, spec.min_score, points), pictures)
        network = quantised(network, map(_prepared, pictures))
        points = points and quantised(points, views)
    name = spec.name if precision == "float32" else f"{spec.name}-{precision}"
    file = write_bytes(out / f"{name}.onnx", with_metadata(detector_graph(network, points), about))
    if golden is not None:
        write_arrays(out / f"{name}.photo.npz", golden)
    if dev is not None:
        about["measured"] = _measured(every, opened(detector_graph(network, None)), dev)
    write_json(out / f"{name}.json", about)
    return [file]


def _about(spec: DetectorSpec) -> DetectorExport:
    return {
        "weights": spec.name,
        "kind": spec.kind,
        "min_score": spec.min_score,
        "longer_side": list(SIDES),
        "inputs": {
            "image": {"dtype": "uint8", "shape": ["height", "width", 3], "color": "RGB", "range": [0, 255]},
            "min_score": {"dtype": "float32", "shape": []},
        },
        "outputs": {
            "boxes": {"dtype": "float32", "shape": ["n", 4], "meaning": "x1, y1, x2, y2 in pixels, the surest face first"},
            "scores": {"dtype": "float32", "shape": ["n"]},
            "landmarks": {"dtype": "float32", "shape": ["n", 5, 2], "meaning": "right eye, left eye, nose, right and left mouth corner"},
        },
        "licence": spec.licence,
    }


def _scaled(pixels: NDArray[np.uint8], side: int = SIDES[1]) -> NDArray[np.uint8]:
    """Return a picture at the scale of ferkit's first look: its longer side from 640 to ``side`` pixels, enlarged at most twice."""
    longer = max(pixels.shape[:2])
    scale = min(2.0, SIDES[0] / longer) if longer < SIDES[0] else min(1.0, side / longer)
    size = [max(1, round(length * scale)) for length in pixels.shape[1::-1]]
    return resized_to(pixels, *size)


def _prepared(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return a picture as the network takes it, on a square of one size for all, float32 ``(1, 3, 640, 640)``."""
    import cv2

    canvas = np.full((SIDES[0], SIDES[0], 3), PADDING, np.uint8)
    canvas[: pixels.shape[0], : pixels.shape[1]] = pixels
    return np.asarray(cv2.dnn.blobFromImage(canvas, 1 / STD, None, (MEAN, MEAN, MEAN)), np.float32)


def _views(detector: FerkitFace, pictures: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
    """Yield the faces of each picture as the network for landmarks takes them, one after another, float32 ``(1, 3, 48, 48)``."""
    import cv2

    for pixels in pictures:
        for face in detector.detect(pixels):
            view = face_view(pixels, np.array(face.box))[1]
            yield np.asarray(cv2.dnn.blobFromImage(view, 1 / STD, None, (MEAN, MEAN, MEAN)), np.float32)


def _some_pictures(folder: Path) -> list[NDArray[np.uint8]]:
    files = image_files(folder) if folder.is_dir() else []
    if not files:
        raise DataError(f"{folder} has no pictures; expected photos like those that the detector will see, for int8's ranges.")
    return [_scaled(load_image(file), SIDES[0]) for file in files[:: max(1, len(files) // _RANGES)][:_RANGES]]


def _golden(detector: FerkitFace, photo: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    pixels = _scaled(load_image(photo))
    faces = sorted(detector.detect(pixels), key=lambda face: -face.score)
    if not faces:
        raise InputError(f"{os.fspath(photo)} has no face that is found; expected a photo with one.", arguments=["photo"])
    found = {"boxes": [face.box for face in faces], "scores": [face.score for face in faces], "landmarks": [f.landmarks for f in faces]}
    return {"image": pixels, **{name: np.array(value, np.float32) for name, value in found.items()}}


def _measured(detector: FerkitFace, run: Run, dev: list[AnnotatedPhoto]) -> DetectionMeasured:
    """Compare an export with ferkit on pictures whose faces people marked: what it costs.

    Both without the network for landmarks, which would look at the hundreds of weak answers that a precision-recall curve needs: boxes do
    not depend on it, but for ferkit's rule on turned faces.
    """
    own = score_detections([detector.detect(photo.pixels) for photo in dev], dev)
    other = score_detections([_found(run, photo.pixels) for photo in dev], dev)
    return {"pictures": own.pictures, "faces": own.faces, "ap50": {"ferkit": round(own.ap50, 4), "export": round(other.ap50, 4)}}


def _found(run: Run, pixels: NDArray[np.uint8]) -> list[Face]:
    seen = _scaled(pixels)
    boxes, scores, _ = run(seen, LEAST_SCORE)
    faces = [Face((x1, y1, x2, y2), float(score)) for (x1, y1, x2, y2), score in zip(boxes.tolist(), scores, strict=True)]
    return [face.scaled(pixels.shape[1] / seen.shape[1], pixels.shape[0] / seen.shape[0]) for face in faces]


def opened(network: Path | bytes) -> Run:
    """Open an exported detector in onnxruntime. Raises MissingExtraError without it."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("onnxruntime", "onnxruntime", "Checking an ONNX export") from error
    session = onnxruntime.InferenceSession(network if isinstance(network, bytes) else str(network), providers=["CPUExecutionProvider"])
    names = ["boxes", "scores", "landmarks"]
    return lambda pixels, score: [
        np.asarray(value) for value in session.run(names, {"image": pixels, "min_score": np.array(score, np.float32)})
    ]


def detector_difference(path: Path, min_score: float) -> float:
    """Run an exported detector on the photo beside it.

    Returns:
        How far boxes and landmarks are from ferkit's own, in the mean over the faces and in shares of the box's longer side; 1 if the
        faces are not as many.

    Raises:
        InputError: There is no photo.
        MissingExtraError: onnxruntime is not installed.
    """
    beside = path.with_name(f"{path.stem}.photo.npz")
    if not beside.exists():
        raise InputError(f"{path} is a detector's, which is checked on a photo; export it with one.", arguments=["photo"])
    with np.load(beside) as golden:
        boxes, scores, landmarks = opened(path)(golden["image"], min_score)
        if len(scores) != len(golden["scores"]):
            return 1.0
        longer = (golden["boxes"][:, 2:] - golden["boxes"][:, :2]).max(axis=1)
        off = [np.abs(boxes - golden["boxes"]).max(axis=1), np.abs(landmarks - golden["landmarks"]).max(axis=(1, 2))]
        return float((np.maximum(*off) / longer).mean())
