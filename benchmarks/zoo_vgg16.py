"""System E's net on system E's terms: faces cut on their landmarks, ten random views, accuracy with F1 and recall.

The system finds 68 landmarks before it cuts a face, so that a frame without any is not in its test. Its net is trained on the faces that ferkit's
detector finds and cuts, and measured on PublicTest three times: all such faces, those of them that dlib's detector finds too, whose landmarks
systems of that time used, and FER2013's frames as they are. F1 and recall are means weighted by each label's faces, so that recall is accuracy.

    head -n 32299 fer2013.csv > runs/terms/frames.csv
    ferkit prepare --data runs/terms/frames.csv --out runs/terms/aligned --detector ferkit
    ferkit train --recipe vgg16 --data runs/terms/aligned --out runs/vgg16
    python benchmarks/zoo_vgg16.py --weights runs/vgg16 --data fer2013.csv --runs runs/terms --out benchmarks/results/zoo_vgg16.json

dlib's part needs pip install dlib-bin once; what it found stays in the folder of the runs, which benchmarks/zoo_terms.py shares.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from _record import record
from numpy.typing import NDArray
from zoo_terms import Everything, found_by_dlib

from ferkit import ExpressionClassifier
from ferkit.data import Faces
from ferkit.evaluation.measuring import measure

VIEWS = ("none", "random:10")


def measured(
    weights: Path, images: NDArray[np.uint8], labels: NDArray[np.int64], parts: dict[str, NDArray[np.bool_]]
) -> dict[str, list[dict[str, Any]]]:
    """Measure every part of the faces with one view and with ten random ones; each face is read once."""
    rows: dict[str, list[dict[str, Any]]] = {part: [] for part in parts}
    for views in VIEWS:
        classifier = ExpressionClassifier(weights, tta=views)
        logits = classifier.logits(images)
        for part, chosen in parts.items():
            report = measure(classifier, Faces(images[chosen], labels[chosen]), logits=logits[:, chosen]).report
            f1 = sum(label["n"] * label["f1"] for label in report["per_label"].values()) / report["n"]
            rows[part].append({"tta": views, **{key: report[key] for key in ("n", "accuracy", "ci95")}, "weighted_f1": round(f1, 4)})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True, help="folder of the run")
    parser.add_argument("--data", type=Path, required=True, help="fer2013.csv")
    parser.add_argument("--runs", type=Path, required=True, help="folder with aligned/, which ferkit prepare wrote")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()

    everything = Everything.read(args.data, args.runs / "aligned")
    test = ~everything.training
    cut, frames = everything.found[test], np.ones(test.sum(), bool)
    both = cut & found_by_dlib(everything.frames, args.runs / "dlib.npy")[test]
    labels = everything.labels[test]
    rows: dict[str, list[dict[str, Any]]] = {}
    for images, parts in (
        (everything.aligned, {"found and cut": cut, "of these, found by dlib too": both}),
        (everything.frames, {"all frames, as they are": frames}),
    ):
        rows |= measured(args.weights, images[test], labels, parts)
        record(None if args.out is None else str(args.out), {"faces": rows})  # the first faces are kept, should the rest be stopped


if __name__ == "__main__":
    main()
