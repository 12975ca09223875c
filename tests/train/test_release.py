"""Nothing is released whose ONNX file answers otherwise than its Keras network."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ferkit import FerkitError
from ferkit.data.faces import Faces
from ferkit.train.classifier.recipe import load_recipe
from tests.helpers.recipes import faces
from tests.helpers.training import needs_keras

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
pytestmark = [pytest.mark.train, needs_keras]


def louder(model: Any) -> Any:
    """The same network with the kernels of its dense layers scaled: a file that was written of the wrong weights."""
    import keras

    other = keras.models.clone_model(model)
    other.set_weights(model.get_weights())
    for layer in other.layers:
        if isinstance(layer, keras.layers.Dense):
            layer.kernel.assign(1.5 * np.asarray(layer.kernel))
    return other


@pytest.mark.parametrize("validation", [None, faces(35)], ids=["on patterns", "on faces"])
def test_a_network_whose_file_answers_otherwise(
    validation: Faces | None, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ferkit.train.classifier import release
    from ferkit.train.classifier.loop import build_from_recipe

    tiny = load_recipe(recipe)
    right = release.export_onnx
    monkeypatch.setattr(release, "export_onnx", lambda model, *rest: right(louder(model), *rest))
    with pytest.raises(FerkitError, match=r"Keras and ONNX differ by .* faces; at most 0\.0001 is allowed"):
        release.write_release(build_from_recipe(tiny), tiny, tmp_path, "wrong-v1", validation)
    assert not (tmp_path / "spec.json").exists()


def test_an_export_that_answers_otherwise(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ferkit.train.classifier.loop import build_from_recipe
    from ferkit.train.release import keras_to_onnx

    tiny = load_recipe(recipe)
    right = keras_to_onnx.to_onnx
    monkeypatch.setattr(keras_to_onnx, "to_onnx", lambda model, *rest: right(louder(model), *rest))
    with pytest.raises(FerkitError, match="differs from Keras by"):
        keras_to_onnx.export_onnx(build_from_recipe(tiny), tiny.head_names, tmp_path / "model.onnx", tiny.window)
    assert not (tmp_path / "model.onnx").exists()


def test_a_detector_whose_file_answers_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    from ferkit.train.detector import to_onnx
    from ferkit.train.detector.networks import build_detector

    small = {"widths": (8, 8, 8, 8, 8), "hidden": (0, 8, 8, 8), "blocks": (0, 0, 0, 0), "neck": 8}
    keras.utils.set_random_seed(1)
    model, other = build_detector(**small), build_detector(**small)
    assert to_onnx.checked_onnx(model, 64, 96) == to_onnx.to_onnx(model)
    right = to_onnx.to_onnx
    monkeypatch.setattr(to_onnx, "to_onnx", lambda _: right(other))
    with pytest.raises(FerkitError, match=r"Keras and ONNX differ by .* in 'stride"):
        to_onnx.checked_onnx(model, 64, 96)
