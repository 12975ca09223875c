"""Optimisers, rates, patience and snapshots."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ferkit.train.classifier.recipe import Stage, load_recipe
from tests.helpers.recipes import recipe
from tests.helpers.training import needs_keras

pytestmark = pytest.mark.train


@needs_keras
def test_patience_is_read_from_the_history() -> None:
    from ferkit.train.classifier.optimizer import best_epoch, learning_rate_after, stops

    losses = [1.0, 0.8, 0.9, 0.85, 0.79995, 0.81]
    history = [{"epoch": i + 1, "val_loss": loss, "val_fer2013_accuracy": 1 - loss} for i, loss in enumerate(losses)]
    watch = {"monitor": "val_loss", "patience": 2}
    assert [best_epoch(history[:n], watch) for n in range(7)] == [0, 1, 2, 2, 2, 5, 5]
    assert [stops(history[:n], watch) for n in range(7)] == [False, False, False, False, True, False, False]
    assert best_epoch(history, watch | {"monitor": "val_fer2013_accuracy"}) == 5
    assert best_epoch(history, watch | {"min_delta": 0.01}) == 2
    assert not stops(history, {})
    # Measured every fourth epoch: what was not measured yet is no epoch without an improvement.
    seldom = [{"epoch": epoch} | ({"val_loss": 1.0} if epoch % 4 == 0 else {}) for epoch in range(1, 13)]
    assert [epoch for epoch in range(13) if stops(seldom[:epoch], watch)] == [8, 9, 10, 11, 12]
    falling = recipe(plateau={"patience": 2, "factor": 0.1, "min_learning_rate": 5e-5})
    # 0.79995 is less than 1e-4 better, so the plateau goes on; it is cut after epochs 4 and 6, and not below the floor.
    rates = [learning_rate_after(history[:n], falling) for n in range(7)]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-3, 1e-3, 1e-4, 1e-4, 5e-5])


@needs_keras
def test_patience_agrees_with_keras() -> None:
    import keras

    from ferkit.train.classifier.optimizer import learning_rate_after, stops

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
    from ferkit.train.classifier.optimizer import make_optimizer, snapshot_steps

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
    from ferkit.train.classifier.optimizer import make_optimizer

    made = make_optimizer(recipe(optimizer={"name": name, "learning_rate": 0.01, "weight_decay": 0.1, "schedule": "constant"}), 5)
    assert type(made).__name__.lower() == name
    assert made.weight_decay == 0.1


@needs_keras
@pytest.mark.parametrize("decay", [None, 0.0, 0.1])
def test_biases_and_normalisations_do_not_decay_whichever_stage_begins_it(decay: float | None) -> None:
    import keras

    from ferkit.train.classifier.optimizer import make_optimizer

    optimizer = {"learning_rate": 0.01, "schedule": "constant"} | ({} if decay is None else {"weight_decay": decay})
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.BatchNormalization()])
    made = make_optimizer(recipe(optimizer=optimizer, stages=(Stage(1, 48), Stage(1, 48, weight_decay=0.1))), 5)
    made.build(model.trainable_variables)
    made.weight_decay = 0.1  # as the second stage sets it
    assert [variable.name for variable in model.trainable_variables if made._use_weight_decay(variable)] == ["kernel"]
