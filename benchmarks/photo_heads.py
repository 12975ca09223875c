"""Both heads of a network fitted anew, with portraits beside FER2013's faces: what photos teach without training the rest of it.

The trunk stays as it is. Each Training face is seen once, mirrored by a coin; a part of what it teaches is its label or its votes, the rest is the
old head's own answer, so that little of FER2013 is forgotten. The portraits are seen as they are and mirrored, and both again spoilt as FER2013's
faces are; their targets are those of a recipe with ``[photos]``, its teachers included. They are a share of the loss, in which labels with few portraits count as
much as those with many (``--balance``), and the distance from the old head is penalised. Each head is fitted apart: minutes on two cores where training takes an hour.

A head's setting is SHARE:LABELS, the portraits' share of the loss and what a Training face's own label or votes count. Every pair of settings is a
candidate, and so are the old heads. Each is measured on the photos and on PublicTest, single view. On the photos
where all three agree, then by the majority, the best is chosen in five folds by person among those that keep PublicTest's floors; what the choice of
four folds answers on the fifth stands beside what the best has on all of them. With ``--release`` that pair, or the one that ``--pair`` names, is written as weights.

    python benchmarks/photo_heads.py --weights fer2013-s-v5 --recipe ferkit-s-v6 --floors 70.4 84.6 90 --data fer2013.csv --votes fer2013new.csv \
        --portraits PHOTOS-TRAIN --photos PHOTOS --out benchmarks/results/photo_heads_s.json \
        [--release runs/fer2013-s-v6]
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from _record import record
from exponents import FOLDS, PLUS_AS_FER, folds_of, share
from numpy.typing import NDArray
from photos import TRUTHS, Photos, cut, detected, read_photos

from ferkit import ExpressionClassifier, FaceDetector
from ferkit.data import read_faces
from ferkit.data.faces import Faces
from ferkit.data.portraits import read_portraits
from ferkit.evaluation.calibration import fit_temperature
from ferkit.labels import FER7

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
HEADS = ("fer2013", "ferplus")
SMOOTHING = 0.1  # of FER2013's labels
PENALTY = 2e-4
STEPS = 60  # of L-BFGS
VIEWS = 4  # of each portrait
MANY = 10  # photos that a label needs to count in the mean recall
OLD = (0.0, 0.0)  # stands for the old head
Float = NDArray[np.float64]
Setting = tuple[float, float]  # the share of portraits in a head's loss, and what a Training face's own label or votes count


@dataclass(frozen=True)
class Task:
    """What each head is fitted on: features with a one behind them ``(n, d + 1)``, FER2013's first; labels of those, rows of 0 where there
    are none; targets of the portraits; what each portrait counts."""

    rows: Float
    old: dict[str, Float]
    labels: dict[str, Float]
    taught: dict[str, Float]
    counts: Float


def softmax(scores: Float) -> Float:
    exp = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(exp / exp.sum(axis=1, keepdims=True))


def seen(classifier: ExpressionClassifier, images: Any) -> Float:
    """Return the trunk's features of faces, and a one behind each for the bias."""
    parts = [classifier.features(images[i : i + 256]) for i in range(0, len(images), 256)]
    found = np.concatenate(parts).astype(np.float64)
    return np.hstack([found, np.ones((len(found), 1))])


