"""How much each head's calibrated answer counts in the output for photos: FER2013's with exponent 1, FER+'s with each of some candidates.

Chosen on the photos where the label and two blind readings agree, in five folds by person: the candidate that is right most often on four
folds, of equal ones the nearest to 1, answers the fifth. That cross-validated accuracy stands beside the one that the best candidate has on
the very photos it was chosen on. Beside them, for each candidate, what it does on PublicTest: accuracy by FER2013's label, by FER+'s majority
over the same seven labels, where both agree, and the cross-entropy with the distribution of FER+'s votes, in nats.

    python benchmarks/exponents.py --photos PHOTOS --data fer2013.csv --ferplus fer2013new.csv --out benchmarks/results/exponents.json
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from _record import record
from numpy.typing import NDArray
from photos import TRUTHS, Photos, cut, detected, read_photos

from ferkit import ExpressionClassifier, FaceDetector
from ferkit.data import read_faces
from ferkit.data.faces import Faces, vote_distribution
from ferkit.evaluation.calibration import fit_temperature
from ferkit.evaluation.figures import wilson
from ferkit.labels import FER7, FERPLUS8
from ferkit.logits import log_softmax

CANDIDATES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 4.0)
FOLDS = 5
PLUS_AS_FER = FERPLUS8.columns(FER7)


def scores(logits: NDArray[np.float32], spec: Any, exponent: float) -> NDArray[np.float64]:
    """Return the product's logits over FER2013's labels, ``(n, 7)``, from raw outputs ``(n, columns)``."""
    fer, plus = spec.output("fer2013"), spec.output("ferplus")
    own = logits[:, list(fer.columns[0])].astype(np.float64) / fer.temperature
    voted = logits[:, [plus.columns[0][i] for i in PLUS_AS_FER]].astype(np.float64) / plus.temperature
    return np.asarray(own + exponent * voted)


def folds_of(people: NDArray[Any]) -> NDArray[np.int64]:
    """Return a fold for every photo, the same for all photos of a person."""
    names = sorted(set(people))
    order = np.random.default_rng(0).permutation(len(names))
    fold = {name: int(place) % FOLDS for name, place in zip(names, order, strict=True)}
    return np.array([fold[name] for name in people])


def share(right: NDArray[np.bool_]) -> dict[str, Any]:
    return {
        "accuracy": round(float(right.mean()), 4),
        "ci95": [round(v, 4) for v in wilson(int(right.sum()), len(right))],
        "n": len(right),
    }


def on_photos(logits: NDArray[np.float32], spec: Any, found: NDArray[np.bool_], photos: Photos) -> dict[str, Any]:
    """Choose on four folds and answer the fifth; a photo without a face is answered wrongly."""
    truth = photos.truths[TRUTHS[0]]
    told = truth != ""
    right = np.zeros((len(CANDIDATES), len(truth)), bool)
    for row, exponent in zip(right, CANDIDATES, strict=True):
        row[found] = np.array(FER7.classes)[scores(logits, spec, exponent).argmax(axis=1)] == truth[found]
    right, fold = right[:, told], folds_of(photos.people)[told]
    nearest = [abs(exponent - 1) for exponent in CANDIDATES]
    held, chosen = np.zeros(right.shape[1], bool), []
    for k in range(FOLDS):
        counts = right[:, fold != k].sum(axis=1)
        best = min(range(len(CANDIDATES)), key=lambda i: (-counts[i], nearest[i]))
        held[fold == k] = right[best, fold == k]
        chosen.append(CANDIDATES[best])
    best = max(range(len(CANDIDATES)), key=lambda i: (right[i].sum(), -nearest[i]))
    return {
        "candidates": len(CANDIDATES),
        "people": len(set(photos.people[told])),
        "by_exponent": {str(e): share(row) for e, row in zip(CANDIDATES, right, strict=True)},
        "in_sample": {"exponent": CANDIDATES[best], **share(right[best])},
        "cross_validated": {"exponents": chosen, **share(held)},
    }


def on_publictest(logits: NDArray[np.float32], spec: Any, faces: Faces) -> dict[str, Any]:
    keep, winner = faces.majority()
    seven = np.array([FER7.classes.index(name) if name in FER7.classes else -1 for name in FERPLUS8])
    by_votes = np.where(keep, seven[np.where(keep, winner, 0)], -1)
    assert faces.votes is not None
    votes = vote_distribution(faces.votes)[:, PLUS_AS_FER]
    voted = votes.sum(axis=1) > 0
    votes = votes[voted] / votes[voted].sum(axis=1, keepdims=True)
    table = {}
    for exponent in CANDIDATES:
        s = scores(logits, spec, exponent)
        answer = s.argmax(axis=1)
        t = s[voted] / fit_temperature(s[by_votes >= 0], by_votes[by_votes >= 0])
        table[str(exponent)] = {
            "fer2013": round(float((answer == faces.labels).mean()), 4),
            "ferplus_majority": round(float((answer == by_votes)[by_votes >= 0].mean()), 4),
            "where_both_agree": round(float((answer == faces.labels)[faces.agreeing()].mean()), 4),
            "votes_cross_entropy": round(float(-(votes * log_softmax(t)).sum(axis=1).mean()), 4),
        }
    n = {"fer2013": len(faces), "ferplus_majority": int((by_votes >= 0).sum()), "where_both_agree": int(faces.agreeing().sum())}
    return {"n": n | {"votes_cross_entropy": int(voted.sum())}, "by_exponent": table}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", required=True, type=Path)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--ferplus", required=True, type=Path)
    parser.add_argument("--weights", nargs="+", default=["fer2013-n-v6", "fer2013-s-v6", "fer2013-b-v6"])
    parser.add_argument("--runtime", default="opencv")
    parser.add_argument("--out")
    args = parser.parse_args()

    photos, faces = read_photos(args.photos), read_faces(args.data, "PublicTest", args.ferplus)
    boxes = detected(photos, FaceDetector())
    found = np.array([face is not None for face in boxes])
    table = {}
    for weights in args.weights:
        classifier = ExpressionClassifier(weights, runtime=args.runtime)
        table[classifier.name] = {
            "photos": on_photos(classifier.logits(cut(photos, boxes, classifier.crop))[0], classifier.spec, found, photos),
            "publictest": on_publictest(classifier.logits(faces.images)[0], classifier.spec, faces),
        }
    record(args.out, {"exponents_of_ferplus": list(CANDIDATES), "folds": FOLDS, "by_weights": table})


if __name__ == "__main__":
    main()
