"""System B's small nets on system B's terms, one factor after the other: aligned faces, faces without landmarks dropped, a random split, copies across it, no disgust.

Every row of the table is one training on Training's and PublicTest's faces (n = 32,298; PrivateTest is not touched) with the recipe as it is but for
its length: system B trained for 3,000 to 10,000 iterations, so the rows have 3,000, and the last ones its own terms with the recipe's 9,000. Nine snapshots, at
equal distances, are measured on the row's own test part, alone and all nine together. First the faces are aligned and cut on their landmarks, once:

    head -n 32299 fer2013.csv > runs/terms/frames.csv
    ferkit prepare --data runs/terms/frames.csv --out runs/terms/aligned --detector ferkit
    python benchmarks/zoo_terms.py --data fer2013.csv --aligned runs/terms/aligned --runs runs/terms --out benchmarks/results/zoo_terms.json

In the rows that say so the faces are those that dlib's detector finds, as its examples run it, whose landmarks systems of that time used: pip install dlib-bin.

Stopped and started again it goes on where it was; ``--nets`` and ``--rows`` choose. Rows that are there already stay in the file.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _record import record
from numpy.typing import NDArray
from PIL import Image

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from ferkit import Ensemble
from ferkit.data import read_faces
from ferkit.data.near_copies import groups
from ferkit.evaluation.measuring import measure
from ferkit.files import replacing
from ferkit.labels import FER7
from ferkit.train import make_ensemble, snapshot_weights, train

BATCH, SNAPSHOTS = 128, 9  # of both recipes
TEST = 3_589  # faces of a random split's test part: as many as PublicTest has


@dataclass(frozen=True)
class Terms:
    """What one row differs in.

    Attributes:
        aligned: Faces are cut on their landmarks; else they are FER2013's frames.
        dropped: Faces without landmarks are left out.
        split: ``"own"`` (Training and PublicTest), ``"random"``, or ``"apart"``: random, but copies stay on one side.
        labels: 7, or 6 without disgust.
        iterations: Of the training, to the next whole epoch.
        dlib: Faces that dlib's detector does not find are left out as well.
    """

    aligned: bool
    dropped: bool
    split: str
    labels: int
    iterations: int = 3_000
    dlib: bool = False


ROWS = {
    "own terms, seven labels": Terms(False, False, "own", 7),
    "without disgust": Terms(False, False, "own", 6),
    "and faces without landmarks dropped": Terms(False, True, "own", 6),
    "and aligned": Terms(True, True, "own", 6),
    "and split at random, copies on one side": Terms(True, True, "apart", 6),
    "and copies across the split: system B's terms": Terms(True, True, "random", 6),
    "copies across the split alone": Terms(False, False, "random", 6),
    "system B's terms with disgust": Terms(True, True, "random", 7),
    "system B's terms, 9,000 iterations": Terms(True, True, "random", 6, 9_000),
    "the same, copies on one side": Terms(True, True, "apart", 6, 9_000),
    "system B's terms, faces that dlib finds": Terms(True, True, "random", 6, dlib=True),
    "the same, 9,000 iterations": Terms(True, True, "random", 6, 9_000, dlib=True),
}


@dataclass(frozen=True)
class Everything:
    """All faces: FER2013's frames, the aligned ones (zeros where no landmarks were found), label, whether landmarks were found, whether of Training."""

    frames: NDArray[np.uint8]
    aligned: NDArray[np.uint8]
    labels: NDArray[np.int64]
    found: NDArray[np.bool_]
    training: NDArray[np.bool_]

    @classmethod
    def read(cls, data: Path, aligned: Path) -> Everything:
        parts = [read_faces(data, split=split) for split in ("Training", "PublicTest")]
        frames = np.concatenate([part.images for part in parts])
        labels = np.concatenate([[FER7.classes.index(part.label_set[label]) for label in part.labels] for part in parts])
        training = np.repeat([True, False], [len(part.images) for part in parts])
        cut, found = np.zeros_like(frames), np.zeros(len(frames), bool)
        for split, first in (("train", 0), ("validation", int(training.sum()))):
            with np.load(aligned / f"{split}.npz") as table:
                sources, paths, landmarks = table["source"], table["path"], table["landmarks"]
            for source, path, points in zip(sources, paths, landmarks, strict=True):
                if np.isnan(points).any():
                    continue
                row = first + int(str(source).split()[1])
                with Image.open(aligned / str(path)) as picture:
                    cut[row] = np.asarray(picture.convert("L"))
                found[row] = True
        return cls(frames, cut, labels, found, training)


def found_by_dlib(frames: NDArray[np.uint8], kept: Path) -> NDArray[np.bool_]:
    """Return on which frames dlib's frontal detector, a linear one on oriented gradients, finds a face at twice their size, once; then from the file."""
    if not kept.exists():
        try:
            find = importlib.import_module("dlib").get_frontal_face_detector()
        except ImportError:
            raise SystemExit(
                "The rows of faces that dlib finds need dlib. Run: pip install dlib-bin, or choose others with --rows."
            ) from None
        found = np.array([len(find(np.ascontiguousarray(frame.reshape(48, 48)), 1)) > 0 for frame in frames])
        with replacing(kept) as file:
            np.save(file, found)
    return np.asarray(np.load(kept), bool)


