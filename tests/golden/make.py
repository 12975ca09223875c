"""Write the golden vectors of a release, once, when it is made: python -m tests.golden.make fer2013-s-v1"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from tests.conftest import patterns

from ferkit import ExpressionClassifier

for name in sys.argv[1:]:
    outputs = [output.name for output in ExpressionClassifier(name).spec.outputs]
    answers = {output: ExpressionClassifier(name, labels=output).predict_proba(patterns()) for output in outputs}
    np.savez_compressed(Path(__file__).with_name(f"{name}.npz"), **answers)  # type: ignore[arg-type]
