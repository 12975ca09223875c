"""The training zoo: architectures, recipes as data, balance, patience, snapshots, and exact resume with all of it."""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ferkit import DataError, InputError
from ferkit.classify import normalised
from ferkit.labels import FER6, FER7
from ferkit.train.data import Faces
from ferkit.train.recipe import _ENTRIES, Head, Recipe, Stage, list_recipes, load_recipe

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
pytestmark = pytest.mark.train
needs_keras = pytest.mark.skipif(
    importlib.util.find_spec("keras") is None or importlib.util.find_spec("tensorflow") is None,
    reason='needs the train extra: pip install "ferkit[train]"',
)

# (parameters, trainable, input side) with seven classes. conv4's were given, mini-xception's are its paper's; the others
# are what the layers add up to by hand.
COUNTS = {
    "conv3": (94_119, 94_119, 48),
    "shallow": (679_435, 679_435, 48),
    "wide": (450_503, 450_503, 48),
    "resnet34": (21_299_015, 21_281_991, None),
    "conv4": (4_478_727, 4_474_759, 48),
    "vgg8": (7_209_159, 7_209_159, 48),
    "vgg16": (19_974_859, 19_974_857, 48),
    "mini-xception": (58_423, 56_951, 64),
    "ferkit-n": (278_560, 277_128, None),
    "ferkit-s": (1_106_537, 1_103_673, None),
    "ferkit-b": (2_899_529, 2_894_969, None),
    "ferkit-vgg": (2_642_359, 2_639_479, None),
    "tiny": (4_147, 4_035, None),
}


def recipe(**changes: Any) -> Recipe:
    """A recipe that trains in seconds."""
    values: dict[str, Any] = {
        "name": "test",
        "seed": 3,
        "model": {"name": "conv3"},
        "data": {"mean": 0.0, "std": 1.0},
        "heads": (Head("fer2013"),),
        "stages": (Stage(3, 48),),
        "augment": {"crop": 48},
        "optimizer": {"name": "adam", "learning_rate": 1e-3, "schedule": "constant"},
        "training": {"batch_size": 8},
    }
    return Recipe(**(values | changes))


def faces(count: int = 35, seed: int = 0) -> Faces:
    """Faces whose label is their brightness."""
    labels = np.arange(count) % 7
    noise = np.random.default_rng(seed).normal(0, 10, (count, 48, 48))
    return Faces(np.clip(30 + 32 * labels[:, None, None] + noise, 0, 255).astype(np.uint8), labels.astype(np.int64))


@needs_keras
def test_batch_normalisation_in_vgg8() -> None:
    from ferkit.train import build_model

    model = build_model("vgg8", classes=7, batch_norm=True)
    assert model.count_params() == 7_209_159 + 4 * (2 * (64 + 128 + 256 + 512) + 512 + 256 + 128)


@needs_keras
@pytest.mark.parametrize("name", COUNTS)
def test_architectures(name: str) -> None:
    from ferkit.train import build_model

    parameters, trainable, side = COUNTS[name]
    model = build_model(name, classes=7)
    assert model.count_params() == parameters
    assert sum(int(np.prod(w.shape)) for w in model.trainable_variables) == trainable
    assert model.input_shape == (None, side, side, 1)
    assert model.output_shape == (None, 7)
    assert model.dtype == "float32"


@needs_keras
def test_every_architecture_is_counted_and_takes_heads() -> None:
    from ferkit.train.models import MODELS, build_model

    assert set(COUNTS) == set(MODELS)
    heads = build_model("conv3", {"fer6": 6, "ferplus": 8}, size=44)
    assert {name: tensor.shape for name, tensor in heads.output.items()} == {"fer6": (None, 6), "ferplus": (None, 8)}
    assert heads.input_shape == (None, 44, 44, 1)
    assert build_model("ferkit-s", size=44).input_shape == (None, None, None, 1)
    with pytest.raises(InputError, match=r"'conv3' has no option dropuot; expected one of dropout\."):
        build_model("conv3", dropuot=0.1)
    with pytest.raises(InputError, match="expected one of none"):
        build_model("shallow", dropout=0.1)


