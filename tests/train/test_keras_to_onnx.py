"""The exported network answers as Keras does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ferkit import ExpressionClassifier
from ferkit.train.classifier.recipe import load_recipe
from tests.helpers.training import needs_keras

pytestmark = pytest.mark.train


@needs_keras
@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.parametrize(("name", "limit"), [(None, 1e-4), ("fer2013-n-v6", 1e-2), ("fer2013-s-v6", 1e-2)])  # float32; stored as float16
def test_keras_and_onnx_agree(fer_csv: tuple[Path, Path], in_float32: Path, name: str | None, limit: float) -> None:
    import keras

    from ferkit.data.faces import read_csv
    from ferkit.train.release.keras_to_onnx import keras_outputs
    from ferkit.weights.store import resolve

    folder = in_float32 if name is None else resolve(name)
    classifier = ExpressionClassifier(folder)
    faces = read_csv(fer_csv[0], "PublicTest").images[:256]
    model = keras.models.load_model(folder / "model.keras")
    expected = keras_outputs(model, load_recipe("ferkit-s").head_names, classifier.normalise(faces))
    assert np.abs(classifier.logits(faces)[0] - expected).max() < limit
