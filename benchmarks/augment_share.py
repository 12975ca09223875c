"""What augmentation costs one of N processes that train together, beside one that trains alone: CPU seconds, one thread.

python benchmarks/augment_share.py [--batches 20]

Each process draws the chances of the whole batch, and resizes and warps its own rows: at N = 4 at most 0.35 of the time is wanted.
"""

from __future__ import annotations

import argparse
import os
import time

os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from ferkit.data.faces import Faces
from ferkit.labels import FER7
from ferkit.train.classifier.augment import FaceAugmentation
from ferkit.train.classifier.batches import Batches
from ferkit.train.classifier.recipe import load_recipe
from ferkit.train.common.ranks import Ranks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--recipe", default="ferkit-s")
    arguments = parser.parse_args()
    recipe = load_recipe(arguments.recipe)
    augment = FaceAugmentation(**recipe.augment)
    size = int(recipe.training["batch_size"])
    rng = np.random.default_rng(0)
    count = size * arguments.batches
    faces = Faces(rng.integers(0, 256, (count, 48, 48), dtype=np.uint8), np.arange(count) % len(FER7), FER7)
    spent = {}
    for workers in (1, 2, 4):
        batches = Batches(faces, recipe, augment, epoch=0, ranks=Ranks(workers, 0))
        batches[0]  # the first one compiles
        began = time.process_time()
        for number in range(1, arguments.batches):
            batches[number]
        spent[workers] = time.process_time() - began
        share = spent[workers] / spent[1]
        print(
            f"| {arguments.recipe}, batches of {size} | {workers} | {1000 * spent[workers] / (arguments.batches - 1):.1f} CPU ms a batch | {share:.2f} |"
        )


if __name__ == "__main__":
    main()