@needs_keras
def test_the_last_layer_of_mini_xception_is_an_averaged_convolution() -> None:
    import keras
    from keras import ops

    from ferkit.train import build_model

    model = build_model("mini-xception")
    head, pooled = model.get_layer("logits"), model.layers[-3]
    maps = keras.Model(model.input, model.layers[-4].input)
    assert isinstance(pooled, keras.layers.AveragePooling2D)
    x = np.random.default_rng(0).normal(size=(2, 64, 64, 1)).astype(np.float32)
    convolution = keras.layers.Conv2D(7, 3, padding="same")
    convolved = convolution(maps(x))
    kernel, bias = head.get_weights()
    convolution.set_weights([kernel.reshape(3, 3, 128, 7), bias])
    convolved = convolution(maps(x))
    expected = ops.convert_to_numpy(ops.mean(convolved, axis=(1, 2)))
    assert np.abs(ops.convert_to_numpy(model(x)) - expected).max() < 1e-4


@needs_keras
def test_regularisers_and_options_of_the_systems() -> None:
    from ferkit.train import build_model

    model = build_model("vgg16")
    assert len(model.losses) == 4  # kernel and bias of both hidden layers
    dense = [layer for layer in model.layers if getattr(layer, "kernel_regularizer", None) is not None]
    assert [float(layer.bias_regularizer.l2) for layer in dense] == [0.001, 0.001]
    assert not build_model("conv4").losses


@needs_keras
def test_recipes_and_the_code_know_the_same_entries() -> None:
    from ferkit.train.augment import FaceAugmentation
    from ferkit.train.fitting import _build

    accepted = set(inspect.signature(FaceAugmentation).parameters) - {"seed", "kwargs"}
    assert set(_ENTRIES["augment"]) == accepted
    for name in list_recipes():
        loaded = load_recipe(name)
        FaceAugmentation(**loaded.augment)
        if loaded.model["name"] not in ("resnet34", "vgg16", "vgg8"):  # large, and built above
            model = _build(loaded)
            assert set(model.output) == {head.labels for head in loaded.heads}
            assert model.input_shape[1] in (None, loaded.window)


def test_the_recipes_of_the_accuracy_plan_load() -> None:
    plan = Path(__file__).resolve().parents[1] / "benchmarks" / "accuracy"
    recipes = [load_recipe(path) for path in sorted((plan / "short").glob("*.toml"))]
    assert {loaded.name for loaded in recipes} == {f"short-{name}" for name in ("plain", "light", "mixup", "cutmix", "sam", "novotes")}
    assert {loaded.epochs for loaded in recipes} == {8}
    further = {path.stem: load_recipe(path) for path in (plan / "further").glob("*.toml")}
    assert set(further) == {"b-v5", "larger", "b-larger", "b-larger-2", "b-larger-3"}
    assert (further["b-v5"].optimizer["sam"], further["larger"].window, further["b-larger"].window) == (0.05, 56, 56)
    assert further["b-larger-3"].teacher["weights"] == ["fer2013-s-v3", "fer2013-b-v4", "runs/b-larger"]
    default = load_recipe("ferkit-s-v3")
    seeds = [load_recipe(path) for path in (plan / "seeds").glob("*.toml")]
    assert {loaded.seed for loaded in seeds} == {4, 5}
    assert all(dataclasses.replace(loaded, name=default.name, seed=default.seed) == default for loaded in seeds)


