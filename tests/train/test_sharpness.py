"""Sharpness-aware minimisation: the step by hand, and a run that stops and goes on."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from ferkit import InputError
from ferkit.train.classifier.recipe import load_recipe
from tests.helpers.faces import write_fer_csv
from tests.helpers.training import TINY, needs_keras

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
pytestmark = [pytest.mark.train, needs_keras]


def test_a_step_by_hand() -> None:
    import keras

    from ferkit.train.classifier.sharpness import sharpness_aware

    entry = keras.Input((2,))
    network = keras.Model(entry, {"y": keras.layers.Dense(1, use_bias=False, name="y")(entry)})
    network.set_weights([np.array([[1.0], [-2.0]], np.float32)])
    model = sharpness_aware(network, 0.1)
    optimizer = keras.optimizers.SGD(0.5, use_ema=True, ema_momentum=0.5)
    model.compile(optimizer, loss={"y": "mse"}, jit_compile=False)
    x, y = np.array([[1.0, 2.0], [3.0, -1.0]], np.float32), np.array([[0.5], [1.0]], np.float32)

    def slope(w: np.ndarray) -> np.ndarray:
        return 2 * x.T @ (x @ w - y) / len(x)

    w = network.get_weights()[0]
    loss = float(((x @ w - y) ** 2).mean())
    g = slope(w)
    expected = w - 0.5 * slope(w + 0.1 * g / np.linalg.norm(g))
    logs = model.train_on_batch(x, {"y": y}, return_dict=True)
    assert float(logs["loss"]) == pytest.approx(loss, rel=1e-5)
    assert np.allclose(network.get_weights()[0], expected, atol=1e-5)
    averaged = np.asarray(optimizer._model_variables_moving_average[0])
    assert np.allclose(averaged, expected, atol=1e-5)  # it starts with the first step; the worst point is in no average


def test_a_run_resumes_and_bad_radii_are_refused(tmp_path: Path) -> None:
    from ferkit.data.faces import read_csv
    from ferkit.train import fit

    data = read_csv(write_fer_csv(tmp_path / "fer2013.csv", 32))
    recipe = tmp_path / "r.toml"
    recipe.write_text(TINY.replace("ema = 0.9", "ema = 0.9\nsam = 0.05"), encoding="utf-8")
    whole = fit(recipe, data, tmp_path / "whole", log=lambda line: None)
    fit(recipe, data, tmp_path / "parts", max_minutes=1e-6, log=lambda line: None)
    parts = fit(recipe, data, tmp_path / "parts", resume=True, log=lambda line: None)
    assert parts.finished
    for a, b in zip(whole.model.get_weights(), parts.model.get_weights(), strict=True):
        assert np.array_equal(a, b)
    recipe.write_text(TINY.replace("ema = 0.9", "sam = -1.0"), encoding="utf-8")
    with pytest.raises(InputError, match=r"sam in \[optimizer\] of recipe 'tiny-test' = -1\.0; expected a number, at least 1e-06"):
        fit(load_recipe(recipe), data, tmp_path / "bad", log=lambda line: None)