def mirrored(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(images[:, :, ::-1])


def old_heads(model: Any) -> dict[str, Float]:
    """Return each head's kernel with its bias as a last row, ``(d + 1, k)``."""
    layers = {head: model.get_layer(head) for head in HEADS}
    return {head: np.vstack([np.array(layer.kernel), np.array(layer.bias)[None]]).astype(np.float64) for head, layer in layers.items()}


def prepared(classifier: ExpressionClassifier, model: Any, recipe: Any, training: Faces, folder: Path, balance: float) -> Task:
    """Compute features and targets."""
    from ferkit.train.classifier.distilling import Teacher
    from ferkit.train.classifier.photos import PhotoSource, degraded, expected_draws, label_weights

    portraits = read_portraits(folder, classifier.crop)
    source = PhotoSource(portraits, recipe, Teacher(recipe.teacher["weights"], HEADS, size=recipe.size))
    spoilt = degraded(portraits.images, 1.0, np.random.default_rng(1))
    views = (portraits.images, mirrored(portraits.images), spoilt, mirrored(spoilt))
    coin = np.random.default_rng(0).random(len(training)) < 0.5
    faces = seen(classifier, np.where(coin[:, None, None], training.images[:, :, ::-1], training.images))
    labels = {head: training.targets(head, SMOOTHING if head == FER7.name else 0.0).astype(np.float64) for head in HEADS}
    taught = {head: np.tile(source.targets[head].astype(np.float64), (len(views), 1)) for head in HEADS}
    draws = expected_draws(portraits.labels, recipe.photo_places * (len(training) // recipe.batch_size), source.weights)
    counts = np.tile(draws * label_weights(portraits.labels, draws, balance), len(views))
    rows = np.vstack([faces, *(seen(classifier, view) for view in views)])
    return Task(rows, old_heads(model), labels, taught, counts / counts.sum())


def fitted(task: Task, head: str, setting: Setting) -> Float:
    """Return a head ``(d + 1, k)``."""
    from scipy.optimize import minimize
    from threadpoolctl import threadpool_limits

    start, labels, (photos, counted) = task.old[head], task.labels[head], setting
    if setting == OLD:
        return start
    faces = len(labels)
    answers = softmax(task.rows[:faces] @ start)
    known = labels.sum(axis=1, keepdims=True) > 0  # a face that FER+ calls no face has no votes
    targets = np.vstack([np.where(known, counted * labels + (1 - counted) * answers, answers), task.taught[head]])
    weights = np.concatenate([np.full(faces, (1 - photos) / faces), photos * task.counts])[:, None]

    def loss(flat: Float) -> tuple[float, Float]:
        moved = flat.reshape(start.shape)
        scores = task.rows @ (start + moved)
        scores -= scores.max(axis=1, keepdims=True)
        log = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
        gradient = PENALTY * moved + task.rows.T @ (weights * (np.exp(log) - targets))
        return float(0.5 * PENALTY * (moved**2).sum() - (weights * targets * log).sum()), gradient.ravel()

    with threadpool_limits(1):  # the matrices are narrow: a second thread costs more than it gives
        found = minimize(loss, np.zeros(start.size), jac=True, method="L-BFGS-B", options={"maxiter": STEPS}).x
    return start + found.reshape(start.shape)


def answers(fer: Float, plus: Float, temperatures: tuple[float, float]) -> NDArray[np.int64]:
    """Return what the product of both heads' logits answers, columns of FER2013's labels."""
    return np.asarray((fer / temperatures[0] + plus[:, PLUS_AS_FER] / temperatures[1]).argmax(axis=1), np.int64)


def measured(
    heads: dict[str, Float], public: Float, faces: Faces, crops: Float, found: NDArray[np.bool_], photos: Photos
) -> dict[str, Any]:
    """Measure one pair of heads; what is right on each photo is kept as ``right``, for the choice."""
    fer, plus = (public @ heads[head] for head in HEADS)
    keep, majority = faces.majority()
    temperatures = (fit_temperature(fer, faces.labels), fit_temperature(plus[keep], majority[keep]))
    answered = np.full(len(found), "", object)
    answered[found] = np.array(FER7.classes)[answers(*(crops @ heads[head] for head in HEADS), temperatures)]
    agreed, majority_says = photos.truths[TRUTHS[0]], photos.truths[TRUTHS[1]]
    names = [name for name in FER7.classes if (agreed == name).sum() >= MANY]
    recall = {name: round(float((answered == agreed)[agreed == name].mean()), 4) for name in names}
    return {
        "all three agree": share((answered == agreed)[agreed != ""]),
        "majority of three": share((answered == majority_says)[majority_says != ""]),
        "recall": recall,
        "mean_recall": round(float(np.mean(list(recall.values()))), 4),
        "PublicTest, fer2013": share(fer.argmax(axis=1) == faces.labels),
        "PublicTest, ferplus": share((plus.argmax(axis=1) == majority)[keep]),
        "right": np.stack([answered == agreed, answered == majority_says]),
    }


def keeps(row: dict[str, Any], floors: Sequence[float]) -> bool:
    """Whether a candidate keeps the floors of FER2013's and of FER+'s labels on PublicTest, as printed to a tenth, and that of neutral on the photos."""
    reached = (row["PublicTest, fer2013"]["accuracy"], row["PublicTest, ferplus"]["accuracy"], row["recall"]["neutral"])
    return all(round(100 * value, 1) >= floor for value, floor in zip(reached, floors, strict=True))


def chosen(table: dict[str, Any], floors: Sequence[float], photos: Photos) -> dict[str, Any]:
    """Choose on four folds and answer the fifth, among the candidates that keep both floors; the earlier one of equal ones."""
    kept = [name for name, row in table.items() if keeps(row, floors)]
    told = np.stack([photos.truths[truth] != "" for truth in TRUTHS[:2]])
    right = {name: table[name]["right"] & told for name in kept}
    fold = folds_of(photos.people)

    def best(rows: NDArray[np.bool_]) -> str:
        return max(kept, key=lambda name: tuple(int(right[name][truth][rows].sum()) for truth in (0, 1)))

    picks = [best(fold != k) for k in range(FOLDS)]
    held = np.stack([np.select([fold == k for k in range(FOLDS)], [right[pick][truth] for pick in picks]) for truth in (0, 1)])
    return {
        "candidates": len(table),
        "keep_the_floors": len(kept),
        "best": best(np.ones(len(fold), bool)),
        "by_fold": picks,
        "cross_validated": {truth: share(held[i][told[i]].astype(bool)) for i, truth in enumerate(TRUTHS[:2])},
    }


def released(
    out: Path, base: ExpressionClassifier, model: Any, heads: dict[str, Float], recipe: Any, faces: Faces, told: dict[str, Any]
) -> None:
    """Write weights with new heads, measured and calibrated on PublicTest; ``told`` goes into the spec."""
    from ferkit.files import write_json
    from ferkit.train.classifier.release import Origin, write_release
    from ferkit.train.release.card import write_card
    from ferkit.weights.specs import SPEC_FILE

    for head in HEADS:
        model.get_layer(head).set_weights([heads[head][:-1].astype(np.float32), heads[head][-1].astype(np.float32)])
    before = base.spec.training
    made = write_release(model, recipe, out, out.name, faces, Origin(licence=base.spec.licence, source=before["source"]))
    data = f"{before['data']}; {told['portraits']:,} portraits ({told['folder']}) for the heads alone"
    spec = replace(made, training={**before, "data": data, "heads": {"base": base.name, "recipe": recipe.name, **told}})
    write_json(out / SPEC_FILE, spec.to_dict())
    write_card(out / "card.md", spec)


def setting(text: str) -> Setting:
    share_of_photos, counted = text.split(":")
    return float(share_of_photos), float(counted)


def named(pair: tuple[Setting, ...]) -> str:
    return " ".join(f"{a:g}:{b:g}" for a, b in pair)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--recipe", required=True, help="with [photos] and [teacher]")
    parser.add_argument("--data", required=True)
    parser.add_argument("--votes", required=True, help="fer2013new.csv")
    parser.add_argument("--portraits", required=True, type=Path)
    parser.add_argument("--photos", required=True, type=Path)
    parser.add_argument("--fer2013", nargs="+", type=setting, default=[(0.05, 0.3), (0.07, 0.3), (0.1, 0.3)], help="settings of that head")
    parser.add_argument("--ferplus", nargs="+", type=setting, default=[(0.05, 0.3), (0.07, 0.3), (0.07, 0.6), (0.1, 0.6)])
    parser.add_argument("--balance", type=float, default=1.0)
    parser.add_argument(
        "--floors", nargs=3, type=float, default=[0.0, 0.0, 0.0], help="per cent: FER2013's and FER+'s labels on PublicTest, neutral"
    )
    parser.add_argument("--out")
    parser.add_argument("--release", type=Path)
    parser.add_argument("--pair", nargs=2, type=setting, help="the settings to release, if not the best")
    args = parser.parse_args()

    from ferkit.train.classifier.recipe import load_recipe
    from ferkit.train.common.keras_weights import load_keras

    recipe, classifier = load_recipe(args.recipe), ExpressionClassifier(args.weights, runtime="onnxruntime", threads=1)
    model = load_keras(args.weights, classifier)
    public = read_faces(args.data, "PublicTest", args.votes)
    task = prepared(classifier, model, recipe, read_faces(args.data, "Training", args.votes), args.portraits, args.balance)
    photos = read_photos(args.photos)
    boxes = detected(photos, FaceDetector())
    found = np.array([box is not None for box in boxes])
    of_public, of_photos = seen(classifier, public.images), seen(classifier, cut(photos, boxes, classifier.crop))
    tried = dict(zip(HEADS, (args.fer2013, args.ferplus), strict=True))
    heads = {(head, one): fitted(task, head, one) for head in HEADS for one in (OLD, *tried[head])}
    measure = partial(measured, public=of_public, faces=public, crops=of_photos, found=found, photos=photos)
    pairs = [(OLD, OLD), *product(*tried.values())]
    table = {named(pair): measure({head: heads[head, one] for head, one in zip(HEADS, pair, strict=True)}) for pair in pairs}
    choice = chosen(table, args.floors, photos)
    for row in table.values():
        del row["right"]
    record(args.out, {"weights": classifier.name, "balance": args.balance, "floors": args.floors, "by_settings": table, "choice": choice})
    if args.release:
        pair = args.pair or next(pair for pair in pairs if named(pair) == choice["best"])
        portraits = {"portraits": len(task.counts) // VIEWS, "folder": args.portraits.resolve().name}
        told = {**portraits, "settings": dict(zip(HEADS, pair, strict=True)), "balance": args.balance}
        new = {head: heads[head, one] for head, one in zip(HEADS, pair, strict=True)}
        released(args.release, classifier, model, new, recipe, public, told)


if __name__ == "__main__":
    main()
