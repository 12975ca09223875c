"""The whole pipeline on labelled photos: by detector, by crop, by label set. The defaults are chosen from this table.

A photo without a detected face counts as wrong, as it is for a user. The largest face is the one that is labelled. With --geometry,
the file that crop_geometry.py wrote, each detector's faces are aligned on the template that was measured with that detector.

    python benchmarks/photos.py --photos PHOTOS --yunet face_detection_yunet_2026may.onnx --out benchmarks/results/photos.json
"""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from _record import record

from ferkit import ExpressionClassifier, FaceDetector, load_image
from ferkit._geometry import CropGeometry, crop_face
from ferkit.train.evaluation import wilson

ALIASES = {"anger": "angry", "happiness": "happy", "sadness": "sad"}


def crop_geometries(default: CropGeometry, measured: dict[str, Any] | None) -> dict[str, CropGeometry | None]:
    template = tuple(map(tuple, measured["template"])) if measured else default.template
    table: dict[str, CropGeometry | None] = {"default": default, "whole photo": None, "box, stretched": CropGeometry("box")}
    for scale in (0.8, 0.9, 0.95, 1.0, 1.1, 1.25, 1.5):
        table[f"square {scale}"] = replace(default, mode="square", scale=scale)
    for zoom in (0.9, 1.0, 1.1):
        table[f"aligned {zoom}"] = replace(default, mode="aligned", scale=zoom, template=template)
    if measured:
        table["square, as measured"] = CropGeometry("square", measured["square_scale"], tuple(measured["square_centre"]))
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", required=True, type=Path)
    parser.add_argument("--yunet")
    parser.add_argument("--weights")
    parser.add_argument("--geometry", type=Path)
    parser.add_argument("--out")
    args = parser.parse_args()

    with (args.photos / "labels.csv").open() as file:
        rows = [(row["file"], ALIASES.get(row["label"], row["label"])) for row in csv.DictReader(file)]
    images = [load_image(args.photos / "images" / name) for name, _ in rows]
    truth = np.array([label for _, label in rows])
    detectors = {"ferkit": FaceDetector("ferkit"), "haar": FaceDetector("haar")}
    if args.yunet:
        detectors["yunet"] = FaceDetector("yunet", model=args.yunet)
    classifiers = {o.name: ExpressionClassifier(args.weights, labels=o.name) for o in ExpressionClassifier(args.weights).spec.outputs}
    any_one = next(iter(classifiers.values()))

    geometries = json.loads(args.geometry.read_text()) if args.geometry else {}
    table: list[dict[str, Any]] = []
    found_rate = {}
    for name, detector in detectors.items():
        faces = [next(iter(detector.detect_rgb(image)), None) for image in images]
        found = np.array([face is not None for face in faces])
        found_rate[name] = {"found": int(found.sum()), "n": len(rows), "share": round(float(found.mean()), 4)}
        for crop_name, geometry in crop_geometries(any_one.crop, geometries.get(name) if name != "haar" else None).items():
            if geometry is None:
                if name != "ferkit":
                    continue  # no detection: the same whichever detector is not used
                shown, crops = np.ones(len(rows), bool), images
            else:
                if crop_name.startswith("aligned") and name == "haar":
                    continue  # no landmarks: the default falls back to the spec's square
                shown = found
                crops = [crop_face(i, f.box, geometry, f.landmarks) for i, f in zip(images, faces, strict=True) if f is not None]
            logits = any_one.logits(crops)
            for labels, classifier in classifiers.items():
                answers = np.full(len(rows), "", dtype=object)
                answers[shown] = [classifier.labels[int(i)] for i in classifier.probabilities(logits).argmax(axis=1)]
                right = answers == truth
                recalls = {label: float(right[truth == label].mean()) for label in sorted(set(truth))}
                table.append(
                    {
                        "detector": "none" if geometry is None else name,
                        "crop": crop_name,
                        "labels": labels,
                        "n": len(rows),
                        "accuracy": round(float(right.mean()), 4),
                        "ci95": [round(v, 4) for v in wilson(int(right.sum()), len(rows))],
                        "mean_recall": round(float(np.mean(list(recalls.values()))), 4),
                        "recall": {k: round(v, 3) for k, v in recalls.items()},
                    }
                )
    counts = {label: int((truth == label).sum()) for label in sorted(set(truth))}
    record(args.out, {"weights": any_one.name, "labels_n": counts, "found": found_rate, "table": table})


if __name__ == "__main__":
    main()
