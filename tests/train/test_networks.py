"""Architectures."""

from __future__ import annotations

import os

import numpy as np
import pytest

from ferkit import InputError
from tests.helpers.recipes import COUNTS
from tests.helpers.training import needs_keras

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
pytestmark = pytest.mark.train


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
    from ferkit.train.classifier.networks import MODELS, build_model

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
@pytest.mark.parametrize(
    ("name", "message"),
    [
        (":small", "':small' cannot be imported"),
        (".nets:small", "'.nets:small' cannot be imported"),
        ("tests.helpers.networks:nothing", "returned NoneType; expected a keras.Model"),
        ("tests.helpers.networks:one_class_short", r"answers \{'fer6': 5\}; expected \{'fer6': 6\}, as it was asked for"),
    ],
)
def test_a_function_that_makes_no_such_network_is_told(name: str, message: str) -> None:
    from ferkit.train import build_model

    with pytest.raises(InputError, match=message):
        build_model(name, {"fer6": 6})


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
