"""The whole pipeline on labelled photos: by detector, by crop, by label set, by weights. The defaults are chosen from these tables.

A photo without a detected face counts as wrong, as it is for a user. The largest face is the one that is labelled. With --geometry,
the file that crop_geometry.py wrote, each detector's faces are aligned on the template that was measured with that detector.
Of several --weights the first is measured with every detector and crop, all are with ferkit's and their own.

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

from ferkit import FaceDetector, load_image
from ferkit._geometry import CropGeometry, crop_face
from ferkit.ensemble import open_classifier
from ferkit.train.evaluation import wilson
from ferkit.weights import load_classifier_spec, resolve

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


def by_labels(weights: str | None) -> dict[str, Any]:
    """Open weights once for each of their label sets."""
    outputs = load_classifier_spec(resolve(weights)).outputs
    return {output.name: open_classifier(weights, labels=output.name) for output in outputs}


def rows_of(classifiers: dict[str, Any], crops: list[Any], shown: np.ndarray, truth: np.ndarray) -> list[dict[str, Any]]:
    """Measure every label set on the faces of the photos that are shown; the others are answered wrongly."""
    logits = next(iter(classifiers.values())).logits(crops)
    rows = []
    for labels, classifier in classifiers.items():
        answers = np.full(len(truth), "", dtype=object)
        answers[shown] = [classifier.labels[int(i)] for i in classifier.probabilities(logits).argmax(axis=1)]
        right = answers == truth
        recalls = {str(label): float(right[truth == label].mean()) for label in sorted(set(truth))}
        rows.append(
            {
                "labels": labels,
                "n": len(truth),
                "accuracy": round(float(right.mean()), 4),
                "ci95": [round(v, 4) for v in wilson(int(right.sum()), len(truth))],
                "mean_recall": round(float(np.mean(list(recalls.values()))), 4),
                "recall": {k: round(v, 3) for k, v in recalls.items()},
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", required=True, type=Path)
    parser.add_argument("--yunet")
    parser.add_argument("--weights", nargs="+", default=[None])
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
    weights = {next(iter(opened.values())).name: opened for opened in map(by_labels, args.weights)}
    first = next(iter(weights.values()))
    default = next(iter(first.values())).crop

    geometries = json.loads(args.geometry.read_text()) if args.geometry else {}
    table: list[dict[str, Any]] = []
    compared: list[dict[str, Any]] = []
    found_rate = {}
    for name, detector in detectors.items():
        faces = [next(iter(detector.detect_rgb(image)), None) for image in images]
        found = np.array([face is not None for face in faces])
        found_rate[name] = {"found": int(found.sum()), "n": len(rows), "share": round(float(found.mean()), 4)}

        def cut(geometry: CropGeometry, faces: list[Any] = faces) -> list[Any]:
            return [crop_face(i, f.box, geometry, f.landmarks) for i, f in zip(images, faces, strict=True) if f is not None]

        if name == "ferkit":
            for key, opened in weights.items():
                crops = cut(next(iter(opened.values())).crop)
                compared += [{"weights": key, **row} for row in rows_of(opened, crops, found, truth)]
        for crop_name, geometry in crop_geometries(default, geometries.get(name) if name != "haar" else None).items():
            if geometry is None:
                if name == "ferkit":  # no detection: the same whichever detector is not used
                    whole = rows_of(first, images, np.ones(len(rows), bool), truth)
                    table += [{"detector": "none", "crop": crop_name, **row} for row in whole]
                continue
            if crop_name.startswith("aligned") and name == "haar":
                continue  # no landmarks: the default falls back to the spec's square
            table += [{"detector": name, "crop": crop_name, **row} for row in rows_of(first, cut(geometry), found, truth)]
    counts = {str(label): int((truth == label).sum()) for label in sorted(set(truth))}
    record(args.out, {"weights": next(iter(weights)), "labels_n": counts, "found": found_rate, "table": table, "by_weights": compared})


if __name__ == "__main__":
    main()
