"""The mean of two networks' weights: weights that photo_heads.py fits heads on. With --settle, batch normalisation is settled anew on Training faces.

Networks begun from one another lie in one valley, where the mean is often as good as both (Wortsman et al., "Model soups", ICML 2022).

    python benchmarks/mean_weights.py weights/superseded/fer2013-s-v5 runs/fer2013-s-v6 --recipe ferkit-s-v6 --data fer2013.csv --votes fer2013new.csv \\
        --out runs/fer2013-s-mean
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np

from ferkit import ExpressionClassifier
from ferkit.data import read_faces

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
BATCHES, BATCH = 60, 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("--share", type=float, default=0.5, help="of the second")
    parser.add_argument("--settle", action="store_true")
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--votes", required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()

    from ferkit.train.classifier.inputs import normalise, prepare
    from ferkit.train.classifier.recipe import load_recipe
    from ferkit.train.classifier.release import Origin, write_release
    from ferkit.train.common.averaging import settle
    from ferkit.train.common.keras_weights import load_keras

    recipe = load_recipe(args.recipe)
    base = ExpressionClassifier(args.first)
    model, other = load_keras(args.first, base), load_keras(args.second, ExpressionClassifier(args.second))
    for mine, its in zip(model.weights, other.weights, strict=True):
        mine.assign((1 - args.share) * np.array(mine) + args.share * np.array(its))
    if args.settle:
        images = read_faces(args.data, "Training").images
        rows = np.random.default_rng(0).permutation(len(images))[: BATCHES * BATCH].reshape(BATCHES, BATCH)
        settle(model, (normalise(prepare(images[own], recipe), recipe) for own in rows))
    public = read_faces(args.data, "PublicTest", args.votes)
    source = Origin(licence=base.spec.licence, source=base.spec.training["source"])
    for row in write_release(model, recipe, args.out, args.out.name, public, source, views=(1,)).metrics:
        print(row["labels"], row["truth"], row["n"], row["accuracy"])


if __name__ == "__main__":
    main()
