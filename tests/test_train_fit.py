"""Training: exact resume, backends, augmentation, export, and the weights that come out."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ferkit import DataError, ExpressionClassifier, FerkitError, InputError, WeightsError
from ferkit.train.calibrate import fit_temperature
from ferkit.train.evaluation import expected_calibration_error, score, wilson
from ferkit.train.recipe import list_recipes, load_recipe
from tests.conftest import write_fer_csv

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
pytestmark = pytest.mark.train
needs_keras = pytest.mark.skipif(
    importlib.util.find_spec("keras") is None or importlib.util.find_spec("tensorflow") is None,
    reason='needs the train extra: pip install "ferkit[train]"',
)

TINY = """
name = "tiny-test"
seed = 3
[model]
name = "tiny"
[data]
mean = 0.5
std = 0.25
[[heads]]
labels = "fer2013"
label_smoothing = 0.1
[augment]
crop = 44
[optimizer]
learning_rate = 0.05
weight_decay = 1e-3
warmup_epochs = 1
ema = 0.9
[training]
batch_size = 8
[[stages]]
epochs = 2
size = 24
[[stages]]
epochs = 2
size = 32
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


def command(*arguments: object, **environment: str) -> subprocess.Popen[str]:
    env = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": "2"} | environment
    return subprocess.Popen(
        [sys.executable, "-m", "ferkit", *map(str, arguments)], env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def finished(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=400)
    return process.returncode, out, err


@needs_keras
@pytest.mark.slow
def test_a_killed_run_resumes_exactly(recipe: Path, tmp_path: Path) -> None:
    """SIGKILL in mid-epoch, resume, and the weights are those of the run that nobody disturbed, bit for bit."""
    data = write_fer_csv(tmp_path / "fer2013.csv", 400, 21)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    code, _, err = finished(command("train", "--recipe", recipe, "--data", data, "--out", whole))
    assert code == 0, err

    process = command("train", "--recipe", recipe, "--data", data, "--out", broken)
    while not (broken / "checkpoint.npz").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    time.sleep(0.1)  # into the next epoch
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    with np.load(broken / "checkpoint.npz") as stored:
        assert 1 <= json.loads(str(stored["meta"]))["epoch"] < 4
    assert not (broken / "model.keras").exists()

    refused = finished(command("train", "--recipe", recipe, "--data", data, "--out", broken))
    assert refused[0] == 2
    assert "--resume" in refused[2]
    code, out, err = finished(command("train", "--recipe", recipe, "--data", data, "--out", broken, "--resume"))
    assert code == 0, err
    assert out.strip() == str(broken)

    with np.load(whole / "checkpoint.npz") as a, np.load(broken / "checkpoint.npz") as b:
        assert a.files == b.files
        for name in a.files:
            if name != "meta":
                assert np.array_equal(a[name], b[name]), name
    first, second = (json.loads((run / "history.json").read_text())["epochs"] for run in (whole, broken))
    assert [row["loss"] for row in first] == [row["loss"] for row in second]
    assert len(first) == 4


@needs_keras
@pytest.mark.slow
def test_max_minutes_stops_cleanly_and_other_backends_finish(recipe: Path, tmp_path: Path) -> None:
    data = write_fer_csv(tmp_path / "fer2013.csv", 70, 21)
    out = tmp_path / "run"
    code, _, err = finished(command("train", "--recipe", recipe, "--data", data, "--out", out, "--max-minutes", "0.0001"))
    assert code == 0, err
    assert "--resume to go on" in err
    assert len(json.loads((out / "history.json").read_text())["epochs"]) == 1
    assert not (out / "model.onnx").exists()


@needs_keras
@pytest.mark.parametrize("name", ["ferkit-n", "mini-xception", "conv4", "vgg16"])
def test_fused_normalisation_gives_keras_own_numbers(name: str) -> None:
    import keras
    from keras import ops

    from ferkit.train.fused import with_fused_normalisation
    from ferkit.train.models import build_model

    if keras.backend.backend() != "tensorflow":
        pytest.skip("another backend has no such kernel")
    keras.utils.set_random_seed(1)
    plain = build_model(name, 7, **({} if name in ("mini-xception", "vgg16") else {"dropout": 0.0}))
    side = plain.input_shape[1] or 44
    fused = with_fused_normalisation(plain)
    assert fused.output_names == plain.output_names
    assert [tuple(v.shape) for v in fused.variables] == [tuple(v.shape) for v in plain.variables]
    kinds = [type(layer).__name__ for layer in fused.layers]
    # What follows a dense layer is not a map, and stays Keras's.
    flat = sum(type(layer).__name__ == "BatchNormalization" and len(layer.input.shape) == 2 for layer in plain.layers)
    assert kinds.count("BatchNormalization") == flat
    assert "_FusedBatchNormalization" in kinds
    faces = np.random.default_rng(0).normal(size=(16, side, side, 1)).astype(np.float32)
    assert np.allclose(fused(faces), plain(faces), atol=1e-5)
    if name == "vgg16":
        return  # its noise and dropout draw different numbers
    assert np.allclose(fused(faces, training=True), plain(faces, training=True), atol=2e-3)
    for ours, theirs in zip(fused.non_trainable_variables, plain.non_trainable_variables, strict=True):
        if ours.dtype == "float32":
            assert np.allclose(ops.convert_to_numpy(ours), ops.convert_to_numpy(theirs), rtol=1e-3, atol=1e-4), ours.path


@needs_keras
@pytest.mark.slow
def test_a_run_begins_from_trained_weights(recipe: Path, tmp_path: Path) -> None:
    from ferkit.train import fit, train
    from ferkit.train.data import read_csv

    data = write_fer_csv(tmp_path / "fer2013.csv", 70, 21)
    first = train(recipe, data, tmp_path / "first")
    faces = read_csv(data)
    still = TINY.replace("learning_rate = 0.05", "learning_rate = 0.0").replace("weight_decay = 1e-3", "").replace("warmup_epochs = 1", "")
    second = tmp_path / "second.toml"
    second.write_text(still.replace("batch_size = 8", f'batch_size = 8\ninitial = "{first.as_posix()}"'))
    run = fit(load_recipe(second), faces, tmp_path / "second")
    import keras

    trained = keras.models.load_model(first / "model.keras", compile=False)
    for ours, theirs in zip(run.model.trainable_weights, trained.trainable_weights, strict=True):
        assert np.allclose(ours, theirs, atol=1e-6)  # nothing moves them at a rate of 0

    second.write_text(still.replace("batch_size = 8", 'batch_size = 8\ninitial = "fer2013-s-v5"'))
    with pytest.raises(InputError, match="cannot begin from 'fer2013-s-v5': it is 'ferkit-s'"):
        fit(load_recipe(second), faces, tmp_path / "third")


@needs_keras
@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "torch", "jax"])
def test_backends(backend: str, recipe: Path, tmp_path: Path) -> None:
    """The same tiny run learns on every backend; the same augmentation parameters, each backend's own random numbers."""
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    data = write_fer_csv(tmp_path / "fer2013.csv", 140, 21)
    code = (
        "import sys; from ferkit.train import fit, load_recipe; from ferkit.train.data import read_csv; import keras; "
        "run = fit(load_recipe(sys.argv[1]), read_csv(sys.argv[2]), sys.argv[3], validation=read_csv(sys.argv[2], 'PublicTest')); "
        "assert run.finished and len(run.history) == 4; print(keras.backend.backend(), run.history[0]['loss'], run.history[-1]['loss'])"
    )
    env = os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(recipe), str(data), str(tmp_path / "run")],
        env=env,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    name, first, last = done.stdout.split()
    assert name == backend
    assert float(last) < float(first)


