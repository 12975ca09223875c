"""The exported network answers as Keras does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ferkit import ExpressionClassifier, FerkitError
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


@needs_keras
def test_export_refuses_a_wrong_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: Path) -> None:
    from ferkit.engines import opencv
    from ferkit.train.classifier.loop import build_from_recipe
    from ferkit.train.release.keras_to_onnx import export_onnx

    tiny = load_recipe(recipe)
    monkeypatch.setattr(opencv.OpenCVEngine, "run", lambda self, batch: np.zeros((len(batch), 7), np.float32))
    with pytest.raises(FerkitError, match="differs from Keras"):
        export_onnx(build_from_recipe(tiny), tiny.head_names, tmp_path / "m.onnx")
    assert list(tmp_path.glob("*.onnx")) == []
