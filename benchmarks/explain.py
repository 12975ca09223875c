"""Do maps of evidence mean something? Deletion and insertion on PublicTest, beside random and centre-prior maps.

    python benchmarks/explain.py --data fer2013.csv [--weights fer2013-n-v6] [--faces 500] [--runtime onnxruntime] [--grad-cam]

For faces drawn from PublicTest the label that the classifier answers is explained, whether it is right or not. A map is believed: its
pixels are taken away (deletion, to the face's mean grey), or shown on the blurred face (insertion), the most important first, and the
label's probability is followed. The area under deletion should be small, under insertion large. Beside occlusion: a random map as
smooth as its own, one drawn pixel by pixel, and a Gaussian about the middle, which knows where faces have their features. Intervals: 95 %, bootstrap
over faces (10,000 draws), of the mean and of the difference to occlusion's on the same faces.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import cv2
import numpy as np

from ferkit import ExpressionClassifier
from ferkit.data import read_faces
from ferkit.explain import curves, grad_cam, occlusion

DRAWS = 10_000


def interval(values: np.ndarray, rng: np.random.Generator) -> tuple[float, float, float]:
    """Return the mean and its 95 % bootstrap interval."""
    means = np.concatenate([values[rng.integers(len(values), size=(500, len(values)))].mean(axis=1) for _ in range(DRAWS // 500)])
    return float(values.mean()), float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="fer2013.csv")
    parser.add_argument("--weights", default="fer2013-n-v6")
    parser.add_argument("--runtime", default="opencv")
    parser.add_argument("--faces", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--grad-cam", action="store_true", help="measure Grad-CAM too, which needs Keras")
    parser.add_argument("--only", nargs="+", help="measure these maps alone, beside occlusion")
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    images = read_faces(args.data, "PublicTest").images
    images = images[rng.permutation(len(images))[: args.faces]]
    classifier = ExpressionClassifier(args.weights, runtime=args.runtime)
    answers = classifier.predict_proba(images).argmax(axis=1)
    side = classifier.size
    across = np.arange(side) - (side - 1) / 2
    middle = np.exp(-(across[:, None] ** 2 + across[None] ** 2) / (2 * (side / 4) ** 2)).astype(np.float32)
    makers: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
        "occlusion": lambda face, k: occlusion(classifier, face)[k],
        "random, smooth": lambda _face, _k: cv2.resize(rng.random((12, 12), np.float32), (side, side), interpolation=cv2.INTER_CUBIC),
        "random, by pixel": lambda _face, _k: rng.random((side, side), np.float32),
        "centre prior": lambda _face, _k: middle,
    }
    if args.grad_cam:
        makers["grad-cam"] = lambda face, k: grad_cam(classifier, face)[k]
    makers = {name: make for name, make in makers.items() if args.only is None or name in ("occlusion", *args.only)}
    areas: dict[str, np.ndarray] = {}
    for name, make in makers.items():
        start = time.process_time()
        rows = []
        for face, k in zip(images, answers, strict=True):
            told = curves(classifier, face, make(face, int(k)), classifier.labels[int(k)])
            rows.append((told.deletion_auc, told.insertion_auc))
        areas[name] = np.array(rows)
        for column, what in enumerate(("deletion", "insertion")):
            mean, low, high = interval(areas[name][:, column], rng)
            line = {"map": name, "curve": what, "n": len(images), "auc": round(mean, 4), "ci95": [round(low, 4), round(high, 4)]}
            if name != "occlusion":
                apart = interval(areas["occlusion"][:, column] - areas[name][:, column], rng)
                line["occlusion_less_this"] = [round(value, 4) for value in apart]
            line["cpu_s"] = round(time.process_time() - start, 1)
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