@needs_keras
@pytest.mark.slow
def test_training_gives_weights_that_every_command_accepts(recipe: Path, tmp_path: Path, crops: np.ndarray) -> None:
    import keras

    from ferkit.cli import main
    from ferkit.train import train

    data = write_fer_csv(tmp_path / "fer2013.csv", 140, 35)
    # Without votes the FER+ head has nothing to learn from, so the weights must not have it.
    recipe.write_text(recipe.read_text() + '[[heads]]\nlabels = "ferplus"\n')
    out = train(recipe, data, tmp_path / "mine")
    assert [o.name for o in ExpressionClassifier(out).spec.outputs] == ["fer2013"]
    classifier = ExpressionClassifier(out)
    assert classifier.name == "mine"
    assert classifier.predict_proba(crops).shape == (len(crops), 7)
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", "--weights", str(out), "--data", str(data)])
    assert stopped.value.code == 0
    spec = classifier.spec
    assert spec.training["faces"] == 140
    assert {m["tta"] for m in spec.metrics} == {"none", "flip", 10}
    model = keras.models.load_model(out / "model.keras")
    assert model.count_params() == spec.architecture["parameters"]
    with pytest.raises(InputError, match="--resume"):
        train(recipe, data, out)
    other = tmp_path / "other.toml"
    other.write_text(TINY.replace("seed = 3", "seed = 4"))
    with pytest.raises(InputError, match=r"another recipe.*seed"):
        train(other, data, out, resume=True)


