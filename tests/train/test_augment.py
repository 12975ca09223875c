"""Augmentation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ferkit import ExpressionClassifier, InputError
from ferkit.crops import normalised
from ferkit.train.classifier.recipe import load_recipe
from tests.helpers.faces import write_fer_csv
from tests.helpers.recipes import faces
from tests.helpers.training import needs_keras

pytestmark = pytest.mark.train


@needs_keras
def test_augmentation() -> None:
    from keras import ops

    from ferkit.train.classifier.augment import FaceAugmentation

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

    from ferkit.train.classifier.augment import FaceAugmentation, _blurred, _gaussians

    faces = np.random.default_rng(0).integers(60, 190, (4, 32, 32)).astype(np.float32)
    sigmas = np.array([0.0, 0.5, 0.8, 1.2], np.float32)
    ours = np.asarray(ops.convert_to_numpy(_blurred(faces, _gaussians(ops.convert_to_tensor(sigmas)))))
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

    from ferkit.train.classifier.augment import FaceAugmentation

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

    from ferkit.train import train
    from ferkit.train.classifier.loop import predict_logits

    path = tmp_path / "r.toml"
    side = load_recipe(changes.split('"')[1]).size
    path.write_text(
        f"{changes}[training]\nbatch_size = 8\n[early_stopping]\npatience = 1\n[[stages]]\nepochs = 1\nsize = {side}\n", encoding="utf-8"
    )
    run = train(path, write_fer_csv(tmp_path / "fer2013.csv", 24, 14), tmp_path / "run")
    classifier = ExpressionClassifier(run)
    assert classifier.spec.input["size"] == side
    assert classifier.spec.input.get("standardise", False) is ("standardise" in changes)
    images = np.random.default_rng(0).integers(0, 256, (5, 48, 48)).astype(np.uint8)
    expected = predict_logits(keras.models.load_model(run / "model.keras"), images, load_recipe(path))["fer2013"]
    assert np.abs(classifier.logits(images)[0] - expected).max() < 1e-3