def learnt(
    everything: Everything, terms: Terms, group: NDArray[np.int64], by_dlib: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which faces train and which test."""
    use = np.ones(len(everything.labels), bool) if by_dlib is None else by_dlib.copy()
    if terms.dropped:
        use &= everything.found
    if terms.labels == 6:
        use &= everything.labels != FER7.classes.index("disgust")
    if terms.split == "own":
        return use & everything.training, use & ~everything.training
    rng = np.random.default_rng(0)
    key = rng.random(len(use)) if terms.split == "random" else rng.random(int(group.max()) + 1)[group]
    order = [row for row in np.argsort(key, kind="stable") if use[row]]
    end = TEST
    while terms.split == "apart" and group[order[end - 1]] == group[order[end]]:  # whole groups: the last one may go over the number
        end += 1
    test = np.zeros_like(use)
    test[order[:end]] = True
    return use & ~test, test


def write_csv(path: Path, everything: Everything, terms: Terms, train_rows: NDArray[np.bool_], test_rows: NDArray[np.bool_]) -> None:
    images = everything.aligned if terms.aligned else everything.frames
    with replacing(path) as file:
        file.write(b"emotion,pixels,Usage\n")
        for usage, rows in (("Training", train_rows), ("PublicTest", test_rows)):
            lines = (f"{everything.labels[row]},{' '.join(map(str, images[row].ravel()))},{usage}\n" for row in np.flatnonzero(rows))
            file.writelines(map(str.encode, lines))


def run(net: str, terms: Terms, data: Path, trained_on: int, folder: Path) -> dict[str, Any]:
    """Train, then measure the snapshots and all of them together on the row's test part."""
    recipe = net if terms.labels == 7 else f"{net}-6"
    if not (folder / "spec.json").exists():
        epochs = -(-terms.iterations // (trained_on // BATCH))  # the last batch of an epoch is left out if it is not whole
        settings = [f"epochs={epochs}", f"snapshots.every={terms.iterations // SNAPSHOTS}"]
        train(recipe, data, folder, resume=(folder / "checkpoint.npz").exists(), settings=settings)
    faces = read_faces(data, split="PublicTest")
    members = snapshot_weights(folder, faces)
    together = folder.with_name(folder.name + "-ensemble")
    if not together.exists():
        make_ensemble(members, together, validation=faces, weights=False)
    ensemble = Ensemble.from_pretrained(together)
    alone = [measure(member, faces).report for member in ensemble.members]
    every = measure(ensemble, faces).report
    best = max(alone, key=lambda report: float(report["accuracy"]))
    history = json.loads((folder / "history.json").read_text(encoding="utf-8"))["epochs"]
    own = next(key for key in history[-1] if key.endswith("accuracy") and not key.startswith("val_"))
    return {
        "recipe": recipe,
        "n": alone[0]["n"],
        "iterations": [terms.iterations // SNAPSHOTS * (number + 1) for number in range(len(alone))],
        "alone": [round(float(report["accuracy"]), 4) for report in alone],
        "best": {"accuracy": best["accuracy"], "ci95": best["ci95"]},
        "together": {"accuracy": every["accuracy"], "ci95": every["ci95"]},
        "training_accuracy": [row[own] for row in history],
        "hours": round(sum(row["seconds"] for row in history) / 3600, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="fer2013.csv")
    parser.add_argument("--aligned", type=Path, required=True, help="folder that ferkit prepare wrote with a detector")
    parser.add_argument("--runs", type=Path, required=True, help="folder of the runs; they are gone on with")
    parser.add_argument("--nets", nargs="+", default=["shallow", "wide"], choices=["shallow", "wide"])
    parser.add_argument("--rows", nargs="+", type=int, default=list(range(len(ROWS))), help="numbers of rows, from 0")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()

    everything = Everything.read(args.data, args.aligned)
    group = groups(everything.frames)
    kept: dict[str, Any] = json.loads(args.out.read_text(encoding="utf-8"))["nets"] if args.out is not None and args.out.exists() else {}
    for net in args.nets:
        for number in args.rows:
            name, terms = list(ROWS.items())[number]
            if name in kept.get(net, {}):
                continue
            data = args.runs / f"row{number}.csv"
            by_dlib = found_by_dlib(everything.frames, args.runs / "dlib.npy") if terms.dlib else None
            train_rows, test_rows = learnt(everything, terms, group, by_dlib)
            if not data.exists():
                write_csv(data, everything, terms, train_rows, test_rows)
            across = np.isin(group[test_rows], group[train_rows]).mean()
            figures = run(net, terms, data, int(train_rows.sum()), args.runs / f"{net}-row{number}")
            kept.setdefault(net, {})[name] = {
                **asdict(terms),
                "trained_on": int(train_rows.sum()),
                "copies_of_test": round(float(across), 4),
                **figures,
            }
            record(
                None if args.out is None else str(args.out),
                {"faces": len(group), "with_landmarks": int(everything.found.sum()), "nets": kept},
            )


if __name__ == "__main__":
    main()
