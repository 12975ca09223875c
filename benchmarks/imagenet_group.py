"""What the teacher of imagenet_teacher.py answers on photos, alone and as a member of a group: the mean of the members' logs, by weights.

A member's answer is the product of its two heads, each with the temperature that PublicTest gives it. A photo's face is asked for nine times, as
by photo_heads.py; the teacher sees it at the photo's own sharpness. By the mean over the nine, on the photos where all three agree, then by the
majority, the best of the first member alone and of the groups with the teacher is chosen in five folds by person.

    python benchmarks/imagenet_group.py --teacher runs/teacher --weights fer2013-s-v6 fer2013-b-v6 --data fer2013.csv --votes fer2013new.csv \
        --photos PHOTOS --yunet face_detection_yunet_2026may.onnx --before weights/superseded/ferkit-face-v2 --out benchmarks/results/imagenet_group.json
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from _boxes import photo_views
from _record import record
from exponents import FOLDS, PLUS_AS_FER, folds_of, share
from imagenet_teacher import SHARP, answered
from numpy.typing import NDArray
from photo_heads import MANY, by_looks
from photos import TRUTHS, Photos, read_photos

from ferkit import ExpressionClassifier, FaceDetector
from ferkit.data import read_faces
from ferkit.data.faces import Faces
from ferkit.evaluation.calibration import fit_temperature
from ferkit.labels import FER7
from ferkit.logits import log_softmax

SHARES = ((0.5, 0.5, 0), (0.5, 0, 0.5), (0.7, 0, 0.3), (1 / 3, 1 / 3, 1 / 3), (0.5, 0.25, 0.25), (0.4, 0.2, 0.4), (0.6, 0.2, 0.2))
Float = NDArray[np.float64]


def split(logits: Float) -> tuple[Float, Float]:
    return logits[..., : len(FER7)], logits[..., len(FER7) :]


def of_weights(name: str, public: Faces, looks: NDArray[np.uint8]) -> tuple[Float, Float]:
    """Return a release's raw logits of PublicTest's faces ``(n, 15)`` and of the photos ``(looks, n, 15)``."""
    classifier = ExpressionClassifier(name, runtime="onnxruntime", threads=1)
    first, *rest = (np.asarray(classifier.logits(list(faces)), np.float64)[0] for faces in (public.images, *looks))
    return first, np.stack(rest)


def of_teacher(folder: Path, public: Faces, looks: NDArray[np.uint8]) -> tuple[Float, Float]:
    import keras

    network = keras.saving.load_model(folder / "model.keras", compile=False)
    return answered(network, public.images), np.stack([answered(network, faces) for faces in looks])


def alone(logits: Float, faces: Faces) -> dict[str, Any]:
    """Return a member's two heads on PublicTest, and their temperatures."""
    (fer, plus), (keep, majority) = split(logits), faces.majority()
    return {
        "PublicTest, fer2013": share(fer.argmax(axis=1) == faces.labels),
        "PublicTest, ferplus": share((plus.argmax(axis=1) == majority)[keep]),
        "temperatures": (fit_temperature(fer, faces.labels), fit_temperature(plus[keep], majority[keep])),
    }


def product(logits: Float, temperatures: tuple[float, float]) -> Float:
    fer, plus = split(logits)
    return np.asarray(log_softmax(fer / temperatures[0] + plus[..., PLUS_AS_FER] / temperatures[1]))


def measured(scores: Float, shown: NDArray[np.bool_], photos: Photos) -> tuple[dict[str, Any], Float]:
    """Return what is right on the photos, and on each of them by both truths, ``(2, n)``, as the mean over the looks."""
    answers = np.where(shown, np.array(FER7.classes, object)[scores.argmax(axis=-1)], "")
    truths = [photos.truths[truth] for truth in TRUTHS[:2]]
    names = [name for name in FER7.classes if (truths[0] == name).sum() >= MANY]
    recall = {name: round(float((answers == name)[:, truths[0] == name].mean()), 4) for name in names}
    row = {title: by_looks((answers == truth)[:, truth != ""]) for title, truth in zip(TRUTHS[:2], truths, strict=True)}
    row |= {"recall": recall, "mean_recall": round(float(np.mean(list(recall.values()))), 4)}
    return row, np.stack([(answers == truth).mean(axis=0) for truth in truths])


def chosen(right: dict[str, Float], photos: Photos) -> dict[str, Any]:
    """Choose on four folds and answer the fifth; the earlier one of equal ones."""
    told, fold = [photos.truths[truth] != "" for truth in TRUTHS[:2]], folds_of(photos.people)

    def best(rows: NDArray[np.bool_]) -> str:
        return max(right, key=lambda name: tuple(round(float(right[name][k][told[k] & rows].sum()), 6) for k in (0, 1)))

    picks = [best(fold != k) for k in range(FOLDS)]
    held = [np.select([fold == k for k in range(FOLDS)], [right[pick][truth] for pick in picks])[told[truth]] for truth in (0, 1)]
    return {
        "candidates": len(right),
        "best": best(np.ones(len(fold), bool)),
        "by_fold": picks,
        "cross_validated": {title: round(float(values.mean()), 4) for title, values in zip(TRUTHS[:2], held, strict=True)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", required=True, type=Path)
    parser.add_argument("--weights", required=True, nargs=2)
    parser.add_argument("--data", required=True)
    parser.add_argument("--votes", required=True, help="fer2013new.csv")
    parser.add_argument("--photos", required=True, type=Path)
    parser.add_argument("--yunet", required=True, type=Path)
    parser.add_argument("--before", required=True, type=Path, help="folder of the default detector's forerunner")
    parser.add_argument("--out")
    args = parser.parse_args()

    public, photos = read_faces(args.data, "PublicTest", args.votes), read_photos(args.photos)
    geometry = ExpressionClassifier(args.weights[0]).crop
    detectors = [FaceDetector(threads=1), FaceDetector(model=args.before, threads=1), FaceDetector("yunet", model=args.yunet)]
    looks, shown = photo_views(photos, geometry, detectors)
    sharp, _ = photo_views(photos, geometry, detectors, SHARP)
    answers = {name: of_weights(name, public, looks) for name in args.weights} | {"teacher": of_teacher(args.teacher, public, sharp)}
    members = {name: alone(logits, public) for name, (logits, _) in answers.items()}
    scores = {name: product(answers[name][1], member["temperatures"]) for name, member in members.items()}
    scores |= {
        f"{' '.join(f'{part:.2f}' for part in parts)}": sum(part * scores[name] for part, name in zip(parts, answers, strict=True))
        for parts in SHARES
    }
    table, right = {}, {}
    for name, values in scores.items():
        table[name], right[name] = measured(values, shown, photos)
    mixed = {name: right[name] for name in scores if name == args.weights[0] or (name not in answers and not name.endswith("0.00"))}
    record(args.out, {"members": members, "shares_of": list(answers), "by_shares": table, "choice": chosen(mixed, photos)})


if __name__ == "__main__":
    main()