@needs_keras
@pytest.mark.slow
def test_a_finished_run_is_written_anew_in_half_precision(recipe: Path, tmp_path: Path, crops: np.ndarray) -> None:
    import keras
    import onnx

    from ferkit.train import train

    data = write_fer_csv(tmp_path / "fer2013.csv", 140, 35)
    out = train(recipe, data, tmp_path / "mine")
    full, whole = ExpressionClassifier(out), {name: (out / name).stat().st_size for name in ("model.onnx", "model.keras")}
    layers = keras.models.load_model(out / "model.keras", compile=False).get_weights()
    recipe.write_text(TINY + '[release]\nprecision = "float16"\n')  # no other training, so the same run
    halved = ExpressionClassifier(train(recipe, data, out, resume=True))

    assert halved.spec.files["model.onnx"]["size"] < 0.75 * whole["model.onnx"]  # the rest is the graph
    assert halved.spec.files["model.keras"]["size"] < whole["model.keras"]
    assert "float16" in (out / "card.md").read_text()
    assert {o.name for o in halved.spec.outputs} == {"fer2013"}
    assert 0 < np.abs(halved.logits(crops)[0] - full.logits(crops)[0]).max() < 1e-2
    stored = {t.name: t.data_type for t in onnx.load(out / "model.onnx").graph.initializer}
    assert {kind for name, kind in stored.items() if name.endswith("_float16")} == {onnx.TensorProto.FLOAT16}
    again = keras.models.load_model(out / "model.keras", compile=False)
    assert {variable.dtype for variable in again.variables if "seed" not in variable.path} == {"float32"}
    for before, after in zip(layers, again.get_weights(), strict=True):
        expected = before.astype(np.float16).astype(np.float32) if before.size >= 1024 else before
        np.testing.assert_array_equal(after, expected)

    recipe.write_text(TINY.replace("[training]", "[training]\nsettle = true"))
    settled = keras.models.load_model(train(recipe, data, out, resume=True) / "model.keras", compile=False)
    changed = {v.name for v, before in zip(settled.weights, layers, strict=True) if not np.array_equal(v, before)}
    assert changed == {"moving_mean", "moving_variance"}


@needs_keras
def test_half_precision_refuses_what_it_cannot_hold(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    from ferkit.train.half import halve_onnx

    wide = numpy_helper.from_array(np.full(2000, 1e5, np.float32), "wide")
    graph = helper.make_graph(
        [helper.make_node("Identity", ["wide"], ["y"])], "g", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2000])], [wide]
    )
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph), path)
    before = path.read_bytes()
    with pytest.raises(FerkitError, match=r"'wide' reach 1e\+05.*65,504.*float16"):
        halve_onnx(path)
    assert path.read_bytes() == before


