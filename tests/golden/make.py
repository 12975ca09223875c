"""Write the golden vectors of a release, once, when it is made: python -m tests.golden.make fer2013-s-v1 ferkit-face-v2"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from ferkit import FaceDetector
from ferkit.classifiers.ensemble import open_classifier
from ferkit.weights.releases import TABLE
from ferkit.weights.specs import load_classifier_spec
from ferkit.weights.store import resolve
from tests.helpers.detections import as_rows, resized
from tests.helpers.faces import patterns


def classifier(name: str) -> dict[str, np.ndarray]:
    outputs = [output.name for output in load_classifier_spec(resolve(name)).outputs]
    return {output: open_classifier(name, labels=output).predict_proba(patterns()) for output in outputs}


def detector() -> dict[str, np.ndarray]:
    from skimage import data

    return {str(scale): as_rows(FaceDetector("ferkit").detect(resized(data.astronaut(), scale))) for scale in (0.25, 1, 2)}


for name in sys.argv[1:]:
    answers = detector() if name in TABLE and TABLE[name].kind == "detector" else classifier(name)
    np.savez_compressed(Path(__file__).with_name(f"{name}.npz"), **answers)  # type: ignore[arg-type]
