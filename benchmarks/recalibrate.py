"""Make a release from an older one: the same networks, byte for byte, with the outputs that today's ferkit gives them.

What the old spec says of its label sets stays as it is: their temperatures, and the figures on PublicTest. The output for photos is added,
calibrated and measured there, and becomes the default; then the figures on the labelled photos are added. An ensemble's members are named by
--members and come first. Without --old only the figures on photos are written anew, for a release that was trained with that output.

    python benchmarks/recalibrate.py --old weights/superseded/fer2013-s-v3 --new weights/fer2013-s-v5 \
        --data fer2013.csv --ferplus fer2013new.csv --photos PHOTOS
    python benchmarks/recalibrate.py --old weights/superseded/fer2013-ensemble-v3 --new weights/fer2013-ensemble-v5 \
        --members fer2013-s-v5 fer2013-b-v5 --data fer2013.csv --ferplus fer2013new.csv --photos PHOTOS
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from photos import by_labels, cut, detected, measured, read_photos

from ferkit import Ensemble, FaceDetector
from ferkit.data import read_faces
from ferkit.data.faces import Faces
from ferkit.evaluation.calibration import photos_output
from ferkit.evaluation.measuring import metric_rows, view_logits
from ferkit.files import write_json
from ferkit.labels import PHOTOS
from ferkit.train.ensembling import fit_ensemble
from ferkit.train.release.card import PHOTOS_SPLIT, write_card
from ferkit.weights.hashes import sha256_of
from ferkit.weights.specs import SPEC_FILE, EnsembleSpec, WeightsSpec, load_classifier_spec
from ferkit.weights.store import resolve

VIEWS = (1, 2, 10)
ROW = ("labels", "truth", "n", "accuracy", "ci95", "macro_f1", "mean_recall", "ece", "recall")


def renewed_classifier(old: Path, new: Path, faces: Faces) -> WeightsSpec:
    """Write the spec of one network with its output for photos; the files are copied where they are not there yet."""
    spec = WeightsSpec.load(old)
    new.mkdir(parents=True, exist_ok=True)
    for name in spec.files:
        if not (new / name).exists():
            shutil.copyfile(old / name, new / name)
    kept = tuple(output for output in spec.outputs if output.name != PHOTOS.name)
    by_name = {output.name: output for output in kept}
    write_json(new / SPEC_FILE, replace(spec, name=new.name).to_dict())
    logits = view_logits(new, faces, max(VIEWS))
    added = photos_output(by_name["fer2013"], by_name["ferplus"], logits, faces)
    spec = replace(spec, name=new.name, outputs=(added, *kept), default_output=added.name)
    write_json(new / SPEC_FILE, spec.to_dict())
    # All outputs are measured again, so that what the old spec said of the others is checked rather than believed.
    spec = replace(spec, metrics=same_or_new(metric_rows(new, faces, VIEWS, logits), spec.metrics))
    write_json(new / SPEC_FILE, spec.to_dict())
    return spec


def renewed_ensemble(old: Path, new: Path, members: list[str], faces: Faces) -> EnsembleSpec:
    """Write the spec of an ensemble of new members with an output for photos, fitted on PublicTest."""
    spec = EnsembleSpec.load(old)
    entries = tuple({"name": name, "sha256": sha256_of((resolve(name) / SPEC_FILE).read_bytes()), "weights": name} for name in members)
    fitted = fit_ensemble(Ensemble.from_pretrained(members, combine=spec.combine, labels=PHOTOS.name), faces)._output()
    kept = tuple(output for output in spec.outputs if output.name != PHOTOS.name)
    spec = replace(spec, name=new.name, members=entries, outputs=(fitted, *kept), default_output=fitted.name)
    new.mkdir(parents=True, exist_ok=True)
    write_json(new / SPEC_FILE, spec.to_dict())
    spec = replace(spec, metrics=same_or_new(metric_rows(new, faces, VIEWS), spec.metrics))
    write_json(new / SPEC_FILE, spec.to_dict())
    return spec


def same_or_new(measured_now: tuple[Any, ...], before: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the figures; those of outputs that were there before must be what they were, or the networks are not the same."""
    key = ("labels", "truth", "tta")
    known = {tuple(row[k] for k in key): row for row in before}
    for row in measured_now:
        old = known.get(tuple(row[k] for k in key))
        if old is not None and abs(old["accuracy"] - row["accuracy"]) > 3 / row["n"]:  # engines round differently: a face or two
            raise SystemExit(f"{row['labels']} {row['tta']}: {row['accuracy']}, was {old['accuracy']}; the networks are not the same.")
    return tuple(known.get(tuple(row[k] for k in key), row) for row in measured_now)


def photo_rows(folder: Path, photos_folder: Path) -> list[dict[str, Any]]:
    """Measure a release's default output on the labelled photos, as ``photos.py`` does."""
    photos = read_photos(photos_folder)
    opened = by_labels(folder)
    chosen = {name: classifier for name, classifier in opened.items() if name == load_classifier_spec(folder).default_output}
    faces = detected(photos, FaceDetector())
    found = np.array([face is not None for face in faces])
    rows = measured(chosen, cut(photos, faces, next(iter(chosen.values())).crop), found, photos)
    return [{**{key: row[key] for key in ROW}, "split": PHOTOS_SPLIT, "tta": "none"} for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--new", required=True, type=Path)
    parser.add_argument("--old", type=Path)
    parser.add_argument("--members", nargs="+", default=[])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--ferplus", type=Path)
    parser.add_argument("--photos", required=True, type=Path)
    args = parser.parse_args()

    spec: WeightsSpec | EnsembleSpec
    if args.old is not None:
        faces = read_faces(args.data, "PublicTest", args.ferplus)
        old, new, members = args.old, args.new, args.members
        spec = renewed_ensemble(old, new, members, faces) if members else renewed_classifier(old, new, faces)
    else:
        spec = load_classifier_spec(args.new)
    on_faces = [row for row in spec.metrics if row["split"] != PHOTOS_SPLIT]
    spec = replace(spec, metrics=(*on_faces, *photo_rows(args.new, args.photos)))
    write_json(args.new / SPEC_FILE, spec.to_dict())
    write_card(args.new / "card.md", spec)
    for row in spec.metrics:
        print(row["labels"], row["truth"], row["tta"], row["n"], row["accuracy"], row["ece"])


if __name__ == "__main__":
    main()
