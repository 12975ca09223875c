"""The whole pipeline on labelled photos: by whose label is taken as right, by weights, label set, detector and crop.

The photos' own labels are noisy: ``agreed.csv`` has two readings of every photo, by readers who saw neither the label nor an answer. Three
truths are reported, each with n, a 95 % interval and the recall of each label: where label and both readings agree, the majority of the
three, and the photos' own label. The first is the figure to quote; the last is what was quoted before.

A photo without a detected face counts as wrong, as it is for a user. The largest face is the one that is labelled. With --detectors the
first weights are measured with every detector and crop as well; with --geometry, the file that crop_geometry.py wrote, each detector's
faces are aligned on the template that was measured with that detector.

    python benchmarks/photos.py --photos PHOTOS --weights fer2013-n-v6 fer2013-s-v6 fer2013-b-v6 fer2013-ensemble-v6 --detectors \
        --yunet face_detection_yunet_2026may.onnx --out benchmarks/results/photos.json
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from _record import record
from numpy.typing import NDArray

from ferkit import FaceDetector, MissingExtraError, load_image
from ferkit.classifiers.ensemble import open_classifier
from ferkit.crops import CropGeometry, crop_face
from ferkit.evaluation.figures import expected_calibration_error, wilson
from ferkit.weights.specs import load_classifier_spec
from ferkit.weights.store import resolve

ALIASES = {"anger": "angry", "happiness": "happy", "sadness": "sad"}
TRUTHS = ("all three agree", "majority of three", "the photos' own label")
THRESHOLDS = (0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8)


@dataclass(frozen=True)
class Photos:
    """The labelled photos: RGB uint8 pictures, and by each truth the label of each, "" where that truth says nothing."""

    files: tuple[str, ...]
    images: tuple[NDArray[np.uint8], ...]
    truths: dict[str, NDArray[Any]]

    @cached_property
    def people(self) -> NDArray[Any]:
        """Return who is on each photo: the file's name without its number."""
        return np.array([file.rpartition("_")[0] for file in self.files])


