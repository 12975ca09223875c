"""The face detector's two networks: one finds faces in a picture, the other the five landmarks in a face.

The first is a small residual backbone, a top-down neck, and anchor-free heads at strides 8, 16, 32; its landmarks are rough.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
from keras import layers

from ...detectors.ferkit_face_format import POINTS_SIZE

__all__ = ["COLUMNS", "STRIDES", "build_detector", "build_points"]

STRIDES = (8, 16, 32)

# What a head answers for each cell: one score (logit), the distances from the cell's centre to the box's four sides
# (log of strides) and the offsets of the five landmarks from the cell's centre (strides).
COLUMNS = {"score": slice(0, 1), "box": slice(1, 5), "landmarks": slice(5, 15)}

_PRIOR = 0.01  # the share of cells that hold a face, at the start (Lin et al., "Focal Loss", ICCV 2017, section 4.1)


def _conv(x: keras.KerasTensor, channels: int, kernel: int = 3, strides: int = 1, relu: bool = True) -> keras.KerasTensor:
    x = layers.Conv2D(channels, kernel, strides=strides, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
    x = layers.BatchNormalization(momentum=0.97)(x)
    return layers.ReLU()(x) if relu else x


def _separable(x: keras.KerasTensor, channels: int) -> keras.KerasTensor:
    """Depthwise 3x3, then 1x1 (Howard et al., "MobileNets", 2017)."""
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, depthwise_initializer="he_normal")(x)
    x = layers.BatchNormalization(momentum=0.97)(x)
    return _conv(layers.ReLU()(x), channels, 1)


def _residual(x: keras.KerasTensor, hidden: int) -> keras.KerasTensor:
    y = _conv(_conv(x, hidden), x.shape[-1], relu=False)
    return layers.ReLU()(layers.Add()([x, y]))


@keras.saving.register_keras_serializable(package="ferkit")
class HeadBias(keras.initializers.Initializer):
    """Starts a head at few faces, of four strides each."""

    def __call__(self, shape: tuple[int, ...], dtype: str | None = None) -> object:
        value = np.zeros(shape, np.float32)
        value[COLUMNS["score"]] = -np.log((1 - _PRIOR) / _PRIOR)
        value[COLUMNS["box"]] = np.log(2.0)
        return keras.ops.convert_to_tensor(value, dtype or "float32")


def build_detector(
    widths: Sequence[int] = (8, 24, 48, 64, 64),
    hidden: Sequence[int] = (0, 32, 48, 48),
    blocks: Sequence[int] = (0, 1, 1, 1),
    neck: int = 48,
) -> keras.Model:
    """Build the untrained network.

    Args:
        widths: Channels at strides 2, 4, 8, 16 and 32.
        hidden: Channels inside the residual blocks at strides 4, 8, 16 and 32.
        blocks: How many residual blocks there are at strides 4, 8, 16 and 32.
        neck: Channels of the neck and the heads.

    Returns:
        A model from float32 RGB ``(n, H, W, 3)``, ``(pixel - 127.5) / 128``, H and W multiples of 32, to a dictionary of
        maps ``{"stride8": (n, H / 8, W / 8, 15), ...}``; see ``COLUMNS``.
    """
    image = keras.Input((None, None, 3), name="image")
    x = _conv(image, widths[0], strides=2)
    levels = []
    for width, inner, depth in zip(widths[1:], hidden, blocks, strict=True):
        x = _conv(x, width, strides=2)
        for _ in range(depth):
            x = _residual(x, inner)
        levels.append(x)

    above = None
    outputs = {}
    for stride, level in zip(reversed(STRIDES), reversed(levels[1:]), strict=True):
        lateral = _conv(level, neck, 1)
        if above is not None:
            lateral = layers.Add()([lateral, layers.UpSampling2D(2, interpolation="nearest")(above)])
        above = _separable(lateral, neck)
        tower = _separable(above, neck)
        outputs[f"stride{stride}"] = layers.Conv2D(15, 1, dtype="float32", bias_initializer=HeadBias(), name=f"stride{stride}")(tower)
    return keras.Model(image, outputs, name="ferkit-face")


def build_points(widths: Sequence[int] = (16, 24, 32, 48), hidden: int = 16, neck: int = 32) -> keras.Model:
    """Build the untrained network for landmarks: an hourglass that answers one heat map for each.

    Args:
        widths: Channels at strides 2, 4, 8 and 16.
        hidden: Channels inside the residual block at stride 4.
        neck: Channels on the way back up to stride 4.

    Returns:
        A model from float32 RGB ``(n, 48, 48, 3)``, ``(pixel - 127.5) / 128``, to ``{"points": (n, 12, 12, 5)}``, logits: a landmark is
        where its map's softmax has its mean (Sun et al., "Integral Human Pose Regression", ECCV 2018).
    """
    image = keras.Input((POINTS_SIZE, POINTS_SIZE, 3), name="image")
    fine = _residual(_conv(_conv(image, widths[0], strides=2), widths[1], strides=2), hidden)
    middle = _separable(_conv(fine, widths[2], strides=2), widths[2])
    coarse = _separable(_separable(_conv(middle, widths[3], strides=2), widths[3]), widths[3])
    x = _conv(coarse, neck, 1)
    for level in (middle, fine):
        x = layers.Add()([layers.UpSampling2D(2, interpolation="nearest")(x), _conv(level, neck, 1)])
        x = _separable(x, neck)
    return keras.Model(image, {"points": layers.Conv2D(5, 1, dtype="float32", name="points")(x)}, name="ferkit-points")