@needs_keras
def test_fit_refuses_what_it_cannot_learn_from(tmp_path: Path, recipe: Path) -> None:
    from ferkit import LabelSet
    from ferkit.train import fit
    from ferkit.train.data import Faces

    few = Faces(np.zeros((3, 48, 48), np.uint8), np.zeros(3, np.int64))
    with pytest.raises(DataError, match="fewer than one batch"):
        fit(recipe, few, tmp_path / "out")
    other = Faces(np.zeros((30, 48, 48), np.uint8), np.zeros(30, np.int64), LabelSet("custom", ("a", "b")))
    with pytest.raises(DataError, match="heads fer2013"):
        fit(recipe, other, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@needs_keras
def test_a_full_disk_leaves_the_last_checkpoint(tmp_path: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ferkit.train.checkpoint import load_checkpoint, save_checkpoint
    from ferkit.train.fitting import _build, _compile

    tiny = load_recipe(recipe)
    model = _build(tiny)
    _compile(model, tiny, 2)
    path = tmp_path / "checkpoint.npz"
    save_checkpoint(path, model, tiny, 1, [{"epoch": 1}])

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WeightsError, match=r"No space.*--resume"):
        save_checkpoint(path, model, tiny, 2, [])
    assert load_checkpoint(path, model, tiny) == (1, [{"epoch": 1}])
    assert [p.name for p in tmp_path.iterdir() if "partial" in p.name] == []


@needs_keras
def test_a_disk_that_fills_in_mid_checkpoint(tmp_path: Path, recipe: Path) -> None:
    """The kernel itself cuts the write short, in the middle of the file; the run's last checkpoint still resumes."""
    code = """
import resource, signal, sys
from pathlib import Path
from ferkit import WeightsError
from ferkit.train.checkpoint import load_checkpoint, save_checkpoint
from ferkit.train.fitting import _build, _compile
from ferkit.train.recipe import load_recipe
tiny, path = load_recipe(sys.argv[1]), Path(sys.argv[2])
model = _build(tiny)
_compile(model, tiny, 2)
save_checkpoint(path, model, tiny, 1, [{"epoch": 1}])
good = path.read_bytes()
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (len(good) // 2, resource.RLIM_INFINITY))
model.variables[0].assign(model.variables[0] + 1)
try:
    save_checkpoint(path, model, tiny, 2, [])
except WeightsError as error:
    print(error)
assert path.read_bytes() == good
assert load_checkpoint(path, model, tiny) == (1, [{"epoch": 1}])
assert [p.name for p in path.parent.iterdir()] == [path.name], "the partial file takes up the little space that there is"
"""
    (tmp_path / "run").mkdir()
    env = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    arguments = [sys.executable, "-c", code, str(recipe), str(tmp_path / "run" / "checkpoint.npz")]
    done = subprocess.run(arguments, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "checkpoint.npz cannot be written (File too large)" in done.stdout
    assert "--resume" in done.stdout


@needs_keras
def test_learning_rate() -> None:
    import keras
    from keras import ops

    from ferkit.train.optimizer import CosineCycles

    known = keras.optimizers.schedules.CosineDecay(0.1 / 20, 180, warmup_target=0.1, warmup_steps=20)
    ours = CosineCycles([(200, 200, 0.1), (50, 50, 0.02)], 20)
    steps = np.arange(0, 200, 7)
    assert [float(ours(s)) for s in steps] == pytest.approx([float(known(s)) for s in steps], abs=1e-7)
    assert float(ours(200)) == pytest.approx(0.02)
    assert float(ops.convert_to_numpy(ours(225))) == pytest.approx(0.01)
    assert float(ours(250)) == pytest.approx(0, abs=1e-9)
    cut = CosineCycles([(150, 200, 0.1), (50, 50, 0.02)], 20)  # interrupted before it reached zero
    assert float(cut(149)) == pytest.approx(float(known(149)), abs=1e-7)
    assert float(cut(150)) == pytest.approx(0.02)


@needs_keras
def test_augmentation() -> None:
    from keras import ops

    from ferkit.train.augment import FaceAugmentation

    faces = np.random.default_rng(0).integers(0, 255, (6, 48, 48)).astype(np.uint8)

    def run(layer: FaceAugmentation, **options: int) -> np.ndarray:
        return np.asarray(ops.convert_to_numpy(layer(faces, **options)))

    layer = FaceAugmentation()
    a, b, c = (run(layer, size=32, seed=s) for s in (1, 1, 2))
    assert a.shape == (6, 32, 32, 1)
    assert a.min() >= 0
    assert a.max() <= 255
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)
    still = FaceAugmentation(rotation=0, scale=(1, 1), shift=0, flip=0, brightness=0, contrast=0, erase=0)
    assert np.allclose(run(still)[..., 0], faces[:, 2:46, 2:46], atol=1e-2)
    mirror = FaceAugmentation(rotation=0, scale=(1, 1), shift=0, flip=1, brightness=0, contrast=0, erase=0)
    assert np.allclose(run(mirror)[..., 0], faces[:, 2:46, 2:46][:, :, ::-1], atol=1e-2)
    copy = FaceAugmentation.from_config(layer.get_config())
    assert np.array_equal(run(copy, seed=5), run(layer, seed=5))


@needs_keras
def test_degrading_blurs_and_adds_noise() -> None:
    import cv2
    from keras import ops

    from ferkit.train.augment import FaceAugmentation, _blurred

    faces = np.random.default_rng(0).integers(60, 190, (4, 32, 32)).astype(np.float32)
    sigmas = np.array([0.0, 0.5, 0.8, 1.2], np.float32)
    ours = np.asarray(ops.convert_to_numpy(_blurred(faces, ops.convert_to_tensor(sigmas))))
    assert np.array_equal(ours[0], faces[0])
    for face, sigma, answer in zip(faces[1:], sigmas[1:], ours[1:], strict=True):
        wanted = cv2.GaussianBlur(face, (7, 7), float(sigma), borderType=cv2.BORDER_REFLECT_101)
        assert np.abs(answer - wanted).max() < 0.01

    still = {"crop": 48, "rotation": 0, "scale": (1, 1), "shift": 0, "flip": 0, "brightness": 0, "contrast": 0, "erase": 0}
    flat = np.full((400, 48, 48), 128, np.uint8)
    plain, noisy, half = (
        np.asarray(ops.convert_to_numpy(FaceAugmentation(**still, **options)(flat, seed=4)))
        for options in ({}, {"degrade": 1.0, "noise": 20.0}, {"degrade": 0.5, "blur": 1.0, "noise": 20.0})
    )
    assert np.abs(plain - 128).max() < 1e-3
    assert 9 < noisy.std(axis=(1, 2, 3)).mean() < 11  # half of the largest, on average
    assert 160 < (half.std(axis=(1, 2, 3)) > 0.01).sum() < 240
    assert np.abs(half.mean() - 128) < 0.5


@needs_keras
@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.parametrize(("name", "limit"), [(None, 1e-4), ("fer2013-n-v5", 1e-2), ("fer2013-s-v5", 1e-2)])  # float32; stored as float16
def test_keras_and_onnx_agree(fer_csv: tuple[Path, Path], in_float32: Path, name: str | None, limit: float) -> None:
    import keras

    from ferkit.train.data import read_csv
    from ferkit.train.export import keras_outputs
    from ferkit.weights import resolve

    folder = in_float32 if name is None else resolve(name)
    classifier = ExpressionClassifier(folder)
    faces = read_csv(fer_csv[0], "PublicTest").images[:256]
    model = keras.models.load_model(folder / "model.keras")
    expected = keras_outputs(model, load_recipe("ferkit-s"), classifier._normalise(faces))
    assert np.abs(classifier.logits(faces)[0] - expected).max() < limit


@pytest.mark.shared
@pytest.mark.slow
def test_the_shipped_accuracy(fer_csv: tuple[Path, Path]) -> None:
    """The card's figures come out again, and they are above the floors of the first release."""
    from ferkit.train import evaluate

    fer = evaluate(ExpressionClassifier(labels="fer2013"), fer_csv[0])
    plus = evaluate(ExpressionClassifier(labels="ferplus"), fer_csv[0], ferplus=fer_csv[1])
    assert fer["n"] == 3589
    assert plus["n"] == 3553
    assert fer["accuracy"] >= 0.685
    assert plus["accuracy"] >= 0.83  # the aim was 0.84; ten-crop reaches it
    metrics = {(m["labels"], m["tta"]): m for m in ExpressionClassifier().spec.metrics}
    assert metrics["fer2013", "none"]["accuracy"] == pytest.approx(fer["accuracy"], abs=5e-4)
    assert metrics["ferplus", "none"]["accuracy"] == pytest.approx(plus["accuracy"], abs=5e-4)
    assert fer["ece"] < 0.05


def test_recipes_are_data(tmp_path: Path) -> None:
    for name in list_recipes():
        assert load_recipe(name).name == name
    recipe = load_recipe("ferkit-s")
    sizes = [recipe.size_at(epoch) for epoch in range(recipe.epochs)]
    assert sizes == sorted(sizes)
    for name in ("nonsense", tmp_path / "missing.toml", tmp_path):
        with pytest.raises(InputError, match="ferkit-s"):
            load_recipe(name)
    for text in ("a = [", "name = 'x'", TINY + "[surprise]\nx = 1\n", TINY.replace("epochs = 2", "epochs = 0")):
        (tmp_path / "bad.toml").write_text(text)
        with pytest.raises(InputError):
            load_recipe(tmp_path / "bad.toml")


def test_metrics_by_hand() -> None:
    p = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]], np.float32)
    report = score(p, np.array([0, 0, 1, 1]), ["a", "b"])
    assert report["accuracy"] == 0.75
    assert report["confusion"]["rows"] == [[2, 0], [1, 1]]
    assert report["per_label"]["a"] == {"n": 2, "precision": pytest.approx(2 / 3), "recall": 1.0, "f1": pytest.approx(0.8)}
    assert report["macro_f1"] == pytest.approx((0.8 + 2 / 3) / 2)
    assert report["ece"] == pytest.approx((0.1 + 0.2 + 0.3 + 0.6) / 4, abs=1e-6)
    with pytest.raises(DataError):
        score(p[:0], np.zeros(0, int), ["a", "b"])


