"""Classify every image below a folder and write one CSV row per face.

    python examples/folder_to_csv.py FOLDER [--out faces.csv]

An image without a face keeps a row with empty cells, so that no image is lost. A file that cannot be read is reported
on standard error and skipped; the exit code is then 1.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

from ferkit import FerkitError, Pipeline, Result, load_image

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif"}
CHUNK = 32  # images in memory at once; their faces go through the network together


def rows(path: Path, result: Result, labels: list[str]) -> list[list[object]]:
    """Return one row per face, or one row with empty cells."""
    if not result.faces:
        return [[str(path), "", "", "", "", "", "", "", *[""] * len(labels)]]
    return [
        [str(path), number, *face.box, face.expression.label, face.expression.confidence]
        + [face.expression.probabilities[label] for label in labels]
        for number, face in enumerate(result.faces)
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("faces.csv"))
    args = parser.parse_args()

    paths = sorted(path for path in args.folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        print(f"{args.folder}: no images here.", file=sys.stderr)
        return 1

    pipeline = Pipeline()
    labels = list(pipeline.classifier.labels)
    bad = 0
    with args.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "face", "x1", "y1", "x2", "y2", "label", "confidence", *labels])
        for start in range(0, len(paths), CHUNK):
            readable, pixels = [], []
            for path in paths[start : start + CHUNK]:
                try:
                    pixels.append(load_image(path))
                    readable.append(path)
                except FerkitError as error:
                    print(error, file=sys.stderr)
                    bad += 1
            for path, result in zip(readable, pipeline.predict(pixels), strict=True):
                writer.writerows(rows(path, result, labels))

    print(f"{len(paths) - bad} image(s) in {args.out}, {bad} skipped")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