def test_the_seed_systems_are_recipes() -> None:
    assert set(COUNTS) - {"tiny"} <= set(list_recipes())
    assert load_recipe("conv3").balance == {"disgust": 10}
    assert load_recipe("mini-xception").size == 64
    assert load_recipe("vgg16").data["standardise"] is True
    for name in ("shallow", "wide", "resnet34"):
        seven, six = load_recipe(name), load_recipe(f"{name}-6")
        assert [head.labels for head in six.heads] == [FER6.name]
        assert dataclasses.replace(six, name=name, heads=seven.heads) == seven
    # The systems' rows were trained with the square; only their next runs would get the aligned crop.
    for name in list_recipes():
        assert load_recipe(name).crop["mode"] == ("aligned" if name.startswith("ferkit-") else "square")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"augment": {"rotaton": 1}}, r"\[augment\] of recipe 'test': unknown rotaton; expected crop, rotation"),
        ({"data": {"mean": 0.0, "std": 1.0, "scale": 2}}, "unknown scale; expected mean, std, size"),
        ({"data": {"mean": 0.0}}, "needs mean and std"),
        ({"crop": {"zoom": 1}}, "unknown zoom"),
        ({"training": {"batch": 8}}, "unknown batch; expected batch_size"),
        ({"optimizer": {"name": "lion", "learning_rate": 1}}, "Unknown optimiser 'lion'.*sgd, adam, rmsprop"),
        ({"optimizer": {"name": "adam", "learning_rate": 1, "momentum": 0.9}}, r"\(adam\): unknown momentum; expected .*beta_1"),
        ({"optimizer": {"name": "adam"}}, "needs learning_rate"),
        ({"optimizer": {"learning_rate": 1, "schedule": "step"}}, "Unknown schedule 'step'"),
        ({"release": {"precision": "int8"}}, "Unknown precision 'int8'.*float32 or float16"),
        ({"optimizer": {"learning_rate": 1, "schedule": "constant", "cycles": 3}}, "cycles needs schedule"),
        ({"optimizer": {"learning_rate": 1, "cycles": 3, "warmup_epochs": 1}}, "cycles are equal cosines"),
        ({"optimizer": {"learning_rate": 1}, "plateau": {"factor": 0.1, "patience": 2}}, r"\[plateau\] needs schedule"),
        ({"plateau": {"factor": 2, "patience": 2}}, "plateau factor of 2"),
        ({"early_stopping": {"monitor": "val_loss"}}, "patience of None"),
        ({"early_stopping": {"patience": 3, "best": 1}}, "unknown best"),
        ({"snapshots": {"every": 0}}, "snapshots every 0"),
        ({"snapshots": {"every": "cycle"}}, "need cycles"),
    ],
)
def test_recipes_refuse_what_they_would_ignore(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        recipe(**changes)


def test_recipe_files_name_what_they_lack_and_derive(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"

    def refused(text: str) -> str:
        path.write_text(text)
        with pytest.raises(InputError) as caught:
            load_recipe(path)
        return str(caught.value)

    assert "unknown optimiser; expected name, seed" in refused('base = "conv3"\n[optimiser]\nname = "sgd"\n')
    assert "[[heads]]" in refused('base = "conv3"\n[[heads]]\nlabel = "fer6"\n')
    assert "expected epochs, size" in refused('base = "conv3"\n[[stages]]\nepoch = 1\n')
    assert "lacks seed, model" in refused('name = "x"\n')
    assert "based on itself" in refused(f'base = "{path}"\n')
    assert "based on itself" in refused('base = "mine.toml"\n')
    (tmp_path / "theirs.toml").write_text('base = "conv3"\n[optimizer]\nlearning_rate = 0.25\n')
    path.write_text('base = "theirs.toml"\nname = "mine"\n')  # beside it, wherever one stands
    assert load_recipe(path).optimizer["learning_rate"] == 0.25
    assert "Unknown recipe 'nothing'" in refused('base = "nothing"\n')
    path.write_text('base = "conv3"\nname = "mine"\n[optimizer]\nlearning_rate = 0.5\n')
    mine, conv3 = load_recipe(path), load_recipe("conv3")
    assert mine.optimizer == conv3.optimizer | {"learning_rate": 0.5}
    assert mine.augment == conv3.augment


@needs_keras
def test_a_fixed_input_refuses_other_stages(tmp_path: Path) -> None:
    from ferkit.train import fit

    with pytest.raises(InputError, match=r"fixed input of 48 pixels.*train at 32, 48"):
        fit(recipe(stages=(Stage(1, 32), Stage(1, 48))), faces(), tmp_path / "out")


@needs_keras
def test_balance_draws_a_label_more_often() -> None:
    from ferkit.train.augment import FaceAugmentation
    from ferkit.train.fitting import _Batches

    data = faces(35)
    batches = _Batches(data, recipe(balance={"disgust": 10}), FaceAugmentation(crop=48), 0)
    drawn = np.bincount(data.labels[batches.order], minlength=7)
    assert drawn.tolist() == [5, 50, 5, 5, 5, 5, 5]
    assert len(batches) == 80 // 8
    x, _ = batches[0]
    assert len({bytes(face.tobytes()) for face in x}) == 8  # augmented apart, even where a face comes twice
    with pytest.raises(InputError, match="joy"):
        _Batches(data, recipe(balance={"joy": 2}), FaceAugmentation(crop=48), 0)


@needs_keras
def test_patience_is_read_from_the_history() -> None:
    from ferkit.train.optimizer import best_epoch, learning_rate_after, stops

    losses = [1.0, 0.8, 0.9, 0.85, 0.79995, 0.81]
    history = [{"epoch": i + 1, "val_loss": loss, "val_fer2013_accuracy": 1 - loss} for i, loss in enumerate(losses)]
    watch = {"monitor": "val_loss", "patience": 2}
    assert [best_epoch(history[:n], watch) for n in range(7)] == [0, 1, 2, 2, 2, 5, 5]
    assert [stops(history[:n], watch) for n in range(7)] == [False, False, False, False, True, False, False]
    assert best_epoch(history, watch | {"monitor": "val_fer2013_accuracy"}) == 5
    assert best_epoch(history, watch | {"min_delta": 0.01}) == 2
    assert not stops(history, {})
    falling = recipe(plateau={"patience": 2, "factor": 0.1, "min_learning_rate": 5e-5})
    # 0.79995 is less than 1e-4 better, so the plateau goes on; it is cut after epochs 4 and 6, and not below the floor.
    rates = [learning_rate_after(history[:n], falling) for n in range(7)]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-3, 1e-3, 1e-4, 1e-4, 5e-5])