def test_wilson_by_hand() -> None:
    assert wilson(0, 10)[0] == pytest.approx(0, abs=1e-12)
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)  # Newcombe, Statistics in Medicine 1998


@pytest.mark.parametrize("true", [0.4, 1.0, 2.5])
def test_the_temperature_makes_the_mean_confidence_the_accuracy(true: float) -> None:
    rng = np.random.default_rng(3)
    scores = rng.normal(0, 2, (20_000, 5))
    p = np.exp(scores / true)
    p /= p.sum(axis=1, keepdims=True)
    truth = (p.cumsum(axis=1) > rng.random((len(p), 1))).argmax(axis=1)
    found = fit_temperature(scores, truth)
    assert found == pytest.approx(true, rel=0.05)
    own = np.exp(scores / found - (scores / found).max(axis=1, keepdims=True))
    confidence = (1 / own.sum(axis=1)).mean()
    assert confidence == pytest.approx((scores.argmax(axis=1) == truth).mean(), abs=1e-6)


@pytest.mark.parametrize("n", [1, 4, 12, 60])
def test_right_answers_do_not_make_a_temperature_that_knows_no_doubt(n: int) -> None:
    """Every face is answered rightly, so that a lower temperature is always better on these faces, and only on these."""
    truth = np.arange(n) % 2
    scores = np.eye(2)[truth] * (1 + truth[:, None])
    found = fit_temperature(scores, truth)
    p = np.exp(scores / found) / np.exp(scores / found).sum(axis=1, keepdims=True)
    assert p.max(axis=1).mean() <= (n + 1) / (n + 2) + 1e-6
    assert found > 0.1  # not the 0.05 where the search ends


