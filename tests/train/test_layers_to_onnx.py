"""Networks as ONNX, written from their layers: every engine answers what Keras answers, whatever the backend."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ferkit import InputError
from ferkit.engines.opencv import OpenCVEngine
from tests.helpers.faces import write_faces, write_fer_csv
from tests.helpers.training import needs_keras

pytestmark = [pytest.mark.train, needs_keras]
HEADS = {"fer2013": 7, "ferplus": 8}


def settled(network):  # type: ignore[no-untyped-def]
    """Give batch normalisation statistics that would show if they were lost."""
    import keras

    rng = np.random.default_rng(0)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            spread = {"gamma": (0.5, 1.5), "beta": (-0.3, 0.3), "moving_mean": (-0.3, 0.3), "moving_variance": (0.5, 2.0)}
            for name, (low, high) in spread.items():
                variable = getattr(layer, name)
                if variable is not None:
                    variable.assign(rng.uniform(low, high, tuple(variable.shape)).astype(np.float32))
    return network


def answers(data: bytes, batch: np.ndarray) -> list[np.ndarray]:
    """What OpenCV answers and, where it is installed, onnxruntime."""
    found = [OpenCVEngine(data).run(batch)]
    if importlib.util.find_spec("onnxruntime") is not None:
        import onnxruntime

        found.append(onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, {"face": batch})[0])
    return found


@pytest.mark.parametrize(
    ("name", "size"), [("tiny", 44), ("ferkit-n", 44), ("ferkit-n", 37), ("conv3", 48), ("conv4", 48), ("mini-xception", 64)]
)
def test_every_engine_answers_as_keras_does(name: str, size: int) -> None:
    from ferkit.train import build_model
    from ferkit.train.release.keras_to_onnx import difference, keras_outputs, to_onnx

    network = settled(build_model(name, HEADS, size=size))
    batch = np.random.default_rng(1).normal(size=(3, 1, size, size)).astype(np.float32)
    expected = keras_outputs(network, list(HEADS), batch)
    assert expected.shape == (3, 15)
    for answered in answers(to_onnx(network, list(HEADS), size), batch):
        assert difference(answered, expected) < 1e-5


def test_a_network_of_ones_own_is_written_too() -> None:
    """Colors, networks within networks, a layer that is used twice, and activations beyond ReLU."""
    import keras
    from keras import layers

    from ferkit.train.release.keras_to_onnx import difference, keras_outputs, to_onnx

    inner = keras.Sequential([keras.Input((None, None, 6)), layers.Conv2D(6, 3, padding="same"), layers.BatchNormalization()])
    face = keras.Input((None, None, 3))
    x = layers.Rescaling(2.0, -1.0)(face)
    x = layers.Conv2D(6, 3, strides=2, padding="same", activation="silu")(x)
    x = layers.Concatenate()([inner(inner(x)), layers.UpSampling2D()(layers.AveragePooling2D(2)(x))])
    x = layers.BatchNormalization()(layers.LeakyReLU()(layers.ZeroPadding2D(((1, 0), (2, 1)))(x)))
    x = layers.Conv2D(8, 3, groups=2, dilation_rate=2, padding="same", activation="hard_sigmoid")(x)
    x = layers.Dense(9, activation="tanh")(layers.GlobalMaxPooling2D()(x))
    network = settled(keras.Model(face, {"custom": layers.Dense(4, name="custom")(x)}))
    settled(inner)
    batch = np.random.default_rng(2).normal(size=(2, 3, 32, 32)).astype(np.float32)
    for answered in answers(to_onnx(network, ["custom"], 32), batch):
        assert difference(answered, keras_outputs(network, ["custom"], batch)) < 1e-5


def test_what_cannot_be_written_is_named() -> None:
    import keras
    from keras import layers

    from ferkit.train.release.keras_to_onnx import to_onnx

    face = keras.Input((16, 16, 1))
    flat = layers.Flatten()(face)
    for output, wanted in (
        (layers.LayerNormalization(name="odd")(flat), r"Layer 'odd' is a LayerNormalization, which the ONNX export does not know"),
        (layers.Dense(3, activation="mish", name="odd")(flat), r"Layer 'odd' \(Dense\) has the activation mish"),
    ):
        with pytest.raises(InputError, match=wanted):
            to_onnx(keras.Model(face, {"custom": output}), ["custom"], 16)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch", "tensorflow"])
def test_a_backend_trains_exports_predicts_and_finetunes(backend: str, recipe: Path, tmp_path: Path) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    data, photos = write_fer_csv(tmp_path / "fer2013.csv", 140, 21), write_faces(tmp_path / "photos", ("zig", "zag"), 8)
    env = os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}

    def ferkit(*arguments: object) -> str:
        command = [sys.executable, "-m", "ferkit", *map(str, arguments)]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=500, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    ferkit("train", "--recipe", recipe, "--data", data, "--out", tmp_path / "mine")
    assert f"Keras {__import__('keras').__version__} on {backend}" in (tmp_path / "mine" / "card.md").read_text(encoding="utf-8")
    picture = photos / "zig" / "0.png"
    shown = json.loads(ferkit("predict", picture, "--weights", tmp_path / "mine", "--detector", "none"))
    assert len(shown[0]["faces"][0]["probabilities"]) == 7
    ferkit("finetune", "--data", photos, "--out", tmp_path / "own", "--detector", "none", "--weights", tmp_path / "mine")
    shown = json.loads(ferkit("predict", picture, "--weights", tmp_path / "own", "--detector", "none"))
    assert set(shown[0]["faces"][0]["probabilities"]) == {"zig", "zag"}
