"""Bare model files as classifiers."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from ferkit import ExpressionClassifier, InputError, WeightsError
from ferkit.classifiers.model_file import ModelFileClassifier
from ferkit.cli.main import main
from tests.helpers.faces import write_fer_csv

pytestmark = pytest.mark.train


def test_a_bare_onnx_file_is_measured(crops: np.ndarray, tmp_path: Path) -> None:
    """ferkit's own network as a stranger: told what its spec says, it gives the same answers."""
    pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    from ferkit.crops import centre
    from ferkit.weights.store import resolve

    ours = ExpressionClassifier(labels="fer2013")
    path = resolve() / "model.onnx"
    names = [f"c{i}" for i in range(15)]
    spec = ours.spec.input
    peer = ModelFileClassifier(path, labels=names, input_size=44, mean=spec["mean"], std=spec["std"])
    seen = centre(ours.prepare(crops), 44)
    logits = ours.logits(crops)[0]
    expected = np.exp(logits - logits.max(axis=1, keepdims=True))
    assert np.abs(peer.predict_proba(seen) - expected / expected.sum(axis=1, keepdims=True)).max() < 1e-4
    assert peer.predict_proba([]).shape == (0, 15)
    flipped = ModelFileClassifier(path, labels=names, input_size=44, tta="flip").predict_proba(seen)
    assert np.abs(flipped - ModelFileClassifier(path, labels=names, input_size=44, tta="flip").predict_proba(seen[:, :, ::-1])).max() < 1e-6
    for one in (crops[0], crops[0] / 255, "face.jpg"):
        with pytest.raises(InputError, match="expected"):
            peer.predict_proba(one)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="15 numbers for 7 labels"):
        ModelFileClassifier(path, input_size=44)
    with pytest.raises(InputError, match="expected one of"):
        ModelFileClassifier("model.pt")
    with pytest.raises(WeightsError, match="does not exist"):
        ModelFileClassifier(tmp_path / "none.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    with pytest.raises(WeightsError, match="cannot be read as an ONNX network"):
        ModelFileClassifier(tmp_path / "bad.onnx")
    with pytest.raises(InputError, match="for a bare model file"):
        ModelFileClassifier(path, input_size=44, tta=10)


@pytest.mark.slow
@pytest.mark.skipif(any(importlib.util.find_spec(n) is None for n in ("tensorflow", "ai_edge_litert")), reason="needs the train extra")
def test_bare_keras_and_tflite_files_agree(tmp_path: Path, crops: np.ndarray) -> None:
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    inputs = keras.Input((32, 32, 3))
    hidden = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3, activation="relu")(inputs))
    model = keras.Model(inputs, keras.layers.Dense(7, activation="softmax")(hidden))
    model.save(tmp_path / "m.keras")
    model.export(str(tmp_path / "saved"), verbose=False)
    (tmp_path / "m.tflite").write_bytes(tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "saved")).convert())
    first, second = (ModelFileClassifier(tmp_path / name).predict_proba(crops) for name in ("m.keras", "m.tflite"))
    assert first.shape == (len(crops), 7)
    assert np.abs(first - second).max() < 1e-4
    small = ModelFileClassifier(tmp_path / "m.keras").prepare(crops)
    grey = np.repeat(small[:4].mean(axis=-1, keepdims=True), 3, axis=-1).astype(np.float32)
    assert np.abs(keras.ops.convert_to_numpy(model(grey / 255)) - first[:4]).max() < 1e-3  # a grey face is repeated thrice
    data = write_fer_csv(tmp_path / "fer2013.csv", 7, 7)
    done = CliRunner().invoke(main, ["evaluate", "--data", str(data), "--weights", str(tmp_path / "m.tflite"), "--format", "json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["weights"] == "m.tflite"
