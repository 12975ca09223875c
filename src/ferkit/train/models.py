"""Architectures, one function each. All take NHWC grey faces of any size and answer logits."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import keras
from keras import layers

from ..errors import InputError

__all__ = ["MODELS", "build_model"]

Heads = int | Mapping[str, int]


def _conv_bn(x: keras.KerasTensor, channels: int, kernel: int = 3, strides: int = 1, relu: bool = True) -> keras.KerasTensor:
    x = layers.Conv2D(channels, kernel, strides=strides, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
    x = layers.BatchNormalization()(x)
    return layers.Activation("relu")(x) if relu else x


def _squeeze_excite(x: keras.KerasTensor, ratio: int = 4) -> keras.KerasTensor:
    """Channel attention (Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018)."""
    channels = x.shape[-1]
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(channels // ratio, 1, activation="relu")(gate)
    gate = layers.Conv2D(channels, 1, activation="sigmoid")(gate)
    return layers.Multiply()([x, gate])


def _residual(x: keras.KerasTensor, channels: int, strides: int) -> keras.KerasTensor:
    y = _conv_bn(x, channels, strides=strides)
    y = _squeeze_excite(_conv_bn(y, channels, relu=False))
    # Average pooling keeps the shortcut's information that a strided 1x1 convolution would throw away
    # (He et al., "Bag of Tricks", CVPR 2019, ResNet-D).
    if strides > 1:
        x = layers.AveragePooling2D(strides, padding="same")(x)
    if x.shape[-1] != channels:
        x = _conv_bn(x, channels, kernel=1, relu=False)
    return layers.Activation("relu")(layers.Add()([x, y]))


def _heads(features: keras.KerasTensor, classes: Heads) -> keras.KerasTensor | dict[str, keras.KerasTensor]:
    """Add one linear layer of logits, or a dictionary of them. Logits stay float32 under mixed precision."""
    if isinstance(classes, Mapping):
        return {name: layers.Dense(k, dtype="float32", name=name)(features) for name, k in classes.items()}
    return layers.Dense(classes, dtype="float32", name="logits")(features)


def ferkit_s(classes: Heads = 7, dropout: float = 0.3) -> keras.Model:
    """Residual net with squeeze-excite: 1.1 M parameters, 73 M MACs at 44x44."""
    inputs = keras.Input((None, None, 1), name="face")
    x = _conv_bn(inputs, 16)
    for channels, strides in ((32, 2), (40, 1), (80, 2), (80, 1), (160, 2), (160, 1)):
        x = _residual(x, channels, strides)
    x = layers.GlobalAveragePooling2D(name="features")(x)
    x = layers.Dropout(dropout)(x)
    return keras.Model(inputs, _heads(x, classes), name="ferkit-s")


def tiny(classes: Heads = 7, dropout: float = 0.3) -> keras.Model:
    """A few thousand parameters: for tests and for trying a data set out."""
    inputs = keras.Input((None, None, 1), name="face")
    x = _conv_bn(inputs, 8, strides=2)
    x = _residual(x, 16, strides=2)
    x = layers.GlobalAveragePooling2D(name="features")(x)
    x = layers.Dropout(dropout)(x)
    return keras.Model(inputs, _heads(x, classes), name="tiny")


MODELS: dict[str, Callable[..., keras.Model]] = {"ferkit-s": ferkit_s, "tiny": tiny}


def build_model(name: str, classes: Heads = 7, **options: float) -> keras.Model:
    """Build an untrained network.

    Args:
        name: A key of ``MODELS``, for example ``"ferkit-s"``.
        classes: Number of classes, or ``{head name: number of classes}`` for several heads.
        options: Passed to the architecture (for example ``dropout``).

    Returns:
        A ``keras.Model`` from float32 faces ``(n, H, W, 1)``, normalised, to logits ``(n, classes)``, or to a
        dictionary of logits, one entry per head.

    Raises:
        InputError: The name is unknown.
    """
    if name not in MODELS:
        raise InputError(f"Unknown architecture {name!r}; expected one of {', '.join(MODELS)}.")
    return MODELS[name](classes=classes, **options)
