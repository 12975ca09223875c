"""Curves, the HTML page, models of other projects, exports and preparation."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from ferkit import ExpressionClassifier, FaceDetector, InputError, LabelSet, WeightsError
from ferkit.cli import main
from ferkit.train.copies import copies
from ferkit.train.curves import coverage_risk, reliability
from ferkit.train.data import Faces
from ferkit.train.evaluation import evaluate, expected_calibration_error, measure, score
from ferkit.train.peers import PeerClassifier
from ferkit.train.preparing import prepare
from ferkit.train.report import confident_mistakes, write_report
from tests.conftest import write_fer_csv

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def answers() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    p = rng.dirichlet((0.6, 0.6, 0.6, 0.6), 500).astype(np.float32)
    truth = np.array([rng.choice(4, p=row / row.sum()) for row in p.astype(np.float64)])
    return p, truth


def test_figures_are_scikit_learns(answers: tuple[np.ndarray, np.ndarray]) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    p, truth = answers
    report, predicted = score(p, truth, list("abcd")), p.argmax(axis=1)
    assert report["confusion"]["rows"] == metrics.confusion_matrix(truth, predicted).tolist()
    assert report["macro_f1"] == pytest.approx(metrics.f1_score(truth, predicted, average="macro"))
    assert report["mean_recall"] == pytest.approx(metrics.balanced_accuracy_score(truth, predicted))
    for key, values in zip(("precision", "recall", "f1"), metrics.precision_recall_fscore_support(truth, predicted), strict=False):
        assert [row[key] for row in report["per_label"].values()] == pytest.approx(values.tolist())


def test_reliability_holds_the_calibration_error(answers: tuple[np.ndarray, np.ndarray]) -> None:
    p, truth = answers
    bins = reliability(p, truth)
    assert sum(row["n"] for row in bins) == 500
    gap = sum(row["n"] * abs(row["accuracy"] - row["confidence"]) for row in bins) / 500
    assert gap == pytest.approx(expected_calibration_error(p, truth))
    assert all(row["low"] < row["confidence"] <= row["high"] + 1e-6 for row in bins)


def test_coverage_risk_by_hand() -> None:
    p = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]], np.float32)
    curve = coverage_risk(p, np.array([0, 1, 1, 1]))
    assert curve["coverage"] == [0.25, 0.5, 0.75, 1.0]
    assert curve["risk"] == pytest.approx([0, 1 / 2, 1 / 3, 2 / 4])
    assert curve["aurc"] == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)
    tied = np.full((4, 2), 0.5, np.float32)  # no order among equals: the risk is the same at every coverage
    assert coverage_risk(tied, np.array([0, 1, 1, 0]))["risk"] == pytest.approx([0.5] * 4)


def test_aliases_count_as_their_label(tmp_path: Path, crops: np.ndarray) -> None:
    for label in ("anger", "happiness"):
        (tmp_path / label).mkdir()
        Image.fromarray(crops[len(label)]).save(tmp_path / label / "a.png")
    assert evaluate(ExpressionClassifier(), tmp_path)["per_label"]["happy"]["n"] == 1


def test_the_page_is_self_contained(tmp_path: Path, crops: np.ndarray) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib")
    faces = Faces(crops, np.arange(len(crops)) % 3, LabelSet("custom", ("angry", "happy", "sad")), skipped=(("x", "<x>.png: empty"),))
    measured = measure(ExpressionClassifier(), faces)
    epochs = [{"epoch": i, "loss": 1 / i, "fer2013_accuracy": 0.5, "learning_rate": 0.1} for i in (1, 2, 3)]
    page = write_report(measured, tmp_path / "report", history=epochs)
    text = page.read_text(encoding="utf-8")
    sources = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    shown = confident_mistakes(measured, 24)
    assert len(sources) == 4 + len(shown)
    assert "http" not in text
    assert "<x>" not in text
    assert "&lt;x&gt;" in text
    confidence = measured.probabilities.max(axis=1)[shown]
    assert (np.diff(confidence) <= 0).all()
    assert all(measured.probabilities[i].argmax() != measured.truth[i] for i in shown)
    assert [p.name for p in (tmp_path / "report").iterdir()] == ["report.html"]


def test_evaluate_command_writes_the_page(tmp_path: Path, small_csv: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib")
    done = CliRunner().invoke(main, ["evaluate", "--data", str(small_csv), "--report", str(tmp_path / "r"), "--format", "json"])
    assert done.exit_code == 0, done.output
    assert {"reliability", "coverage_risk", "aurc"} <= set(json.loads(done.stdout))
    assert (tmp_path / "r" / "report.html").stat().st_size > 50_000


def test_a_bare_onnx_file_is_measured(crops: np.ndarray, tmp_path: Path) -> None:
    """ferkit's own network as a stranger: told what its spec says, it gives the same answers."""
    pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    from ferkit._geometry import centre
    from ferkit.weights import resolve

    ours = ExpressionClassifier(labels="fer2013")
    path = resolve() / "model.onnx"
    names = [f"c{i}" for i in range(15)]
    spec = ours.spec.input
    peer = PeerClassifier(path, labels=names, input_size=44, mean=spec["mean"], std=spec["std"])
    seen = centre(ours.prepare(crops), 44)
    logits = ours.logits(crops)[0]
    expected = np.exp(logits - logits.max(axis=1, keepdims=True))
    assert np.abs(peer.predict_proba(seen) - expected / expected.sum(axis=1, keepdims=True)).max() < 1e-4
    assert peer.predict_proba([]).shape == (0, 15)
    flipped = PeerClassifier(path, labels=names, input_size=44, tta="flip").predict_proba(seen)
    assert np.abs(flipped - PeerClassifier(path, labels=names, input_size=44, tta="flip").predict_proba(seen[:, :, ::-1])).max() < 1e-6
    with pytest.raises(InputError, match="15 numbers for 7 labels"):
        PeerClassifier(path, input_size=44)
    with pytest.raises(InputError, match="expected one of"):
        PeerClassifier("model.pt")
    with pytest.raises(WeightsError, match="does not exist"):
        PeerClassifier(tmp_path / "none.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    with pytest.raises(WeightsError, match="no network that onnxruntime"):
        PeerClassifier(tmp_path / "bad.onnx")
    with pytest.raises(InputError, match="for a bare model file"):
        PeerClassifier(path, input_size=44, tta=10)


@pytest.mark.slow
@pytest.mark.skipif(
    any(importlib.util.find_spec(n) is None for n in ("tensorflow", "onnxruntime", "ai_edge_litert")), reason="needs the train extra"
)
def test_exports_answer_as_ferkit_does(tmp_path: Path) -> None:
    from ferkit.train.deploy import check

    done = CliRunner().invoke(main, ["export", "fer2013-n-v5", "--out", str(tmp_path), "--check"])
    assert done.exit_code == 0, done.output
    assert "fer2013-n-v5.onnx, onnxruntime: differs by at most" in done.stdout
    assert "fer2013-n-v5.tflite, ai-edge-litert: differs by at most" in done.stdout
    about = json.loads((tmp_path / "fer2013-n-v5.json").read_text())
    assert about["labels"] == list(ExpressionClassifier().labels)
    with np.load(tmp_path / "fer2013-n-v5.golden.npz") as golden:
        kept = dict(golden)
    assert kept["images_48x48"].shape == (6, 48, 48, 3)
    kept["probabilities_64x64"] = kept["probabilities_64x64"][:, ::-1]
    np.savez_compressed(tmp_path / "fer2013-n-v5.golden.npz", **kept)  # type: ignore[arg-type]
    from ferkit import FerkitError

    with pytest.raises(FerkitError, match="disagree"):
        check([tmp_path / "fer2013-n-v5.onnx"])


def test_export_refuses(tmp_path: Path) -> None:
    from ferkit.train.deploy import export

    with pytest.raises(InputError, match="Unknown export format"):
        export(None, tmp_path, ("coreml",))


def test_prepare_a_csv(tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = prepare(write_fer_csv(tmp_path / "f.csv", 14, 7), out)
    assert report["splits"]["train"]["happy"] == 2
    assert report["splits"]["validation"]["happy"] == 1
    assert len(list((out / "train" / "angry").glob("*.png"))) == 2
    with np.load(out / "train.npz") as table:
        assert table["box"].shape == (14, 4)
        assert np.isnan(table["landmarks"]).all()
        assert table["label"][3] == "happy"
    from ferkit.train.data import read_csv, read_folder

    assert sorted(f.tobytes() for f in read_folder(out, "Training").images) == sorted(
        f.tobytes() for f in read_csv(tmp_path / "f.csv").images
    )
    with pytest.raises(InputError, match="prepared with size 48"):
        prepare(tmp_path / "f.csv", out, size=64)
    with pytest.raises(InputError, match="16 to 1024"):
        prepare(tmp_path / "f.csv", out, size=4)


def test_prepare_finds_and_aligns_faces(tmp_path: Path, photo: Path, yunet_file: Path) -> None:
    (tmp_path / "data" / "happy").mkdir(parents=True)
    (tmp_path / "data" / "sad").mkdir()
    (tmp_path / "data" / "happy" / "a.jpg").write_bytes(photo.read_bytes())
    Image.new("RGB", (200, 200)).save(tmp_path / "data" / "sad" / "nobody.png")
    arguments = ["prepare", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out"), "--size", "64"]
    done = CliRunner().invoke(main, [*arguments, "--detector", "yunet", "--detector-model", str(yunet_file)])
    assert done.exit_code == 1
    assert "nobody.png: no face found by yunet" in done.stderr
    with np.load(tmp_path / "out" / "train.npz") as table:
        assert table["landmarks"].shape == (1, 5, 2)
        assert not np.isnan(table["landmarks"]).any()
    with Image.open(tmp_path / "out" / "train" / "happy" / "a_jpg.png") as face:
        assert face.size == (64, 64)
        assert face.mode == "RGB"


def test_a_killed_preparation_goes_on(tmp_path: Path) -> None:
    data = write_fer_csv(tmp_path / "f.csv", 700, 7)
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-m", "ferkit", "prepare", "--data", str(data), "--out", str(out)], stderr=subprocess.DEVNULL
    )
    while not (out / "train.jsonl").exists() or (out / "train.jsonl").stat().st_size < 2000:
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    if (out / "report.json").exists():
        pytest.skip("it had finished before the signal came")
    with (out / "train.jsonl").open("a") as file:
        file.write('{"source": "Training 00')  # as if the kill had come in the middle of a row
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*.png")}
    journal = [json.loads(line)["path"] for line in (out / "train.jsonl").read_text().splitlines()[:-1]]
    assert 0 < len(journal) < 700
    report = prepare(data, out)
    assert sum(report["splits"]["train"].values()) == 700
    assert all((out / name).stat().st_mtime_ns == before[out / name] for name in journal)  # nothing done twice
    assert not list(out.rglob("*.partial"))


def test_copies_by_hand() -> None:
    rng = np.random.default_rng(0)
    faces = np.stack([np.asarray(Image.fromarray(rng.integers(0, 255, (9, 9), np.uint8)).resize((48, 48))) for _ in range(6)])
    darker = (faces[1] * 0.6).astype(np.uint8)
    report = copies(
        {"train": np.stack([*faces[:4], faces[0], darker]), "test": np.stack([faces[5], faces[2], faces[1]])},
        {"train": ["a", "b", "a", "b", "b", "b"], "test": ["a", "a", "b"]},
        {"train": list("012345"), "test": list("678")},
    )
    assert report["within"]["train"] == {"faces": 6, "exact": 1, "near": 2, "labels_differ": 1}
    assert report["within"]["test"] == {"faces": 3, "exact": 0, "near": 0, "labels_differ": 0}
    assert report["across"]["train, test"] == {"exact": 2, "near": 2}
    assert ["1", "5", "8"] in report["groups"]


def test_evaluate_finds_faces_in_photos(tmp_path: Path, photo: Path) -> None:
    (tmp_path / "happy").mkdir()
    (tmp_path / "happy" / "a.jpg").write_bytes(photo.read_bytes())
    report = evaluate(ExpressionClassifier(), tmp_path, detector=FaceDetector())
    assert (report["n"], report["accuracy"]) == (1, 1.0)


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
    first, second = (PeerClassifier(tmp_path / name).predict_proba(crops) for name in ("m.keras", "m.tflite"))
    assert first.shape == (len(crops), 7)
    assert np.abs(first - second).max() < 1e-4
    small = PeerClassifier(tmp_path / "m.keras").prepare(crops)
    grey = np.repeat(small[:4].mean(axis=-1, keepdims=True), 3, axis=-1).astype(np.float32)
    assert np.abs(keras.ops.convert_to_numpy(model(grey / 255)) - first[:4]).max() < 1e-3  # a grey face is repeated thrice
    data = write_fer_csv(tmp_path / "fer2013.csv", 7, 7)
    done = CliRunner().invoke(main, ["evaluate", "--data", str(data), "--weights", str(tmp_path / "m.tflite"), "--format", "json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["weights"] == "m.tflite"
