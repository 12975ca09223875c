"""Reads pictures with `fer` or with ferkit, in whichever environment has it: benchmarks/peers.py starts it.

Takes a job as JSON on standard input, {"package", "mode": "photos", "crops" or "fer2013", "files"}, and prints {"answers"}: the label of each
picture's largest face, or null without one. Otherwise the library's network sees the whole picture.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable


def with_fer(mode: str, mtcnn: bool) -> Callable[[str], str | None]:
    import cv2
    import numpy as np
    import torch  # noqa: F401 - before TensorFlow, or the process aborts once MTCNN is asked for
    from fer.fer import FER

    reader = FER(mtcnn=mtcnn)
    labels = list(reader._get_labels().values())
    size = reader._FER__emotion_target_size

    def photo(path: str) -> str | None:
        faces = reader.detect_emotions(cv2.imread(path))
        if not faces:
            return None
        largest = max(faces, key=lambda face: face["box"][2] * face["box"][3])
        return max(largest["emotions"], key=largest["emotions"].get)

    def crop(path: str) -> str:
        grey = cv2.resize(cv2.imread(path, cv2.IMREAD_GRAYSCALE), size).astype(np.float32)
        return labels[int(np.argmax(reader._classify_emotions((grey[None] / 255 - 0.5) * 2)[0]))]

    return photo if mode == "photos" else crop


def with_ferkit(mode: str) -> Callable[[str], str | None]:
    from ferkit import ExpressionClassifier, Pipeline, load_image

    if mode != "photos":
        classifier = ExpressionClassifier(labels="fer2013" if mode == "fer2013" else None)
        return lambda path: classifier.predict([load_image(path)])[0].label
    pipeline = Pipeline()

    def photo(path: str) -> str | None:
        faces = pipeline(path).faces
        expression = faces[0].expression if faces else None
        return expression.label if expression else None

    return photo


def main() -> None:
    job = json.load(sys.stdin)
    package = job["package"]
    read = with_ferkit(job["mode"]) if package == "ferkit" else with_fer(job["mode"], mtcnn=package == "fer, MTCNN")
    print(json.dumps({"answers": [read(path) for path in job["files"]]}))


if __name__ == "__main__":
    main()
