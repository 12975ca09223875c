"""Both heads of a network fitted anew, with portraits beside FER2013's faces: what photos teach without training the rest of it.

The trunk stays as it is. Each Training face is seen once, mirrored by a coin; a part of what it teaches is its label or its votes, the rest is the
old head's own answer, or that of ``--answers``, so that little of FER2013 is forgotten. The portraits are seen by the boxes of their table, of the default detector and of YuNet,
each as it is, and shaken by 1, 2 and 3 % of its width, half of them mirrored, half spoilt as FER2013's faces are; their targets are those of a recipe with
``[photos]``, its teachers included. They are a share of the loss, in which labels with few portraits count as
much as those with many (``--balance``), and the distance from the old head is penalised. Each head is fitted apart, or with ``--joint`` both together, the portraits teaching
their product, which is what photos are answered by: minutes on two cores where training takes an hour. With ``--toward`` each joint pair is also tried at shares of the way
from the old heads; ``--count neutral=2`` lets a label's portraits count for more.

A head's setting is SHARE:LABELS, the portraits' share of the loss and what a Training face's own label or votes count. Every pair of settings is a
candidate, and so are the old heads; each is rounded as it would be stored before it is measured on the photos and on PublicTest, single view. A photo's face is asked for
nine times, by the boxes of three detectors (the default, its forerunner, YuNet), each as it is and shaken by 1 and 2 %: half a percent of a box moves several answers of 216,
and what is chosen on one detector's boxes is gone with the next. By the mean over the nine, on the photos where all three agree, then by the majority, the best is chosen in
five folds by person among those that keep PublicTest's floors; what the choice of four folds answers on the fifth stands beside what the best has on all of them, and beside
it what the default pipeline answers. With ``--release`` that one, or the one that ``--take`` names, is written as weights. ``--keep`` keeps crops and features between runs.

    python benchmarks/photo_heads.py --weights fer2013-s-v5 --recipe ferkit-s-v6 --floors 70.4 84.6 90 --data fer2013.csv --votes fer2013new.csv \
        --portraits PHOTOS-TRAIN --photos PHOTOS --yunet face_detection_yunet_2026may.onnx --before weights/superseded/ferkit-face-v2 \
        --out benchmarks/results/photo_heads_s.json [--release runs/fer2013-s-v6]
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from _boxes import PHOTO_SHAKES, photo_views, portrait_views
from _record import record
from exponents import FOLDS, PLUS_AS_FER, folds_of, share
from numpy.typing import NDArray
from photos import TRUTHS, Photos, read_photos

from ferkit import ExpressionClassifier, FaceDetector
from ferkit.data import read_faces
from ferkit.data.faces import Faces
from ferkit.data.portraits import read_portraits
from ferkit.evaluation.calibration import fit_temperature
from ferkit.labels import FER7, PHOTOS
from ferkit.logits import log_softmax, softmax

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
HEADS = ("fer2013", "ferplus")
SMOOTHING = 0.1  # of FER2013's labels
PENALTY = 2e-4
STEPS = 60  # of L-BFGS
MANY = 10  # photos that a label needs to count in the mean recall
OLD = (0.0, 0.0)  # stands for the old head
DETECTORS = ("the default", "its forerunner", "yunet")
Float = NDArray[np.float64]
Setting = tuple[float, float]  # the share of portraits in a head's loss, and what a Training face's own label or votes count


@dataclass(frozen=True)
class Task:
    """What each head is fitted on: features with a one behind them ``(n, d + 1)``, FER2013's first; what is answered about those, and their labels,
    rows of 0 where there are none; targets of the portraits; what each portrait counts."""

    rows: Float
    old: dict[str, Float]
    answers: dict[str, Float]
    exponents: tuple[float, float]  # of the heads' logits in the product
    labels: dict[str, Float]
    taught: dict[str, Float]
    counts: Float


def seen(classifier: ExpressionClassifier, images: Any) -> Float:
    """Return the trunk's features of faces, and a one behind each for the bias."""
    parts = [classifier.features(images[i : i + 256]) for i in range(0, len(images), 256)]
    found = np.concatenate(parts).astype(np.float64)
    return np.hstack([found, np.ones((len(found), 1))])


