"""Group the faces of a folder by expression, and find the faces most like one photo's.

    python examples/similar_faces.py FOLDER [--groups 4] [--like photo.jpg]

Nothing here knows the labels: faces are compared by the numbers that the network itself tells them apart by. Groups come from
spherical k-means, the search from the cosine of the angle between two faces' features: 1 is the same, 0 has nothing in common.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

import numpy as np

from ferkit import Face, FerkitError, Pipeline, Result

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif"}


def directions(faces: list[Face], middle: np.ndarray) -> np.ndarray:
    """Return the faces' features about their middle, each of length 1, ``(n, d)``."""
    rows = np.stack([face.features for face in faces]) - middle
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


def grouped(rows: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Return the group of each row of length 1, ``(n,)``: k-means by cosine, begun far apart (Arthur and Vassilvitskii, 2007)."""
    draw = np.random.default_rng(seed)
    centres = rows[draw.integers(len(rows), size=1)]
    while len(centres) < count:
        far = np.maximum(1 - (rows @ centres.T).max(axis=1), 0) + 1e-12
        centres = np.vstack([centres, rows[draw.choice(len(rows), p=far / far.sum())]])
    for _ in range(50):
        group = (rows @ centres.T).argmax(axis=1)
        sums = np.stack([rows[group == k].sum(axis=0) if (group == k).any() else centres[k] for k in range(count)])
        centres = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-9)
    return group


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--groups", type=int, default=4)
    parser.add_argument("--like", type=Path, help="a photo: list the faces that are most like its largest one")
    args = parser.parse_args()
    paths = sorted(path for path in args.folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    pipeline = Pipeline(features=True)
    results = []
    for result in pipeline.stream(paths, on_error="yield"):
        if isinstance(result, Result):
            results.append(result)
        else:
            print(result, file=sys.stderr)
    found = [(result.image, face) for result in results for face in result]
    if not found:
        print(f"{args.folder}: no faces here.", file=sys.stderr)
        return 1
    faces = [face for _, face in found]
    middle = np.mean([face.features for face in faces], axis=0)
    rows = directions(faces, middle)
    group = grouped(rows, min(args.groups, len(faces)))
    for k in range(group.max() + 1):
        labels = Counter(face.expression.label for face, g in zip(faces, group, strict=True) if g == k)
        print(f"group {k}: {labels.total()} face(s), {', '.join(f'{label} {n}' for label, n in labels.most_common())}")
        for (image, _), g in zip(found, group, strict=True):
            if g == k:
                print(f"    {image}")
    if args.like is not None:
        try:
            asked = pipeline(args.like)
        except FerkitError as error:
            print(error, file=sys.stderr)
            return 1
        if not asked:
            print(f"{args.like}: no face here.", file=sys.stderr)
            return 1
        likeness = rows @ directions([asked[0]], middle)[0]
        print(f"most like {args.like}:")
        for number in np.argsort(-likeness)[:5]:
            print(f"    {likeness[number]:.2f} {found[number][0]} ({faces[number].expression.label})")
    return 1 if len(results) < len(paths) else 0


if __name__ == "__main__":
    sys.exit(main())
