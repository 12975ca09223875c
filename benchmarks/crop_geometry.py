"""Measure where detected faces lie in FER2013's 48x48 frames: the crop geometry of the weights, and Haar's box.

Runs the detectors over FER2013 Training faces, enlarged and padded, and prints JSON: the mean box and landmarks in 48x48
pixels, the square crop that reproduces the training frames, the template for alignment, and how ferkit's box follows from
Haar's square. --plot draws them over the mean face.

    python benchmarks/crop_geometry.py --data fer2013.csv --yunet face_detection_yunet_2026may.onnx --plot docs/images/crop_geometry.png --out benchmarks/results/crop_geometry.json
"""

from __future__ import annotations

import argparse
from typing import Any

import cv2
import numpy as np
from _record import record

from ferkit import FaceDetector, MissingExtraError
from ferkit.data.faces import read_csv
from ferkit.detectors import haar as haar_module
from ferkit.weights.releases import BUNDLED_DETECTOR

ENLARGE, PAD, FRAME = 3, 48, 48.0


def framed(face: np.ndarray) -> np.ndarray:
    """Enlarge a face and give it room: boxes are taller than FER2013's frames."""
    large = cv2.resize(face, None, fx=ENLARGE, fy=ENLARGE, interpolation=cv2.INTER_CUBIC)
    return np.repeat(cv2.copyMakeBorder(large, PAD, PAD, PAD, PAD, cv2.BORDER_REPLICATE)[:, :, None], 3, axis=2)


def measure(detector: FaceDetector, images: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return which faces were found, their boxes xyxy and their five points (NaN without landmarks), in the 48x48 frame."""
    found, boxes, points = [], [], []
    for image in images:
        faces = detector.detect_rgb(framed(image))
        found.append(bool(faces))
        if faces:
            boxes.append((np.array(faces[0].box) - PAD) / ENLARGE)
            marks = faces[0].landmarks
            points.append(np.full((5, 2), np.nan) if marks is None else (np.array(marks) - PAD) / ENLARGE)
    return np.array(found), np.array(boxes), np.array(points)


def geometry(found: np.ndarray, boxes: np.ndarray, points: np.ndarray) -> dict[str, Any]:
    """Derive the square that a box must be given, and the template that landmarks are brought onto."""
    centre, size = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    height = size[:, 1].mean()
    eyes = points[:, 1] - points[:, 0]
    return {
        "found": round(float(found.mean()), 4),
        "box_centre": centre.mean(0).round(2).tolist(),
        "box_size": size.mean(0).round(2).tolist(),
        "landmarks": points.mean(0).round(2).tolist(),
        "landmark_spread": points.std(0).round(2).tolist(),
        "roll_degrees": float(np.degrees(np.arctan2(eyes[:, 1], eyes[:, 0])).std().round(2)),
        "square_scale": round(FRAME / height, 4),
        "square_centre": ((FRAME / 2 - centre.mean(0)) / height).round(4).tolist(),
        "template": (points.mean(0) / FRAME).round(4).tolist(),
    }


def plot(images: np.ndarray, measured: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]], out: str) -> None:
    """Draw the mean face with each detector's mean box, and the points with their spread."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot
    from matplotlib.patches import Ellipse, Rectangle

    figure, axes = pyplot.subplots(1, len(measured), figsize=(4.4 * len(measured), 4.9), squeeze=False, layout="constrained")
    for axis, (name, (found, boxes, points)) in zip(axes[0], measured.items(), strict=True):
        axis.imshow(images[found].mean(axis=0), cmap="gray", extent=(0, FRAME, FRAME, 0))
        box = boxes.mean(axis=0)
        axis.add_patch(Rectangle(box[:2], *(box[2:] - box[:2]), fill=False, color="#ffb000", lw=2))
        for mean, spread in zip(points.mean(axis=0), points.std(axis=0), strict=True):
            axis.add_patch(Ellipse(mean, *(2 * spread), fill=False, color="#4cc9f0", lw=1.2))
            axis.plot(*mean, "o", color="#4cc9f0", ms=4)
        axis.set(xlim=(-3, FRAME + 3), ylim=(FRAME + 5, -5), aspect="equal", title=f"{name}: {found.mean():.1%} of {len(images):,} found")
        axis.set_xlabel("pixels of FER2013's frame; ellipses: one standard deviation")
    figure.savefig(out, dpi=110, bbox_inches="tight")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--yunet", help="YuNet's file, to be compared")
    parser.add_argument("--n", type=int, default=2500)
    parser.add_argument("--plot")
    parser.add_argument("--out")
    args = parser.parse_args()

    images = read_csv(args.data, "Training").images
    images = images[np.random.default_rng(0).permutation(len(images))[: args.n]]
    measured = {"ferkit": measure(FaceDetector("ferkit"), images)}
    if args.yunet:
        measured["yunet"] = measure(FaceDetector("yunet", model=args.yunet), images)
    report: dict[str, Any] = {"n": len(images), "detector": BUNDLED_DETECTOR} | {name: geometry(*m) for name, m in measured.items()}

    haar_module._BOX_FROM_SQUARE = (0.0, 0.0, 1.0, 1.0)  # the raw square
    try:
        both, squares, _ = measure(FaceDetector("haar"), images)
    except MissingExtraError as error:
        print(f"haar is left out: {error}")
    else:
        found, boxes, _ = measured["ferkit"]
        ours, theirs = boxes[both[found]], squares[found[both]]
        side = (theirs[:, 2] - theirs[:, 0])[:, None]
        offset = ((ours[:, :2] + ours[:, 2:]) - (theirs[:, :2] + theirs[:, 2:])) / 2 / side
        constants = np.median(np.column_stack([offset, (ours[:, 2:] - ours[:, :2]) / side]), axis=0)
        report["haar"] = {"n": len(ours), "box_from_square": constants.round(3).tolist()}
    if args.plot:
        plot(images, measured, args.plot)
    record(args.out, report)


if __name__ == "__main__":
    main()