@needs_keras
def test_patience_agrees_with_keras() -> None:
    import keras

    from ferkit.train.optimizer import learning_rate_after, stops

    losses = np.round(2 + np.cumsum(np.random.default_rng(4).normal(-0.01, 0.1, 60)), 5)
    history = [{"epoch": i + 1, "val_loss": float(loss)} for i, loss in enumerate(losses)]
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(optimizer=keras.optimizers.SGD(1e-3), loss="mse")
    ours = recipe(plateau={"patience": 4, "factor": 0.5})
    plateau = keras.callbacks.ReduceLROnPlateau(monitor="val_loss", factor=0.5, patience=4)
    stopping = keras.callbacks.EarlyStopping(monitor="val_loss", patience=6)
    for callback in (plateau, stopping):
        callback.set_model(model)
        callback.on_train_begin()
    model.stop_training = False
    for n in range(1, len(history) + 1):
        plateau.on_epoch_end(n - 1, {"val_loss": history[n - 1]["val_loss"]})
        stopping.on_epoch_end(n - 1, {"val_loss": history[n - 1]["val_loss"]})
        assert learning_rate_after(history[:n], ours) == pytest.approx(float(model.optimizer.learning_rate), rel=1e-5)
        assert stops(history[:n], {"patience": 6}) == model.stop_training
        if model.stop_training:
            break
    assert model.stop_training