def stored(head: Float) -> Float:
    """Round a head as a release of half precision keeps it."""
    return head.astype(np.float16).astype(np.float64)


def old_heads(model: Any) -> dict[str, Float]:
    """Return each head's kernel with its bias as a last row, ``(d + 1, k)``."""
    layers = {head: model.get_layer(head) for head in HEADS}
    return {head: np.vstack([np.array(layer.kernel), np.array(layer.bias)[None]]).astype(np.float64) for head, layer in layers.items()}


def kept(folder: Path | None, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what ``make`` does, read from a file of an earlier run if there is one."""
    path = None if folder is None else folder / f"{name}.npz"
    if path is None or not path.exists():
        made = make()
        if path is None:
            return made
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **made)
    with np.load(path) as file:
        return dict(file)


def crops(args: argparse.Namespace, photos: Photos, geometry: Any) -> dict[str, Any]:
    """Cut portraits and photos by each detector's boxes."""
    default, yunet = FaceDetector(threads=1), FaceDetector("yunet", model=args.yunet)
    portraits, hits = portrait_views(args.portraits, geometry, [default, yunet])
    seen_photos, shown = photo_views(photos, geometry, [default, FaceDetector(model=args.before, threads=1), yunet])
    return {"portraits": portraits, "hits": np.array(hits), "photos": seen_photos, "shown": shown}


def coined(training: Faces) -> NDArray[np.uint8]:
    """Return each Training face, mirrored by a coin."""
    coin = np.random.default_rng(0).random(len(training)) < 0.5
    return np.where(coin[:, None, None], training.images[:, :, ::-1], training.images)


def features(weights: str, training: Faces, public: Faces, cuts: dict[str, Any] | None) -> dict[str, Any]:
    """Compute a trunk's features of everything, and its heads; without portraits and photos for weights that only answer."""
    from ferkit.train.common.keras_weights import load_keras

    classifier = ExpressionClassifier(weights, runtime="onnxruntime", threads=1)
    out: dict[str, Any] = {"train": seen(classifier, coined(training)), **old_heads(load_keras(weights, classifier))}
    if cuts is not None:
        out |= {"public": seen(classifier, public.images)}
        out |= {name: np.stack([seen(classifier, view) for view in cuts[name]]) for name in ("portraits", "photos")}
    return {name: values.astype(np.float32) for name, values in out.items()}


def prepared(
    found: dict[str, Any],
    answering: dict[str, Any],
    recipe: Any,
    classifier: ExpressionClassifier,
    training: Faces,
    args: argparse.Namespace,
) -> Task:
    """Lay out features and targets."""
    from ferkit.train.classifier.distilling import Teacher
    from ferkit.train.classifier.photos import PhotoSource, expected_draws, label_weights

    portraits = read_portraits(args.portraits, classifier.crop)
    source = PhotoSource(portraits, recipe, Teacher(recipe.teacher["weights"], HEADS, size=recipe.size))
    views = len(found["portraits"])
    labels = {head: training.targets(head, SMOOTHING if head == FER7.name else 0.0).astype(np.float64) for head in HEADS}
    taught = {head: np.tile(source.targets[head].astype(np.float64), (views, 1)) for head in HEADS}
    draws = expected_draws(portraits.labels, recipe.photo_places * (len(training) // recipe.batch_size), source.weights)
    more = np.array([dict(args.count).get(label, 1.0) for label in portraits.labels])
    counts = np.tile(more * draws * label_weights(portraits.labels, draws, args.balance), views)
    answers = {head: softmax(answering["train"].astype(np.float64) @ answering[head]) for head in HEADS}
    rows = np.vstack([found["train"], *found["portraits"]]).astype(np.float64)
    old = {head: found[head].astype(np.float64) for head in HEADS}
    combined = classifier.spec.output(PHOTOS.name)
    exponents = tuple(weight / combined.temperature for weight in combined.weights)
    return Task(rows, old, answers, exponents, labels, taught, counts / counts.sum())


def of_faces(task: Task, head: str, counted: float) -> Float:
    """Return what the Training faces teach a head ``(n, k)``: ``counted`` of it is the label, where there is one."""
    labels, answers = task.labels[head], task.answers[head]
    known = labels.sum(axis=1, keepdims=True) > 0  # a face that FER+ calls no face has no votes
    return np.where(known, counted * labels + (1 - counted) * answers, answers)


def surprise(scores: Float, targets: Float, weights: Float) -> tuple[float, Float]:
    """Return the weighted cross-entropy, nats, and its gradient in the scores."""
    log = log_softmax(scores)
    return float(-(weights * targets * log).sum()), weights * (np.exp(log) - targets)


def nearest(start: Float, loss: Callable[[Float], tuple[float, Float]]) -> Float:
    """Return the head ``(d + 1, k)`` with the smallest loss, whose distance from the start is penalised."""
    from scipy.optimize import minimize
    from threadpoolctl import threadpool_limits

    def penalised(flat: Float) -> tuple[float, Float]:
        moved = flat.reshape(start.shape)
        value, gradient = loss(start + moved)
        return value + float(0.5 * PENALTY * (moved**2).sum()), (gradient + PENALTY * moved).ravel()

    with threadpool_limits(1):  # the matrices are narrow: a second thread costs more than it gives
        found = minimize(penalised, np.zeros(start.size), jac=True, method="L-BFGS-B", options={"maxiter": STEPS}).x
    return start + found.reshape(start.shape)


def fitted(task: Task, head: str, setting: Setting) -> Float:
    """Return a head fitted for itself, ``(d + 1, k)``."""
    start, (photos, counted) = task.old[head], setting
    if setting == OLD:
        return start
    targets = np.vstack([of_faces(task, head, counted), task.taught[head]])
    faces = len(task.labels[head])
    weights = np.concatenate([np.full(faces, (1 - photos) / faces), photos * task.counts])[:, None]

    def loss(head: Float) -> tuple[float, Float]:
        value, gradient = surprise(task.rows @ head, targets, weights)
        return value, task.rows.T @ gradient

    return stored(nearest(start, loss))


def fitted_jointly(task: Task, setting: Setting) -> dict[str, Float]:
    """Return both heads, fitted together: each learns the Training faces, their product the portraits."""
    (photos, counted), k = setting, task.old[HEADS[0]].shape[1]
    faces = len(task.labels[HEADS[0]])
    own, portraits, taught = task.rows[:faces], task.rows[faces:], task.taught[FER7.name]
    targets = [of_faces(task, head, counted) for head in HEADS]
    parts = (slice(0, k), slice(k, None))
    weight, counts = np.full((faces, 1), (1 - photos) / faces), photos * task.counts[:, None]

    def loss(both: Float) -> tuple[float, Float]:
        value, gradient, scores = 0.0, np.zeros_like(both), own @ both
        for part, target in zip(parts, targets, strict=True):
            cost, slope = surprise(scores[:, part], target, weight)
            value, gradient[:, part] = value + cost, own.T @ slope
        scores = portraits @ both
        product = task.exponents[0] * scores[:, parts[0]] + task.exponents[1] * scores[:, parts[1]][:, PLUS_AS_FER]
        cost, slope = surprise(product, taught, counts)
        pulled = portraits.T @ slope
        gradient[:, parts[0]] += task.exponents[0] * pulled
        gradient[:, k + np.array(PLUS_AS_FER)] += task.exponents[1] * pulled
        return value + cost, gradient

    both = stored(nearest(np.hstack([task.old[head] for head in HEADS]), loss))
    return {head: both[:, part] for head, part in zip(HEADS, parts, strict=True)}


def answers(fer: Float, plus: Float, temperatures: tuple[float, float]) -> NDArray[np.int64]:
    """Return what the product of both heads' logits answers, columns of FER2013's labels."""
    return np.asarray((fer / temperatures[0] + plus[:, PLUS_AS_FER] / temperatures[1]).argmax(axis=1), np.int64)


def fitted_candidates(task: Task, args: argparse.Namespace) -> dict[str, dict[str, Float]]:
    """Fit both heads with every setting; the old heads are the first candidate."""
    tried = dict(zip(HEADS, (args.fer2013, args.ferplus), strict=True))
    heads = {(head, one): fitted(task, head, one) for head in HEADS for one in (OLD, *tried[head])}
    pairs = [(OLD, OLD), *product(*tried.values())]
    apart = {named(pair): {head: heads[head, one] for head, one in zip(HEADS, pair, strict=True)} for pair in pairs}
    together = {f"joint {named((one,))}": fitted_jointly(task, one) for one in args.joint}
    between = {f"{name} at {way:g}": partway(task.old, pair, way) for name, pair in together.items() for way in args.toward}
    return apart | together | between


def partway(old: dict[str, Float], new: dict[str, Float], way: float) -> dict[str, Float]:
    """Return heads at a share of the way from the old to the new ones."""
    return {head: stored((1 - way) * old[head] + way * new[head]) for head in HEADS}


def measured(
    heads: dict[str, Float], public: Float, faces: Faces, looks: Float, shown: NDArray[np.bool_], photos: Photos
) -> dict[str, Any]:
    """Measure one pair of heads; what is right on each photo, as the mean over its looks ``(looks, n, d + 1)``, is kept as ``right``, for the choice."""
    fer, plus = (public @ heads[head] for head in HEADS)
    keep, majority = faces.majority()
    temperatures = (fit_temperature(fer, faces.labels), fit_temperature(plus[keep], majority[keep]))
    told = np.stack([answers(*(look @ heads[head] for head in HEADS), temperatures) for look in looks])
    answered = np.where(shown, np.array(FER7.classes, object)[told], "")
    truths = [photos.truths[truth] for truth in TRUTHS[:2]]
    names = [name for name in FER7.classes if (truths[0] == name).sum() >= MANY]
    recall = {name: round(float((answered == name)[:, truths[0] == name].mean()), 4) for name in names}
    return {
        **{title: by_looks((answered == truth)[:, truth != ""]) for title, truth in zip(TRUTHS[:2], truths, strict=True)},
        "recall": recall,
        "mean_recall": round(float(np.mean(list(recall.values()))), 4),
        "PublicTest, fer2013": share(fer.argmax(axis=1) == faces.labels),
        "PublicTest, ferplus": share((plus.argmax(axis=1) == majority)[keep]),
        "right": np.stack([(answered == truth).mean(axis=0) for truth in truths]),
    }


def by_looks(right: NDArray[np.bool_]) -> dict[str, Any]:
    """Return the mean over all looks at the photos, that of each detector's boxes as they are, and what the default pipeline has."""
    plain = right[:: len(PHOTO_SHAKES)].mean(axis=1)
    return {
        "mean": round(float(right.mean()), 4),
        "plain boxes": dict(zip(DETECTORS, [round(float(v), 4) for v in plain], strict=True)),
        "default": share(right[0]),
    }


def keeps(row: dict[str, Any], floors: Sequence[float]) -> bool:
    """Whether a candidate keeps the floors of FER2013's and of FER+'s labels on PublicTest, as printed to a tenth, and that of neutral on the photos."""
    reached = (row["PublicTest, fer2013"]["accuracy"], row["PublicTest, ferplus"]["accuracy"], row["recall"]["neutral"])
    return all(round(100 * value, 1) >= floor for value, floor in zip(reached, floors, strict=True))


def chosen(table: dict[str, Any], floors: Sequence[float], photos: Photos) -> dict[str, Any]:
    """Choose on four folds and answer the fifth, among the candidates that keep both floors; the earlier one of equal ones."""
    kept = [name for name, row in table.items() if keeps(row, floors)]
    if not kept:
        return {"candidates": len(table), "keep_the_floors": 0}
    told = np.stack([photos.truths[truth] != "" for truth in TRUTHS[:2]])
    right = {name: table[name]["right"] * told for name in kept}
    fold = folds_of(photos.people)

    def best(rows: NDArray[np.bool_]) -> str:
        return max(kept, key=lambda name: tuple(round(float(right[name][truth][rows].sum()), 6) for truth in (0, 1)))

    picks = [best(fold != k) for k in range(FOLDS)]
    held = np.stack([np.select([fold == k for k in range(FOLDS)], [right[pick][truth] for pick in picks]) for truth in (0, 1)])
    return {
        "candidates": len(table),
        "keep_the_floors": len(kept),
        "best": best(np.ones(len(fold), bool)),
        "by_fold": picks,
        "cross_validated": {truth: round(float(held[i][told[i]].mean()), 4) for i, truth in enumerate(TRUTHS[:2])},
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


def counting(text: str) -> tuple[str, float]:
    label, _, count = text.partition("=")
    if label not in FER7.classes:
        raise argparse.ArgumentTypeError(f"{text!r}; expected one of FER2013's labels and a number, such as neutral=2")
    return label, float(count)


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
    parser.add_argument("--yunet", required=True, type=Path)
    parser.add_argument("--before", required=True, type=Path, help="folder of the default detector's forerunner")
    parser.add_argument("--answers", help="weights that say what a Training face teaches beside its label; by default --weights")
    parser.add_argument("--keep", type=Path, help="folder for crops and features, used again by the next run")
    parser.add_argument("--fer2013", nargs="+", type=setting, default=[(0.05, 0.3), (0.07, 0.3), (0.1, 0.3)], help="settings of that head")
    parser.add_argument("--ferplus", nargs="+", type=setting, default=[(0.05, 0.3), (0.07, 0.3), (0.07, 0.6), (0.1, 0.6)])
    parser.add_argument("--joint", nargs="*", type=setting, default=[], help="settings of both heads together")
    parser.add_argument("--toward", nargs="*", type=float, default=[], help="shares of the way from the old heads to each joint pair")
    parser.add_argument("--balance", type=float, default=1.0)
    parser.add_argument(
        "--count", nargs="*", type=counting, default=[], metavar="LABEL=NUMBER", help="what a label's portraits count beside others"
    )
    parser.add_argument(
        "--floors", nargs=3, type=float, default=[0.0, 0.0, 0.0], help="per cent: FER2013's and FER+'s labels on PublicTest, neutral"
    )
    parser.add_argument("--out")
    parser.add_argument("--release", type=Path)
    parser.add_argument("--take", help="the candidate to release, as the record names it, if not the best")
    args = parser.parse_args()

    from ferkit.train.classifier.recipe import load_recipe
    from ferkit.train.common.keras_weights import load_keras

    recipe, classifier = load_recipe(args.recipe), ExpressionClassifier(args.weights, runtime="onnxruntime", threads=1)
    public, training = (read_faces(args.data, split, args.votes) for split in ("PublicTest", "Training"))
    photos = read_photos(args.photos)
    cuts = kept(args.keep, "crops", lambda: crops(args, photos, classifier.crop))
    found = kept(args.keep, Path(args.weights).name, lambda: features(args.weights, training, public, cuts))
    answering = kept(args.keep, Path(args.answers).name, lambda: features(args.answers, training, public, None)) if args.answers else found
    task = prepared(found, answering, recipe, classifier, training, args)
    candidates = fitted_candidates(task, args)
    measure = partial(
        measured, public=found["public"].astype(np.float64), faces=public, looks=found["photos"], shown=cuts["shown"], photos=photos
    )
    table = {name: measure(heads) for name, heads in candidates.items()}
    choice = chosen(table, args.floors, photos)
    for row in table.values():
        del row["right"]
    told = {"weights": classifier.name, "portraits_found": dict(zip(("the default", "yunet"), cuts["hits"].round(4).tolist(), strict=True))}
    record(
        args.out,
        {**told, "balance": args.balance, "count": dict(args.count), "floors": args.floors, "by_settings": table, "choice": choice},
    )
    if args.release:
        name = args.take or choice["best"]
        portraits = {"portraits": len(task.counts) // len(found["portraits"]), "folder": args.portraits.resolve().name}
        told = {**portraits, "settings": name, "balance": args.balance, "count": dict(args.count)}
        released(args.release, classifier, load_keras(args.weights, classifier), candidates[name], recipe, public, told)


if __name__ == "__main__":
    main()
