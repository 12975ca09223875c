"""Networks of other makers, adopted: fed as they want, in every command, and never trusted."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import ferkit
from ferkit import Ensemble, ExpressionClassifier, InputError, LabelSet, Pipeline, WeightsError, adopt
from tests.helpers.commands import ferkit as command
from tests.helpers.foreign import onnx_network

pytest.importorskip("onnx", reason="networks are written with onnx")
ort = pytest.importorskip("onnxruntime", reason="the answers are compared with onnxruntime's")
LABELS = ("angry", "happy", "sad")
needs_keras = pytest.mark.skipif(any(importlib.util.find_spec(n) is None for n in ("keras", "tensorflow")), reason="needs the train extra")


def faces(count: int = 5, side: int = 32) -> np.ndarray:
    rng = np.random.default_rng(3)
    colors = rng.integers(0, 200, (max(count, 5), 1, 1, 3))[:count]
    return (colors + rng.integers(0, 56, (count, side, side, 3))).astype(np.uint8)


def directly(path: Path, batch: np.ndarray, output: str) -> np.ndarray:
    session = ort.InferenceSession(str(path))
    return np.concatenate([session.run([output], {"picture": one[None]})[0] for one in batch])


IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
KINDS: dict[str, tuple[dict[str, Any], dict[str, Any], Any]] = {
    "0-255": ({"scale": 0.01}, {"pixels": "0-255"}, lambda x: x),
    "0-1": ({}, {}, lambda x: x / 255),
    "imagenet": ({"batch": "n"}, IMAGENET, lambda x: (x / 255 - IMAGENET["mean"]) / IMAGENET["std"]),
    "caffe": (
        {"scale": 0.01},
        {"pixels": "0-255", "mean": [104.0, 117.0, 123.0], "order": "bgr"},
        lambda x: x[..., ::-1] - [104.0, 117.0, 123.0],
    ),
    "nhwc": ({"layout": "nhwc", "batch": 2}, {"mean": 0.5, "std": 0.5}, lambda x: (x / 255 - 0.5) / 0.5),
    "uint8": ({"scale": 0.01, "layout": "nhwc", "dtype": "uint8"}, {}, lambda x: x),
    "several outputs": ({"answers": 2, "scale": 0.01}, {"output_tensor": "shares", "pixels": "0-255"}, lambda x: x),
    "open size": ({"side": "any", "batch": "n"}, {"input_size": 32}, lambda x: x / 255),
    "logits": ({"softmax": False}, {}, lambda x: x / 255),
    "weights in a file": ({"external": "data/weights.bin"}, {}, lambda x: x / 255),
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_adopted_network_answers_as_its_maker_would_run_it(kind: str, tmp_path: Path) -> None:
    made, told, scaled = KINDS[kind]
    path = onnx_network(tmp_path / "theirs.onnx", **made)
    if made.get("batch") == 2:
        expected_batch = ort.InferenceSession(str(path)).run(None, {"picture": scaled(faces(2)).astype(np.float32)})[0]
    folder = adopt(path, tmp_path / "ours", labels=LABELS, **told)
    path.unlink()
    for beside in tmp_path.glob("data/*"):
        beside.unlink()  # everything is in the folder
    classifier = ExpressionClassifier(folder)
    answer = classifier.predict_proba(faces())
    assert classifier.predict_proba(faces(0)).shape == (0, 3)
    assert np.abs(answer.sum(axis=1) - 1).max() < 1e-5
    onnx_network(path, **made)
    fed = scaled(faces().astype(np.float64))
    batch = fed if made.get("layout") == "nhwc" else np.moveaxis(fed, -1, 1)
    dtype = np.uint8 if made.get("dtype") == "uint8" else np.float32
    if made.get("batch") == 2:
        assert np.abs(answer[:2] - expected_batch).max() < 1e-4
        return
    expected = directly(path, batch.astype(dtype), "shares" if made.get("softmax", True) else "scores")
    if not made.get("softmax", True):
        expected = np.exp(expected) / np.exp(expected).sum(axis=1, keepdims=True)
    assert np.abs(answer - expected).max() < 1e-4
    assert np.ptp(answer, axis=0).max() > 0.01  # or the comparison would show nothing
    features = classifier.features(faces())
    assert features.shape == (5, 8)
    assert np.abs(ExpressionClassifier(folder, runtime="onnxruntime").predict_proba(faces()) - answer).max() < 1e-4


def test_grey_networks_and_crops_of_any_kind(tmp_path: Path) -> None:
    folder = adopt(onnx_network(tmp_path / "grey.onnx", channels=1), tmp_path / "grey", labels=LABELS)
    grey = faces()[..., 0]
    color = adopt(onnx_network(tmp_path / "color.onnx"), tmp_path / "color", labels=LABELS)
    assert ExpressionClassifier(folder).prepare(faces()).shape == (5, 32, 32)
    assert ExpressionClassifier(color).prepare(grey).shape == (5, 32, 32, 3)
    flipped = ExpressionClassifier(color, tta="flip")
    assert np.abs(flipped.predict_proba(faces()) - flipped.predict_proba(faces()[:, :, ::-1])).max() < 1e-5
    assert ExpressionClassifier(color, tta=10).predict_proba(faces(2, 40)).shape == (2, 3)
    both = Ensemble([folder, color])
    assert both.prepare(faces(2, 50)).shape == (2, 32, 32, 3)
    mean = (ExpressionClassifier(folder).predict_proba(faces()) + ExpressionClassifier(color).predict_proba(faces())) / 2
    assert np.abs(both.predict_proba(faces()) - mean).max() < 1e-5
    saved = Ensemble.from_pretrained(both.save(tmp_path / "both"))
    assert np.abs(saved.predict_proba(faces()) - mean).max() < 1e-5


def test_every_command_takes_an_adopted_network(tmp_path: Path, photo: Path) -> None:
    path = onnx_network(tmp_path / "theirs.onnx", side=48)
    folder = tmp_path / "theirs"
    made = command("adopt", path, "--labels", ",".join(LABELS), "--pixels", "0-255", "--order", "bgr", "--out", folder)
    assert made.stdout.strip() == str(folder)
    assert "48x48 pixels, bgr, float32, nchw, probabilities" in made.stderr
    found = json.loads(command("predict", photo, "--weights", folder).stdout)[0]
    assert set(found["faces"][0]["probabilities"]) == set(LABELS)
    assert Pipeline(classifier=folder)(photo).faces[0].expression.label in LABELS
    for label in LABELS:
        (tmp_path / "data" / label).mkdir(parents=True)
        for number, face in enumerate(faces(3, 48)):
            Image.fromarray(face).save(tmp_path / "data" / label / f"{number}.png")
    report = json.loads(
        command("evaluate", "--data", tmp_path / "data", "--weights", folder, "--detector", "none", "--format", "json").stdout
    )
    assert (report["n"], report["weights"]) == (9, "theirs")
    command("ensemble", folder, onnx_second(tmp_path), "--out", tmp_path / "both")
    assert "disagreement" in json.loads(command("predict", photo, "--weights", tmp_path / "both").stdout)[0]["faces"][0]
    assert command("weights", "verify", folder).exit_code == 0
    command("explain", photo, "--weights", folder, "--out", tmp_path / "why.png")


def onnx_second(tmp_path: Path) -> Path:
    return adopt(onnx_network(tmp_path / "second.onnx", seed=4), tmp_path / "second", labels=LABELS)


def test_the_service_offers_an_adopted_network(tmp_path: Path, photo: Path) -> None:
    pytest.importorskip("fastapi", reason="needs the serve extra")
    from fastapi.testclient import TestClient

    from ferkit.serve.app import create_app
    from ferkit.serve.settings import Settings

    folder = adopt(onnx_network(tmp_path / "theirs.onnx"), tmp_path / "theirs", labels=LABELS, pixels="0-255")
    with TestClient(create_app(Settings(weights=(str(folder),)))) as client:
        answer = client.post("/v1/predict", files={"image": ("x.jpg", photo.read_bytes())})
        assert answer.status_code == 200, answer.text
        assert set(answer.json()["images"][0]["faces"][0]["probabilities"]) == set(LABELS)


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "several outputs": ({"answers": 2}, {}, r"answers flat float32 \(1, 8\), shares float32 \(1, 3\); name the one"),
    "no such output": ({}, {"output_tensor": "logits"}, "has no output 'logits'; expected one of shares"),
    "labels": ({}, {"labels": ("a", "b")}, "answers 3 numbers for 2 labels"),
    "letters": ({}, {"labels": "sad"}, "Unknown label set 'sad'; expected one of fer2013, .*, or a sequence of class names"),
    "open size": ({"side": "any"}, {}, "pictures of any size"),
    "another size": ({}, {"input_size": 64}, "squares of 32 pixels; expected that side instead of 64"),
    "0-255 means": ({}, {"mean": [104, 117, 123]}, "give pixels='0-255'"),
    "two means": ({}, {"mean": [0.5, 0.5]}, "one for each of the network's 3 channel"),
    "std": ({}, {"std": 0}, "expected numbers above 0"),
    "scaled bytes": ({"dtype": "uint8", "layout": "nhwc"}, {"mean": 0.5}, "takes uint8 pictures"),
    "layout": ({"layout": "nhwc"}, {"layout": "nchw"}, "as nchw; expected one grey or RGB square"),
    "logits as shares": ({"softmax": False}, {"activation": "probabilities"}, "below 0"),
    "order": ({}, {"order": "grb"}, "expected rgb or bgr"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_contradicts_the_file_is_refused_before_anything_is_written(kind: str, tmp_path: Path) -> None:
    made, told, message = REFUSED[kind]
    path = onnx_network(tmp_path / "theirs.onnx", **made)
    with pytest.raises(InputError, match=message):
        adopt(path, tmp_path / "ours", **{"labels": LABELS, **told})
    assert not (tmp_path / "ours").exists()


@pytest.mark.parametrize("place", ["../outside.bin", "/etc/hostname", "link.bin", "", "missing.bin"])
def test_an_onnx_file_reads_nothing_outside_of_its_folder(place: str, tmp_path: Path) -> None:
    import onnx

    (tmp_path / "outside.bin").write_bytes(b"\0" * 4096)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link.bin").symlink_to(tmp_path / "outside.bin")
    path = onnx_network(tmp_path / "in" / "theirs.onnx", external="weights.bin")
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            entry.value = place if entry.key == "location" else entry.value
    path.write_bytes(model.SerializeToString())
    with pytest.raises(WeightsError, match="not a file in its own folder"):
        adopt(path, tmp_path / "ours", labels=LABELS)
    folder = adopt(onnx_network(tmp_path / "whole.onnx"), tmp_path / "whole", labels=LABELS)
    data = path.read_bytes()
    (folder / "model.onnx").write_bytes(data)
    spec = json.loads((folder / "spec.json").read_text())
    spec["files"]["model.onnx"] = {"sha256": __import__("hashlib").sha256(data).hexdigest(), "size": len(data)}
    (folder / "spec.json").write_text(json.dumps(spec))
    for runtime in ("opencv", "onnxruntime"):
        with pytest.raises(WeightsError):  # weights that were made so by hand read nothing either
            ExpressionClassifier(folder, runtime=runtime)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("offset", "sixteen", "cannot be read as an ONNX network"),
        ("length", "", "cannot be read as an ONNX network"),
        ("offset", "-1", "wants bytes -1 to 95 of 'weights.bin', which has 112"),
        ("offset", "17", "wants bytes 17 to 113"),
        ("length", "-4", "wants bytes 16 to 12"),
    ],
)
def test_weights_that_are_not_where_the_file_says(key: str, value: str, said: str, tmp_path: Path) -> None:
    import onnx

    path = onnx_network(tmp_path / "theirs.onnx", external="weights.bin")
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            entry.value = value if entry.key == key else entry.value
    path.write_bytes(model.SerializeToString())
    with pytest.raises(WeightsError, match=said):
        adopt(path, tmp_path / "ours", labels=LABELS)


@pytest.mark.train
@needs_keras
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own writer of HDF5
def test_a_keras_file_that_names_code_is_refused(tmp_path: Path) -> None:
    import keras

    ran = tmp_path / "ran"
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Lambda(lambda t: t * 2)(inputs))
    keras.Model(inputs, keras.layers.Dense(3)(x)).save(tmp_path / "lambda.keras")
    keras.Model(inputs, keras.layers.Dense(3)(x)).save(tmp_path / "lambda.h5")
    plain = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(inputs)))
    plain.save(tmp_path / "plain.keras")
    for number, layer in enumerate(
        [
            {"module": "os", "class_name": "function", "config": "system", "registered_name": "function"},
            {"module": "keras.utils", "class_name": "get_file", "config": {"origin": ran.as_uri()}, "registered_name": None},
            {"module": "keras.layers", "class_name": "TFSMLayer", "config": {"filepath": str(ran)}, "registered_name": None},
            {"module": "builtins", "class_name": "function", "config": "eval", "registered_name": "function"},
            {"module": "keras.config", "class_name": "enable_unsafe_deserialization", "config": {}, "registered_name": None},
        ]
    ):
        import zipfile

        with zipfile.ZipFile(tmp_path / "plain.keras") as old, zipfile.ZipFile(tmp_path / f"code{number}.keras", "w") as new:
            for name in old.namelist():
                content = old.read(name)
                if name == "config.json":
                    table = json.loads(content)
                    table["config"]["layers"][-1]["config"]["activation"] = layer
                    content = json.dumps(table).encode()
                new.writestr(name, content)
    for path in [tmp_path / "lambda.keras", tmp_path / "lambda.h5", *sorted(tmp_path.glob("code*.keras"))]:
        with pytest.raises(WeightsError, match="runs code that the file names, or reads other files"):
            adopt(path, tmp_path / "ours", labels=LABELS)
    assert not ran.exists()
    folder = adopt(tmp_path / "plain.keras", tmp_path / "plain", labels=LABELS, pixels="0-255")
    expected = keras.ops.convert_to_numpy(plain(faces(3, 16).astype(np.float32)))
    expected = np.exp(expected - expected.max(axis=1, keepdims=True))
    assert np.abs(ExpressionClassifier(folder).predict_proba(faces(3, 16)) - expected / expected.sum(axis=1, keepdims=True)).max() < 1e-5
    assert np.array_equal(Ensemble([folder]).predict_proba(faces(3, 16)).argmax(axis=1), expected.argmax(axis=1))
    with pytest.raises(InputError, match="one network twice"):
        Ensemble([folder, folder])
    with pytest.raises(InputError, match="are onnxruntime's"):
        ExpressionClassifier(folder, providers=["cpu"])
    with pytest.raises(WeightsError, match="gives no features"):
        ExpressionClassifier(folder).features(faces(1))


@pytest.mark.slow
@pytest.mark.train
@needs_keras
@pytest.mark.parametrize("quantised", [False, True])
def test_litert_files(tmp_path: Path, quantised: bool) -> None:
    pytest.importorskip("ai_edge_litert", reason="needs ai-edge-litert")
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    inputs = keras.Input((24, 24, 3), batch_size=1)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3, strides=2, activation="relu")(inputs))
    network = keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(x))
    network.export(str(tmp_path / "saved"), verbose=False)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "saved"))
    if quantised:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([face[None].astype(np.float32) / 255] for face in faces(20, 24))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.uint8
    (tmp_path / "theirs.tflite").write_bytes(converter.convert())
    folder = adopt(tmp_path / "theirs.tflite", tmp_path / "ours", labels=LABELS)
    expected = np.concatenate([keras.ops.convert_to_numpy(network(face[None].astype(np.float32) / 255)) for face in faces(4, 24)])
    assert np.abs(ExpressionClassifier(folder).predict_proba(faces(4, 24)) - expected).max() < (0.02 if quantised else 1e-5)


def test_a_new_folder_and_nothing_else(tmp_path: Path) -> None:
    path = onnx_network(tmp_path / "theirs.onnx")
    adopt(path, tmp_path / "ours", labels=LABELS, crop="fer2013-s-v6", name="theirs-v1")
    assert ExpressionClassifier(tmp_path / "ours").name == "theirs-v1"
    assert ExpressionClassifier(tmp_path / "ours").crop == ExpressionClassifier("fer2013-s-v6").crop
    with pytest.raises(InputError, match="already exists"):
        adopt(path, tmp_path / "ours", labels=LABELS)
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    with pytest.raises(WeightsError, match="cannot be read as an ONNX network"):
        adopt(tmp_path / "bad.onnx", tmp_path / "other", labels=LABELS)
    assert ferkit.adopt is adopt


def sigmoids(path: Path) -> Path:
    """A network whose three answers are true or not each by itself, from one whose scores are known."""
    import onnx
    from onnx import helper

    model = onnx.load(onnx_network(path, softmax=False, scale=0.01))
    model.graph.node.append(helper.make_node("Sigmoid", ["scores"], ["each"]))
    model.graph.output[0].name = "each"
    onnx.save(model, path)
    return path


def test_a_network_of_sigmoids_is_no_softmax(tmp_path: Path) -> None:
    """Taken as logits, its answers would all be about a third: it is refused, unless what it is is said."""

    path, names = sigmoids(tmp_path / "each.onnx"), ("a", "b", "c")
    with pytest.raises(InputError, match=r"do not sum to 1.*kind='labels'"):
        adopt(path, tmp_path / "out", labels=names, pixels="0-255")
    assert (
        ExpressionClassifier(adopt(path, tmp_path / "as-logits", labels=names, pixels="0-255", activation="logits")).labels.kind
        == "classes"
    )
    done = command("adopt", path, "--labels", "a,b,c", "--kind", "labels", "--pixels", "0-255", "--out", tmp_path / "several")
    assert done.exit_code == 0, done.output
    classifier = ExpressionClassifier(tmp_path / "several")
    pictures = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    given = np.moveaxis(pictures, -1, 1).astype(np.float32)
    session = ort.InferenceSession(str(path))
    expected = np.concatenate([session.run(None, {"picture": one[None]})[0] for one in given])
    np.testing.assert_allclose(classifier.predict_proba(pictures), expected, atol=1e-5)
    assert classifier.predict(pictures)[0].labels == tuple(name for name, p in zip(names, expected[0], strict=True) if p >= 0.5)


def test_a_network_that_answers_values(tmp_path: Path) -> None:
    labels = LabelSet("affect", ("valence", "arousal", "dominance"), kind="values")
    path = onnx_network(tmp_path / "values.onnx", softmax=False, scale=0.01)
    with pytest.raises(InputError, match="answers values; expected none"):
        adopt(path, tmp_path / "out", labels=labels, pixels="0-255", activation="logits")
    classifier = ExpressionClassifier(adopt(path, tmp_path / "out", labels=labels, pixels="0-255"))
    pictures = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    told = classifier.predict(pictures)[0].values
    assert told is not None
    assert list(told) == list(labels)
    np.testing.assert_allclose(list(told.values()), classifier.logits(pictures)[0, 0], atol=1e-6)
