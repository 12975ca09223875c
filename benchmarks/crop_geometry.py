"""Measure where detected faces lie in FER2013's 48x48 frames: the crop geometry of the weights, and Haar's box.

Runs YuNet (and Haar) over FER2013 Training faces, enlarged and padded, and prints JSON: the mean box and landmarks in
48x48 pixels, the square crop that reproduces the training frames, and how YuNet's box follows from Haar's square.

    python benchmarks/crop_geometry.py --data fer2013.csv --yunet face_detection_yunet_2026may.onnx --n 2500
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import cv2
import numpy as np

from ferkit import FaceDetector
from ferkit._detectors import haar as haar_module
from ferkit.train.data import read_csv

ENLARGE, PAD = 3, 48


def framed(face: np.ndarray) -> np.ndarray:
    """Enlarge a face and give it room: YuNet's boxes are taller than FER2013's frames."""
    large = cv2.resize(face, None, fx=ENLARGE, fy=ENLARGE, interpolation=cv2.INTER_CUBIC)
    return np.repeat(cv2.copyMakeBorder(large, PAD, PAD, PAD, PAD, cv2.BORDER_REPLICATE)[:, :, None], 3, axis=2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--yunet", required=True)
    parser.add_argument("--n", type=int, default=2500)
    parser.add_argument("--out")
    args = parser.parse_args()

    images = read_csv(args.data, "Training").images
    images = images[np.random.default_rng(0).permutation(len(images))[: args.n]]
    yunet = FaceDetector("yunet", model=args.yunet)
    haar_module._BOX_FROM_SQUARE = (0.0, 0.0, 1.0, 1.0)  # the raw square
    haar = FaceDetector("haar")

    boxes, points, pairs = [], [], []
    for image in images:
        picture = framed(image)
        found, squares = yunet.detect(picture), haar.detect(picture)
        if not found or found[0].landmarks is None:
            continue
        box = (np.array(found[0].box) - PAD) / ENLARGE
        boxes.append(box)
        points.append((np.array(found[0].landmarks) - PAD) / ENLARGE)
        if squares:
            pairs.append((box, (np.array(squares[0].box) - PAD) / ENLARGE))

    b, p = np.array(boxes), np.array(points)
    centre = (b[:, :2] + b[:, 2:]) / 2
    size = b[:, 2:] - b[:, :2]
    height = size[:, 1].mean()
    frame = 48.0
    report: dict[str, Any] = {
        "n": len(images),
        "found_yunet": len(b) / len(images),
        "box_centre": centre.mean(0).round(2).tolist(),
        "box_size": size.mean(0).round(2).tolist(),
        "landmarks": p.mean(0).round(2).tolist(),
        "landmark_spread": p.std(0).round(2).tolist(),
        "roll_degrees": float(np.degrees(np.arctan2(p[:, 1, 1] - p[:, 0, 1], p[:, 1, 0] - p[:, 0, 0])).std().round(2)),
        "square_scale": round(frame / height, 4),
        "square_centre": ((frame / 2 - centre.mean(0)) / height).round(4).tolist(),
        "template": (p.mean(0) / frame).round(4).tolist(),
        "yunet_version": "2026may",
    }
    y, h = np.array([q[0] for q in pairs]), np.array([q[1] for q in pairs])
    side = (h[:, 2] - h[:, 0])[:, None]
    offset = ((y[:, :2] + y[:, 2:]) - (h[:, :2] + h[:, 2:])) / 2 / side
    report["haar"] = {
        "n": len(pairs),
        "box_from_square": np.median(np.column_stack([offset, (y[:, 2:] - y[:, :2]) / side]), axis=0).round(3).tolist(),
    }
    text = json.dumps(report, indent=1)
    print(text)
    if args.out:
        with open(args.out, "w", encoding="utf-8") as file:
            file.write(text + "\n")


if __name__ == "__main__":
    main()
