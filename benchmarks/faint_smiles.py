"""Faint smiles: faces that some people call happy and others neutral, by how many of FER+'s ten annotators say which.

PublicTest's faces with at least three votes for happy and three for neutral, the default output. Where happy has more votes, how often the
answer is happy; where neutral has more, how often it is neutral; and over all of them the mean probability of happy beside the mean share of
votes for it among these two. Then the photos whose majority of three readings is happy, all three agreeing or two of three. With several
weights each is compared with the first on the same faces.

    python benchmarks/faint_smiles.py --data fer2013.csv --ferplus fer2013new.csv --photos PHOTOS --weights fer2013-n-v6 fer2013-s-v6 \
        --out benchmarks/results/faint_smiles.json
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from _record import record
from numpy.typing import NDArray
from photos import TRUTHS, Photos, cut, detected, read_photos

from ferkit import FaceDetector
from ferkit.classifiers.ensemble import open_classifier
from ferkit.data import read_faces
from ferkit.data.faces import Faces, vote_distribution
from ferkit.evaluation.comparing import compare
from ferkit.evaluation.figures import wilson
from ferkit.labels import FER7, FERPLUS8

HAPPY, NEUTRAL = FER7.index("happy"), FER7.index("neutral")


def share(hits: NDArray[np.bool_]) -> dict[str, Any]:
    if not len(hits):
        return {"n": 0}
    return {"n": len(hits), "share": round(float(hits.mean()), 4), "ci95": [round(v, 4) for v in wilson(int(hits.sum()), len(hits))]}


def of_faces(probabilities: NDArray[np.float32], faces: Faces) -> dict[str, Any]:
    """Measure answers on faces that are all between happy and neutral."""
    assert faces.votes is not None
    votes = vote_distribution(faces.votes)[:, [FERPLUS8.index("happy"), FERPLUS8.index("neutral")]]
    smiling = votes[:, 0] / votes.sum(axis=1)
    answers = probabilities.argmax(axis=1)
    pair = probabilities[:, [HAPPY, NEUTRAL]].astype(np.float64)
    return {
        "n": len(faces),
        "happy has more votes": share(answers[smiling > 0.5] == HAPPY),
        "as many": share(answers[smiling == 0.5] == HAPPY),
        "neutral has more votes": share(answers[smiling < 0.5] == NEUTRAL),
        "mean share of votes for happy": round(float(smiling.mean()), 4),
        "mean probability of happy": round(float((pair[:, 0] / pair.sum(axis=1)).mean()), 4),
        "neither": share(~np.isin(answers, (HAPPY, NEUTRAL))),
    }


def of_photos(answers: NDArray[Any], photos: Photos) -> dict[str, Any]:
    """Measure answers, "" where no face was found, on the photos that the majority calls happy."""
    agreed, majority = photos.truths[TRUTHS[0]], photos.truths[TRUTHS[1]]
    kinds = {"all three say happy": agreed == "happy", "two of three say happy": (majority == "happy") & (agreed != "happy")}
    return {
        name: {**share(answers[own] == "happy"), "else": dict(Counter(str(a) for a in answers[own] if a != "happy"))}
        for name, own in kinds.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--ferplus", required=True)
    parser.add_argument("--photos", required=True, type=Path)
    parser.add_argument("--weights", nargs="+", required=True)
    parser.add_argument("--runtime", default="onnxruntime")
    parser.add_argument("--out")
    args = parser.parse_args()

    public = read_faces(args.data, "PublicTest", args.ferplus)
    assert public.votes is not None
    own = public.faint_smiles()
    faces = Faces(public.images[own], public.labels[own], public.label_set, public.votes[own])
    photos = read_photos(args.photos)
    found = detected(photos, FaceDetector())
    shown = np.array([face is not None for face in found])
    results: dict[str, Any] = {}
    first: NDArray[np.bool_] | None = None
    for weights in args.weights:
        classifier = open_classifier(weights, runtime=args.runtime)
        probabilities = classifier.predict_proba(faces.images)
        answers = np.full(len(shown), "", object)
        answers[shown] = np.array(FER7.classes)[classifier.predict_proba(cut(photos, found, classifier.crop)).argmax(axis=1)]
        happy = probabilities.argmax(axis=1) == HAPPY
        results[classifier.name] = {"PublicTest": of_faces(probabilities, faces), "photos": of_photos(answers, photos)}
        if first is not None:
            results[classifier.name]["called happy, against the first"] = compare(first, happy)
        first = happy if first is None else first
    record(args.out, {"output": "photos", "by_weights": results})


if __name__ == "__main__":
    main()