def test_a_temperature_below_one_has_to_hold_on_other_faces() -> None:
    """One sure mistake among many unsure right answers: they ask for a low temperature, which makes the mistake much worse."""
    scores = np.array([[0.3, 0.0]] * 11 + [[5.0, 0.0]])
    truth = np.array([0] * 11 + [1])
    assert fit_temperature(scores, truth) == 1.0


def test_a_temperature_below_one_that_holds_is_kept() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 1, (400, 5))
    p = np.exp(scores / 0.5)
    truth = ((p / p.sum(axis=1, keepdims=True)).cumsum(axis=1) > rng.random((len(p), 1))).argmax(axis=1)
    assert fit_temperature(scores, truth) == pytest.approx(0.5, rel=0.15)


def test_one_temperature_serves_one_view_and_several() -> None:
    rng = np.random.default_rng(3)
    true = rng.normal(0, 2, (20_000, 5))
    truth = (np.exp(true) / np.exp(true).sum(axis=1, keepdims=True)).cumsum(axis=1) > rng.random((len(true), 1))
    truth = truth.argmax(axis=1)
    views = true + rng.normal(0, 1.5, (4, *true.shape))

    def surplus(temperature: float, count: int) -> float:
        p = np.exp(views[:count] / temperature)
        mean = (p / p.sum(axis=-1, keepdims=True)).mean(axis=0)
        return float(mean.max(axis=1).mean() - (mean.argmax(axis=1) == truth).mean())

    alone, all_ = fit_temperature(views[0], truth), fit_temperature(views, truth, (1, 2, 4))
    assert fit_temperature(views, truth, (1,)) == pytest.approx(alone)
    assert surplus(alone, 1) == pytest.approx(0, abs=1e-4)
    assert surplus(alone, 4) < -0.05  # the mean over views is less sure
    assert np.mean([surplus(all_, count) for count in (1, 2, 4)]) == pytest.approx(0, abs=1e-3)
    assert surplus(all_, 1) > 0 > surplus(all_, 4)


def test_a_perfectly_calibrated_classifier_has_no_error() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, 200_000)
    p = np.column_stack([confidence, 1 - confidence]).astype(np.float32)
    truth = (rng.random(len(p)) > confidence).astype(int)
    assert expected_calibration_error(p, truth) < 0.01


@needs_keras
def test_export_refuses_a_wrong_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: Path) -> None:
    from ferkit import _runtime
    from ferkit.train.export import export_onnx
    from ferkit.train.fitting import _build

    tiny = load_recipe(recipe)
    monkeypatch.setattr(_runtime.OpenCVRuntime, "run", lambda self, batch: np.zeros((len(batch), 7), np.float32))
    with pytest.raises(FerkitError, match="differs from Keras"):
        export_onnx(_build(tiny), tiny, tmp_path / "m.onnx")
    assert list(tmp_path.glob("*.onnx")) == []