def read_photos(folder: Path) -> Photos:
    """Read ``agreed.csv`` (file, label, reading_1, reading_2, majority, all_three) and the pictures in ``images``."""
    with (folder / "agreed.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    own = np.array([ALIASES.get(row["label"], row["label"]) for row in rows], object)
    majority = np.array([ALIASES.get(row["majority"], row["majority"]) for row in rows], object)
    agreed = np.array([row["all_three"] == "1" for row in rows])
    truths = dict(zip(TRUTHS, (np.where(agreed, own, ""), majority, own), strict=True))
    return Photos(tuple(row["file"] for row in rows), tuple(load_image(folder / "images" / row["file"]) for row in rows), truths)


def detected(photos: Photos, detector: FaceDetector) -> list[Any]:
    """Return the largest face of each photo, None where none is found."""
    return [next(iter(detector.detect_rgb(image)), None) for image in photos.images]


def cut(photos: Photos, faces: Sequence[Any], geometry: CropGeometry) -> list[Any]:
    """Return the crops of the faces that were found."""
    return [crop_face(i, f.box, geometry, f.landmarks) for i, f in zip(photos.images, faces, strict=True) if f is not None]


def figures(probabilities: NDArray[np.float32], labels: Sequence[str], shown: NDArray[np.bool_], truth: NDArray[Any]) -> dict[str, Any]:
    """Measure answers ``(faces shown, k)`` by one truth; photos that are not shown are answered wrongly, those without a truth left out."""
    answers = np.full(len(truth), "", dtype=object)
    answers[shown] = [labels[int(i)] for i in probabilities.argmax(axis=1)]
    told = truth != ""
    right = (answers == truth)[told]
    present = sorted(set(truth[told]))
    recall = {str(label): float((answers == truth)[truth == label].mean()) for label in present}
    claimed = {label: int((answers[told] == label).sum()) for label in present}
    f1 = [2 * recall[label] * (n := int((truth == label).sum())) / (n + claimed[label]) for label in present]
    known = np.isin(truth[shown], labels) & told[shown]
    columns = np.array([list(labels).index(label) for label in truth[shown][known]])
    confidence = probabilities[known].max(axis=1)
    return {
        "n": int(told.sum()),
        "accuracy": round(float(right.mean()), 4),
        "ci95": [round(v, 4) for v in wilson(int(right.sum()), len(right))],
        "macro_f1": round(float(np.mean(f1)), 4),
        "mean_recall": round(float(np.mean(list(recall.values()))), 4),
        "ece": round(expected_calibration_error(probabilities[known], columns), 4),
        "recall": {label: round(value, 4) for label, value in recall.items()},
        "label_n": {str(label): int((truth == label).sum()) for label in present},
        "overconfidence": overconfidence(confidence, probabilities[known].argmax(axis=1) == columns),
        "abstaining": abstaining(confidence, probabilities[known].argmax(axis=1) == columns),
    }


def overconfidence(confidence: NDArray[Any], right: NDArray[np.bool_], draws: int = 2000) -> dict[str, Any]:
    """Return mean confidence less accuracy on the faces that were found, with its bootstrap interval (percentiles)."""
    gap = confidence - right
    rng = np.random.default_rng(0)
    means = [gap[rng.integers(0, len(gap), len(gap))].mean() for _ in range(draws)]
    return {"gap": round(float(gap.mean()), 4), "ci95": [round(float(v), 4) for v in np.percentile(means, (2.5, 97.5))], "n": len(gap)}


def abstaining(confidence: NDArray[Any], right: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """Return for each threshold which share of the faces found is answered, and how many of those answers are right."""
    rows = []
    for threshold in THRESHOLDS:
        kept = confidence >= threshold
        accuracy = round(float(right[kept].mean()), 4) if kept.any() else None
        rows.append(
            {"min_confidence": threshold, "coverage": round(float(kept.mean()), 4), "accuracy": accuracy, "answered": int(kept.sum())}
        )
    return rows


def measured(opened: dict[str, Any], crops: list[Any], shown: NDArray[np.bool_], photos: Photos) -> list[dict[str, Any]]:
    """Measure every label set by every truth on the faces of the photos that are shown."""
    logits = next(iter(opened.values())).logits(crops)
    rows = []
    for labels, classifier in opened.items():
        probabilities = classifier.probabilities(logits)
        for truth, names in photos.truths.items():
            rows.append({"labels": labels, "truth": truth, **figures(probabilities, classifier.labels.classes, shown, names)})
    return rows


def by_labels(weights: str | Path | None, tta: str | int | None = None) -> dict[str, Any]:
    """Open weights once for each of their label sets."""
    outputs = load_classifier_spec(resolve(weights)).outputs
    return {output.name: open_classifier(weights, labels=output.name, tta=tta) for output in outputs}


def crop_geometries(default: CropGeometry, measured_here: dict[str, Any] | None) -> dict[str, CropGeometry]:
    template = tuple(map(tuple, measured_here["template"])) if measured_here else default.template
    table = {"default": default, "box, stretched": CropGeometry("box")}
    for scale in (0.8, 0.9, 0.95, 1.0, 1.1, 1.25, 1.5):
        table[f"square {scale}"] = replace(default, mode="square", scale=scale)
    for zoom in (0.9, 1.0, 1.1):
        table[f"aligned {zoom}"] = replace(default, mode="aligned", scale=zoom, template=template)
    if measured_here:
        table["square, as measured"] = CropGeometry("square", measured_here["square_scale"], tuple(measured_here["square_centre"]))
    return table


def brief(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows without what is reported for the spec's crop alone."""
    return [{k: v for k, v in row.items() if k not in ("recall", "label_n", "overconfidence", "abstaining", "macro_f1")} for row in rows]


def detectors_table(photos: Photos, opened: dict[str, Any], yunet: str | None, geometries: dict[str, Any]) -> dict[str, Any]:
    """Measure one release with every detector and crop."""
    default = next(iter(opened.values())).crop
    detectors = {"ferkit": FaceDetector("ferkit")}
    try:
        detectors["haar"] = FaceDetector("haar")
    except MissingExtraError as error:  # OpenCV 5 has no cascades
        print(f"without haar: {error}", file=sys.stderr)
    if yunet:
        detectors["yunet"] = FaceDetector("yunet", model=yunet)
    everywhere = np.ones(len(photos.files), bool)
    table = [{"detector": "none", "crop": "whole photo", **row} for row in brief(measured(opened, list(photos.images), everywhere, photos))]
    found_rate = {}
    for name, detector in detectors.items():
        faces = detected(photos, detector)
        found = np.array([face is not None for face in faces])
        found_rate[name] = {"found": int(found.sum()), "n": len(found), "share": round(float(found.mean()), 4)}
        for crop_name, geometry in crop_geometries(default, geometries.get(name) if name != "haar" else None).items():
            if crop_name.startswith("aligned") and name == "haar":
                continue  # no landmarks: the default falls back to the spec's square
            rows = brief(measured(opened, cut(photos, faces, geometry), found, photos))
            table += [{"detector": name, "crop": crop_name, **row} for row in rows]
    return {"found": found_rate, "table": table}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", required=True, type=Path)
    parser.add_argument("--weights", nargs="+", default=[None])
    parser.add_argument("--tta", help="test-time augmentation, as ferkit predict takes it")
    parser.add_argument("--detectors", action="store_true", help="measure the first weights with every detector and crop too")
    parser.add_argument("--yunet")
    parser.add_argument("--geometry", type=Path)
    parser.add_argument("--out")
    args = parser.parse_args()

    photos = read_photos(args.photos)
    faces = detected(photos, FaceDetector())
    found = np.array([face is not None for face in faces])
    compared: list[dict[str, Any]] = []
    for weights in args.weights:
        opened = by_labels(weights, args.tta)
        one = next(iter(opened.values()))
        rows = measured(opened, cut(photos, faces, one.crop), found, photos)
        default = load_classifier_spec(resolve(weights)).default_output
        compared += [{"weights": one.name, "default": row["labels"] == default, **row} for row in rows]
    answers: dict[str, Any] = {"tta": args.tta, "found": int(found.sum()), "photos": len(found), "by_weights": compared}
    if args.detectors:
        geometries = json.loads(args.geometry.read_text(encoding="utf-8")) if args.geometry else {}
        answers |= detectors_table(photos, by_labels(args.weights[0]), args.yunet, geometries)
    record(args.out, answers)


if __name__ == "__main__":
    main()
