"""A network's features, by whichever engine and from whichever weights."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from ferkit import Ensemble, ExpressionClassifier, InputError, LabelSet, Pipeline, WeightsError
from ferkit.crops import CropGeometry
from ferkit.engines.features import with_features
from ferkit.weights.store import resolve
from tests.helpers.commands import ferkit

ROOT = Path(__file__).resolve().parents[2]
EVERY = sorted(path.parent for path in (ROOT / "weights").glob("**/spec.json") if json.loads(path.read_text()).get("kind") != "detector")
EVERY = [folder for folder in EVERY if (folder / "model.onnx").exists() and "face" not in folder.name]


@pytest.mark.parametrize("folder", EVERY, ids=lambda folder: folder.name)
def test_the_logits_are_linear_in_the_features(folder: Path, crops: np.ndarray) -> None:
    """What the last layer reads explains its answer wholly: the logits of any face follow from the features by one matrix."""
    classifier = ExpressionClassifier(folder)
    given = classifier.prepare(crops)
    faces = np.random.default_rng(0).integers(0, 256, (260, *given.shape[1:]), np.uint8)
    faces[: len(given)] = given
    features, logits = classifier.features(faces), classifier.logits(faces)[0]
    assert features.dtype == np.float32
    assert features.shape[0] == len(faces)
    rows = np.hstack([features, np.ones((len(faces), 1))])
    found, *_ = np.linalg.lstsq(rows, logits, rcond=None)
    assert np.abs(rows @ found - logits).max() < 1e-3
    assert features.std(axis=0).max() > 0.01


def test_engines_agree(crops: np.ndarray) -> None:
    pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    opencv, other = (ExpressionClassifier("fer2013-n-v6", runtime=name).features(crops) for name in ("opencv", "onnxruntime"))
    assert np.abs(opencv - other).max() < 1e-5 * np.abs(opencv).max()


def test_the_same_answers_come_beside_them(classifier: ExpressionClassifier, crops: np.ndarray) -> None:
    expressions, features = classifier.predict_with_features(crops)
    for mine, plain in zip(expressions, classifier.predict(crops), strict=True):
        assert mine.probabilities == pytest.approx(dict(plain.probabilities), abs=1e-6)
    assert np.array_equal(features, classifier.features(crops))


def test_an_empty_batch_has_as_many_columns(classifier: ExpressionClassifier, crops: np.ndarray) -> None:
    assert classifier.features([]).shape == (0, classifier.features(crops).shape[1])
    assert classifier.features([]).dtype == np.float32


@pytest.mark.parametrize("runtime", ["opencv", "onnxruntime"])
def test_any_number_of_faces_after_any_other(crops: np.ndarray, runtime: str) -> None:
    """OpenCV 4.10 flattens for the number that it saw first, and refused the next."""
    if runtime == "onnxruntime":
        pytest.importorskip(runtime, reason="needs onnxruntime")
    many = ExpressionClassifier("fer2013-n-v6", runtime=runtime).features(crops[:3])
    classifier = ExpressionClassifier("fer2013-n-v6", runtime=runtime)
    for count in (1, 2, 1, 3, 1, 1, 2):
        assert np.abs(classifier.features(crops[:count]) - many[:count]).max() < 1e-5 * np.abs(many).max()


def test_views_are_averaged(crops: np.ndarray) -> None:
    plain, both = ExpressionClassifier("fer2013-n-v6"), ExpressionClassifier("fer2013-n-v6", tta="flip")
    mirrored = [np.ascontiguousarray(crop[:, ::-1]) for crop in crops]
    expected = (plain.features(crops) + plain.features(mirrored)) / 2
    assert np.abs(both.features(crops) - expected).max() < 1e-2 * np.abs(expected).max()


def test_an_ensemble_puts_its_members_side_by_side(crops: np.ndarray) -> None:
    names = ["fer2013-s-v6", "fer2013-n-v6"]
    expected = np.hstack([ExpressionClassifier(name).features(crops) for name in names])
    pair = Ensemble.from_pretrained(names)
    assert np.array_equal(pair.features(iter(crops)), expected)
    assert pair.features([]).shape == (0, expected.shape[1])
    expressions, features = pair.predict_with_features(crops)
    assert np.array_equal(features, expected)
    assert all(expression.disagreement is not None for expression in expressions)
    named = ExpressionClassifier("fer2013-ensemble-v6")
    assert np.array_equal(named.features(crops), np.hstack([member.features(crops) for member in named.members]))


def test_copies_and_threads(crops: np.ndarray) -> None:
    classifier = ExpressionClassifier("fer2013-n-v6")
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: classifier.features(crops), range(8)))
    assert all(np.array_equal(answers[0], answer) for answer in answers)
    assert np.array_equal(pickle.loads(pickle.dumps(classifier)).features(crops), answers[0])


def test_needs_no_onnx_package() -> None:
    code = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(('onnx', 'onnxruntime', 'keras', 'tensorflow', 'google.protobuf')))\n"
        "import numpy as np, ferkit\n"
        "print(ferkit.ExpressionClassifier('fer2013-n-v6').features(np.zeros((2, 48, 48), np.uint8)).shape[0])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "2\n", done.stderr


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[: len(data) // 2], lambda data: b"\x0f" + data])
def test_bytes_that_are_not_onnx(damage: object) -> None:
    data = (resolve("fer2013-n-v6") / "model.onnx").read_bytes()
    with pytest.raises(WeightsError, match=r"it\.onnx cannot be read as an ONNX network"):
        with_features(damage(data), "it.onnx")  # type: ignore[operator]


def test_a_network_without_a_linear_layer() -> None:
    with pytest.raises(WeightsError, match="has no features: expected one tensor that the last linear layer reads; found none"):
        with_features((ROOT / "weights" / "ferkit-face-v4" / "model.onnx").read_bytes(), "it.onnx")


def test_heads_that_read_different_features() -> None:
    helper = pytest.importorskip("onnx.helper", reason="needs onnx to write a network")
    from onnx import TensorProto

    weight = helper.make_tensor("w", TensorProto.FLOAT, (2, 3), [0.0] * 6)
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ("n", k)) for name, k in (("a", 2), ("b", 2), ("y", 6))]
    heads = [helper.make_node("MatMul", [name, "w"], [f"{name}w"]) for name in ("a", "b")]
    nodes = [*heads, helper.make_node("Concat", ["aw", "bw"], ["y"], axis=1)]
    model = helper.make_model(helper.make_graph(nodes, "g", values[:2], values[2:], [weight]))
    with pytest.raises(WeightsError, match=r"found several \(a, b\)"):
        with_features(model.SerializeToString(), "it.onnx")


def test_a_pipeline_gives_them_to_every_face(photo: Path) -> None:
    pipeline = Pipeline(classifier="fer2013-n-v6", features=True)
    result = pipeline(photo)
    face = result[0]
    assert face.features is not None
    expected = pipeline.classifier.features([pipeline.crop(result.pixels, face)])[0]  # type: ignore[attr-defined, arg-type]
    assert np.abs(face.features - expected).max() < 1e-5
    assert face.to_dict()["features"] == pytest.approx(expected.tolist(), abs=1e-5)
    plain = Pipeline(classifier="fer2013-n-v6")(photo)
    assert plain[0].features is None
    assert "features" not in plain[0].to_dict()
    assert plain[0] == face  # features take no part in comparing: an array has no single answer to that
    assert hash(plain) == hash(result)
    again = pickle.loads(pickle.dumps(pipeline))(photo)[0]
    assert np.array_equal(again.features, face.features)
    header, row = result.to_csv().splitlines()
    assert header.split(",")[-1] == f"feature_{len(face.features) - 1}"
    assert len(row.split(",")) == len(header.split(","))


def test_a_classifier_of_ones_own_without_features() -> None:
    class Mute:
        name, labels, crop = "mute", LabelSet("custom", ("a", "b")), CropGeometry()

        def predict_proba(self, crops: object) -> np.ndarray:
            return np.zeros((0, 2), np.float32)

    with pytest.raises(InputError, match="mute gives no features"):
        Pipeline("none", Mute(), features=True)


def test_columns_in_tables(photo: Path, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (64, 64)).save(tmp_path / "nobody.png")
    done = ferkit("predict", "--weights", "fer2013-n-v6", "--features", "--format", "csv", tmp_path / "nobody.png", photo)
    assert done.exit_code == 0, done.stderr
    header, empty, row = (line.split(",") for line in done.stdout.splitlines())
    names = [name for name in header if name.startswith("feature_")]
    assert names == [f"feature_{number}" for number in range(len(names))]
    assert len(names) > 10
    assert len(header) == len(empty) == len(row)
    assert empty[-1] == ""
    lines = ferkit("predict", "--weights", "fer2013-n-v6", "--features", "--format", "jsonl", photo).stdout.splitlines()
    assert json.loads(lines[0])["faces"][0]["features"] == pytest.approx([float(cell) for cell in row[-len(names) :]], abs=1e-5)