@needs_keras
def test_snapshots_and_cycles() -> None:
    from ferkit.train.optimizer import make_optimizer, snapshot_steps

    b = load_recipe("shallow")
    assert snapshot_steps(b, 28_709 // 128) == [1000 * i for i in range(1, 10)]
    assert snapshot_steps(load_recipe("shallow-6"), (28_709 - 436) // 128) == [1000 * i for i in range(1, 10)]
    assert snapshot_steps(recipe(), 100) == []
    cyclic = recipe(optimizer={"name": "sgd", "learning_rate": 0.1, "cycles": 3}, snapshots={"every": "cycle"}, stages=(Stage(10, 48),))
    assert snapshot_steps(cyclic, 1) == [4, 8, 10]
    rates = [float(make_optimizer(cyclic, 10)._learning_rate(step)) for step in (0, 17, 33, 34, 67, 68)]
    assert rates == pytest.approx([0.1, 0.05, 0.1 * 0.5 * (1 + np.cos(np.pi * 33 / 34)), 0.1, rates[2], 0.1], abs=1e-6)
    assert snapshot_steps(dataclasses.replace(cyclic, snapshots={"every": "cycle", "keep": 2}), 10) == [68, 100]


@needs_keras
@pytest.mark.parametrize("name", ["sgd", "adam", "rmsprop"])
def test_optimizers(name: str) -> None:
    from ferkit.train.optimizer import make_optimizer

    made = make_optimizer(recipe(optimizer={"name": name, "learning_rate": 0.01, "weight_decay": 0.1, "schedule": "constant"}), 5)
    assert type(made).__name__.lower() == name
    assert made.weight_decay == 0.1


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
def test_watching_needs_validation(tmp_path: Path) -> None:
    from ferkit.train import fit

    with pytest.raises(DataError, match="watches 'val_loss'; that needs validation"):
        fit(recipe(early_stopping={"patience": 2}), faces(), tmp_path / "out")


@needs_keras
def test_an_older_checkpoint_resumes(tmp_path: Path) -> None:
    """Tables that recipes did not have yet are empty ones, not another recipe."""
    from ferkit.train.checkpoint import load_checkpoint, save_checkpoint
    from ferkit.train.fitting import _build, _compile

    model = _build(recipe())
    _compile(model, recipe(), 2)
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


def test_standardising_is_per_face() -> None:
    x = faces(7).images.copy()
    x[3] = 77
    out = normalised(x, {"standardise": True, "mean": 0.0, "std": 1.0})
    assert out.dtype == np.float32
    others = np.delete(out, 3, axis=0)
    assert np.abs(others.mean(axis=(1, 2))).max() < 1e-4
    assert np.abs(others.std(axis=(1, 2)) - 1).max() < 1e-3
    assert np.abs(out[3]).max() == 0
    assert np.allclose(normalised((x // 2 + 20).astype(np.uint8), {"standardise": True, "mean": 0.0, "std": 1.0}), out, atol=0.1)
    assert np.allclose(normalised(x, {"mean": 0.5, "std": 0.25}), (x / 255 - 0.5) / 0.25, atol=1e-6)


@needs_keras
def test_shear_gain_and_fill() -> None:
    from keras import ops

    from ferkit.train.augment import FaceAugmentation

    still = {"crop": 48, "rotation": 0, "scale": (1, 1), "shift": 0, "flip": 0, "brightness": 0, "contrast": 0, "erase": 0}
    image = np.random.default_rng(0).integers(0, 120, (16, 48, 48)).astype(np.uint8)

    def run(**options: Any) -> np.ndarray:
        return np.asarray(ops.convert_to_numpy(FaceAugmentation(**(still | options))(image, seed=5)))[..., 0]

    assert np.allclose(run(), image, atol=1e-2)
    brighter = run(gain=(0.8, 1.2)) / np.maximum(run(), 1e-3)
    factors = np.array([np.median(face) for face in brighter])
    assert ((factors >= 0.799) & (factors <= 1.201)).all()
    assert factors.std() > 0.05
    sheared = run(shear=0.2, fill="nearest")
    assert np.allclose(sheared[:, 23:25], image[:, 23:25], atol=14)  # the middle rows hardly move
    assert np.abs(sheared[:, 0] - image[:, 0]).mean() > 5
    border = np.zeros((1, 48, 48), np.uint8)
    border[:, :, :1] = 200
    shifted = FaceAugmentation(**(still | {"scale": (0.5, 0.5), "fill": "nearest"}))
    assert np.asarray(ops.convert_to_numpy(shifted(border, seed=1)))[0, :, :8, 0].min() > 150  # the border is repeated
    with pytest.raises(InputError, match="Unknown fill 'wrap'"):
        FaceAugmentation(fill="wrap")


@needs_keras
@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        'base = "conv3"\n[data]\nstandardise = true\n',
        'base = "mini-xception"\n',
    ],
    ids=["standardised", "enlarged"],
)
def test_what_users_run_sees_what_training_saw(changes: str, tmp_path: Path) -> None:
    """Per-face standardisation, and an input larger than 48 pixels, are in the weights: both paths give the same logits."""
    import keras

    from ferkit import ExpressionClassifier
    from ferkit.train import train
    from ferkit.train.fitting import predict_logits
    from tests.conftest import write_fer_csv

    path = tmp_path / "r.toml"
    side = load_recipe(changes.split('"')[1]).size
    path.write_text(f"{changes}[training]\nbatch_size = 8\n[early_stopping]\npatience = 1\n[[stages]]\nepochs = 1\nsize = {side}\n")
    run = train(path, write_fer_csv(tmp_path / "fer2013.csv", 24, 14), tmp_path / "run")
    classifier = ExpressionClassifier(run)
    assert classifier.spec.input["size"] == side
    assert classifier.spec.input.get("standardise", False) is ("standardise" in changes)
    images = np.random.default_rng(0).integers(0, 256, (5, 48, 48)).astype(np.uint8)
    expected = predict_logits(keras.models.load_model(run / "model.keras"), images, load_recipe(path))["fer2013"]
    assert np.abs(classifier.logits(images)[0] - expected).max() < 1e-3
