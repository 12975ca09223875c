"""What eight-bit integers would cost and give: accuracy on PublicTest, ms and bytes of weights quantised after training.

Weights and activations by onnxruntime's static quantisation (QDQ; a scale for each channel of the weights), activations' ranges from
Training faces. Only onnxruntime runs such a file fast; nothing of it is released.

    python benchmarks/int8.py --data fer2013.csv --weights fer2013-s-v3 --out benchmarks/results/int8.json
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from _record import record
from latency import milliseconds

from ferkit import ExpressionClassifier
from ferkit.crops import centre, normalised
from ferkit.data.faces import read_csv
from ferkit.evaluation.figures import wilson
from ferkit.train.release.quantising import quantised
from ferkit.weights.hashes import file_entry
from ferkit.weights.specs import SPEC_FILE, load_spec
from ferkit.weights.store import resolve

MODEL = "model.onnx"
METHODS = ("MinMax", "Percentile")


def with_int8(source: Path, folder: Path, faces: np.ndarray, method: str) -> Path:
    """Write a copy of weights whose network computes in int8; the faces give the activations' ranges."""
    shutil.copytree(source, folder)
    spec = json.loads((folder / SPEC_FILE).read_text(encoding="utf-8"))
    settings = spec["input"]
    seen = centre(faces, settings.get("window", settings["size"]))[:, None]
    batches = np.array_split(normalised(seen, settings), -(-len(faces) // 64))
    (folder / MODEL).write_bytes(quantised((source / MODEL).read_bytes(), batches, method))
    spec["files"][MODEL] = file_entry((folder / MODEL).read_bytes())
    (folder / SPEC_FILE).write_text(json.dumps(spec), encoding="utf-8")
    return folder


def median_ms(classifier: ExpressionClassifier, faces: np.ndarray, runs: int) -> float:
    return milliseconds(lambda: classifier.predict_proba(faces), runs)["median_ms"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--weights", nargs="+", required=True)
    parser.add_argument("--faces", type=int, default=1024, help="of Training, for the activations' ranges")
    parser.add_argument("--out")
    args = parser.parse_args()

    test = read_csv(args.data, "PublicTest")
    training = read_csv(args.data, "Training").images
    training = training[np.random.default_rng(0).permutation(len(training))[: args.faces]]
    figures: dict[str, dict[str, dict[str, Any]]] = {}
    for name in args.weights:
        source = resolve(name)
        rows = figures[name] = {}
        with tempfile.TemporaryDirectory() as temporary:
            folders = {"as released": source} | {
                f"int8, {method}": with_int8(source, Path(temporary) / method, training, method) for method in METHODS
            }
            answers: dict[str, np.ndarray] = {}
            for kind, folder in folders.items():
                classifier = ExpressionClassifier(str(folder), runtime="onnxruntime")
                answers[kind] = classifier.predict_proba(test.images).argmax(axis=1)
                right = int((answers[kind] == test.labels).sum())
                rows[kind] = {
                    "n": len(test.labels),
                    "accuracy": round(100 * right / len(test.labels), 2),
                    "interval": [round(100 * bound, 2) for bound in wilson(right, len(test.labels))],
                    "answers_changed": int((answers[kind] != answers["as released"]).sum()),
                    "bytes": load_spec(folder).files[MODEL]["size"],
                    "ms_one_face": median_ms(classifier, test.images[:1], 300),
                    "ms_each_of_64": round(median_ms(classifier, test.images[:64], 40) / 64, 3),
                }
    record(args.out, {"figures": figures})


if __name__ == "__main__":
    main()
