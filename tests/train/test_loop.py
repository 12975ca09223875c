"""The training loop: exact resuming, backends, patience, refusals."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ferkit import DataError, ExpressionClassifier, InputError, LabelSet
from ferkit.data.faces import Faces
from ferkit.labels import FER6, FER7
from ferkit.train.classifier.recipe import Stage, load_recipe
from tests.helpers.faces import write_fer_csv
from tests.helpers.recipes import faces, recipe
from tests.helpers.training import TINY, needs_keras

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
pytestmark = pytest.mark.train


def command(*arguments: object, **environment: str) -> subprocess.Popen[str]:
    env = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": "2"} | environment
    return subprocess.Popen(
        [sys.executable, "-m", "ferkit", *map(str, arguments)], env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


DYING = """
import os, signal, sys
from ferkit.cli.main import main
from ferkit.train.classifier import loop
finite = loop.finite
def stepped(loss, where):
    finite(loss, where)
    if where.startswith("epoch 2 of 4, step 3 "):
        os.kill(os.getpid(), signal.SIGKILL)
loop.finite = stepped
main(sys.argv[1:])
"""


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

    dying = [sys.executable, "-c", DYING, "train", "--recipe", str(recipe), "--data", str(data), "--out", str(broken)]
    done = subprocess.run(dying, env=os.environ | {"OMP_NUM_THREADS": "2"}, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    with np.load(broken / "checkpoint.npz") as stored:
        assert json.loads(str(stored["meta"]))["epoch"] == 1
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
    first, second = (json.loads((run / "history.json").read_text(encoding="utf-8"))["epochs"] for run in (whole, broken))
    assert [row["loss"] for row in first] == [row["loss"] for row in second]
    assert len(first) == 4


@needs_keras
@pytest.mark.slow
def test_max_minutes_stops_cleanly(recipe: Path, tmp_path: Path) -> None:
    data = write_fer_csv(tmp_path / "fer2013.csv", 70, 21)
    out = tmp_path / "run"
    code, _, err = finished(command("train", "--recipe", recipe, "--data", data, "--out", out, "--max-minutes", "0.0001"))
    assert code == 0, err
    assert "--resume to go on" in err
    assert len(json.loads((out / "history.json").read_text(encoding="utf-8"))["epochs"]) == 1
    assert not (out / "model.onnx").exists()


@needs_keras
@pytest.mark.parametrize("name", ["ferkit-n", "mini-xception", "conv4", "vgg16"])
def test_fused_normalisation_gives_keras_own_numbers(name: str) -> None:
    import keras
    from keras import ops

    from ferkit.train.classifier.fused_normalisation import with_fused_normalisation
    from ferkit.train.classifier.networks import build_model

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
    from ferkit.data.faces import read_csv
    from ferkit.train import fit, train

    data = write_fer_csv(tmp_path / "fer2013.csv", 70, 21)
    first = train(recipe, data, tmp_path / "first")
    faces = read_csv(data)
    still = TINY.replace("learning_rate = 0.05", "learning_rate = 0.0").replace("weight_decay = 1e-3", "").replace("warmup_epochs = 1", "")
    second = tmp_path / "second.toml"
    second.write_text(still.replace("batch_size = 8", f'batch_size = 8\ninitial = "{first.as_posix()}"'), encoding="utf-8")
    run = fit(load_recipe(second), faces, tmp_path / "second")
    import keras

    trained = keras.models.load_model(first / "model.keras", compile=False)
    for ours, theirs in zip(run.model.trainable_weights, trained.trainable_weights, strict=True):
        assert np.allclose(ours, theirs, atol=1e-6)  # nothing moves them at a rate of 0

    second.write_text(still.replace("batch_size = 8", 'batch_size = 8\ninitial = "fer2013-s-v6"'), encoding="utf-8")
    with pytest.raises(InputError, match="cannot begin from 'fer2013-s-v6': it is 'ferkit-s'"):
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
        "import sys; from ferkit.train import fit, load_recipe; from ferkit.data.faces import read_csv; import keras; "
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

    from ferkit.cli.main import main
    from ferkit.train import train

    data = write_fer_csv(tmp_path / "fer2013.csv", 140, 35)
    # Without votes the FER+ head has nothing to learn from, so the weights must not have it.
    recipe.write_text(recipe.read_text(encoding="utf-8") + '[[heads]]\nlabels = "ferplus"\n', encoding="utf-8")
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
    with pytest.raises(InputError, match="resume=True"):
        train(recipe, data, out)
    other = tmp_path / "other.toml"
    other.write_text(TINY.replace("seed = 3", "seed = 4"), encoding="utf-8")
    with pytest.raises(InputError, match=r"another recipe.*seed"):
        train(other, data, out, resume=True)


@needs_keras
def test_fit_refuses_what_it_cannot_learn_from(tmp_path: Path, recipe: Path) -> None:
    from ferkit.data.faces import Faces
    from ferkit.train import fit

    few = Faces(np.zeros((3, 48, 48), np.uint8), np.zeros(3, np.int64))
    with pytest.raises(DataError, match="fewer than one batch"):
        fit(recipe, few, tmp_path / "out")
    other = Faces(np.zeros((30, 48, 48), np.uint8), np.zeros(30, np.int64), LabelSet("custom", ("a", "b")))
    with pytest.raises(DataError, match="No face has the label b"):
        fit(recipe, other, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@needs_keras
def test_learning_rate() -> None:
    import keras
    from keras import ops

    from ferkit.train.common.schedule import CosineCycles

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
def test_a_fixed_input_refuses_other_stages(tmp_path: Path) -> None:
    from ferkit.train import fit

    with pytest.raises(InputError, match=r"fixed input of 48 pixels.*train at 32, 48"):
        fit(recipe(stages=(Stage(1, 32), Stage(1, 48))), faces(), tmp_path / "out")


@needs_keras
def test_balance_draws_a_label_more_often() -> None:
    from ferkit.train.classifier.augment import FaceAugmentation
    from ferkit.train.classifier.batches import Batches

    data = faces(35)
    batches = Batches(data, recipe(balance={"disgust": 10}), FaceAugmentation(crop=48), 0)
    drawn = np.bincount(data.labels[batches.order], minlength=7)
    assert drawn.tolist() == [5, 50, 5, 5, 5, 5, 5]
    assert len(batches) == 80 // 8
    x, _ = batches[0]
    assert len({bytes(face.tobytes()) for face in x}) == 8  # augmented apart, even where a face comes twice
    with pytest.raises(InputError, match="joy"):
        Batches(data, recipe(balance={"joy": 2}), FaceAugmentation(crop=48), 0)


@needs_keras
@pytest.mark.slow
def test_early_stopping_restores_the_best_and_resumes_exactly(tmp_path: Path) -> None:
    """A run that is stopped after every epoch ends as the one that nobody disturbed: plateau, patience, snapshots, best."""
    from ferkit.train import fit

    told: list[str] = []
    validation = dataclasses.replace(faces(28, 9), labels=(faces(28, 9).labels + 1) % 7)  # it can only get worse
    options: dict[str, Any] = {"validation": validation, "log": told.append}
    stopping = recipe(
        stages=(Stage(8, 48),),
        balance={"disgust": 3},
        early_stopping={"patience": 3},
        plateau={"patience": 1, "factor": 0.5, "monitor": "val_loss"},
        snapshots={"every": 3},
        model={"name": "conv3", "dropout": 0.3},
    )
    whole = fit(stopping, faces(), tmp_path / "whole", **options)
    assert whole.finished
    assert len(whole.history) < 8
    best = min(whole.history, key=lambda row: row["val_loss"])
    assert len(whole.history) == best["epoch"] + 3
    assert whole.history[-1]["learning_rate"] < 1e-3
    assert f"those of epoch {best['epoch']} of {len(whole.history)}" in told[-1]

    broken = fit(stopping, faces(), tmp_path / "broken", max_minutes=1e-9, **options)
    while not broken.finished:
        broken = fit(stopping, faces(), tmp_path / "broken", resume=True, max_minutes=1e-9, **options)
    for a, b in zip(whole.model.variables, broken.model.variables, strict=True):
        assert np.array_equal(a.numpy(), b.numpy())
    assert [{**row, "seconds": 0} for row in whole.history] == [{**row, "seconds": 0} for row in broken.history]
    kept = sorted(path.name for path in (tmp_path / "whole" / "snapshots").iterdir())
    steps = len(whole.history) * (45 // 8)
    assert kept == [f"{step:07d}.npz" for step in range(3, steps + 1, 3)]
    for name in (*(f"snapshots/{name}" for name in kept), "best.npz", "checkpoint.npz"):
        with np.load(tmp_path / "whole" / name) as first, np.load(tmp_path / "broken" / name) as second:
            assert first.files == second.files
            assert all(np.array_equal(first[key], second[key]) for key in first.files if key != "meta"), name


@needs_keras
def test_an_older_checkpoint_resumes(tmp_path: Path) -> None:
    """Tables that recipes did not have yet are empty ones, not another recipe."""
    from ferkit.train.classifier.loop import build_from_recipe, compile_from_recipe
    from ferkit.train.common.checkpoint import load_checkpoint, save_checkpoint

    model = build_from_recipe(recipe())
    compile_from_recipe(model, recipe(), 2)
    save_checkpoint(tmp_path / "c.npz", model, recipe(), 1, [])
    with np.load(tmp_path / "c.npz") as stored:
        arrays = dict(stored)
    meta = json.loads(str(arrays["meta"]))
    for table in ("balance", "early_stopping", "plateau", "snapshots"):
        del meta["recipe"][table]
    np.savez(tmp_path / "c.npz", **(arrays | {"meta": np.array(json.dumps(meta))}))
    assert load_checkpoint(tmp_path / "c.npz", model, recipe()) == (1, [])
    with pytest.raises(InputError, match="differs in balance"):
        load_checkpoint(tmp_path / "c.npz", model, recipe(balance={"disgust": 2}))


@needs_keras
def test_a_run_goes_on_with_its_own_data_alone(tmp_path: Path) -> None:
    """Faces, labels, votes and portraits; a checkpoint of an earlier ferkit, which does not know them, goes on with any."""
    from ferkit.train import fit

    data, lines = faces(45), list[str]()
    data = dataclasses.replace(data, files=tuple(f"{number}.png" for number in range(45)))
    out, path = tmp_path / "run", tmp_path / "run" / "checkpoint.npz"
    assert not fit(recipe(), data, out, max_minutes=1e-9, log=lines.append).finished
    moved = dataclasses.replace(data, labels=np.roll(data.labels, 1))
    soft = np.eye(7, dtype=np.float32)[data.labels]
    others = {
        "faces": dataclasses.replace(data, files=data.files[::-1]),
        "labels": moved,
        "faces, labels": data.subset(np.arange(44)),
        "votes": dataclasses.replace(data, votes=np.ones((45, 10), np.float32)),
    }
    for parts, other in {**others, "labels ": dataclasses.replace(data, soft=soft)}.items():
        with pytest.raises(InputError, match=rf"checkpoint\.npz was trained on other data \(not the same: {parts.strip()}\); give what"):
            fit(recipe(), other, out, resume=True, max_minutes=1e-9, log=lines.append)
    with np.load(path) as stored:
        arrays = dict(stored)
    meta = json.loads(str(arrays["meta"]))
    assert set(meta.pop("data")) == {"faces", "labels", "votes", "portraits", "pixels"}
    lines.clear()
    shaded = dataclasses.replace(data, images=data.images ^ 1)  # as another machine's decoder may read the same files
    assert fit(recipe(), shaded, out, resume=True, max_minutes=1e-9, log=lines.append).history[-1]["epoch"] == 2
    assert "was trained on other pixels of the same faces" in lines[0]
    np.savez(path, **(arrays | {"meta": np.array(json.dumps(meta))}))
    assert fit(recipe(), moved, out, resume=True, max_minutes=1e-9, log=lines.append).history[-1]["epoch"] == 2
    with pytest.raises(InputError, match="not the same: labels"):
        fit(recipe(), data, out, resume=True, log=lines.append)


def test_six_labels_drop_disgust() -> None:
    data = faces(35)
    six = data.restricted(FER6)
    assert len(six) == 30
    assert six.label_set == FER6
    for name in FER6:
        assert np.array_equal(six.images[six.labels == FER6.index(name)], data.images[data.labels == FER7.index(name)])
    assert six.targets("fer6").shape == (30, 6)
    only = Faces(data.images[data.labels == 1], data.labels[data.labels == 1])
    with pytest.raises(DataError, match="No face has a label of 'fer6'"):
        only.restricted(FER6)
