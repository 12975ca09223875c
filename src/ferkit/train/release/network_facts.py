"""What a card says of a network and of where it was trained."""

from __future__ import annotations

import os
import platform

import keras
import numpy as np
from keras import layers

from ...weights.records import Architecture

__all__ = ["architecture", "machine", "multiply_adds"]


def multiply_adds(network: keras.Model, size: int) -> int:
    """Count the multiply-adds of the convolutions and dense layers for one picture of ``size`` x ``size`` pixels."""
    fixed = keras.models.clone_model(network, input_tensors=keras.Input((size, size, network.input_shape[-1])))
    total = 0
    for layer in fixed.layers:
        if isinstance(layer, layers.DepthwiseConv2D):
            total += int(np.prod(layer.output.shape[1:]) * np.prod(layer.kernel.shape[:2]))
        elif isinstance(layer, layers.SeparableConv2D):
            kernels = np.prod(layer.depthwise_kernel.shape) + np.prod(layer.pointwise_kernel.shape)
            total += int(np.prod(layer.output.shape[1:3]) * kernels)
        elif isinstance(layer, layers.Conv2D):
            total += int(np.prod(layer.output.shape[1:]) * np.prod(layer.kernel.shape[:3]))
        elif isinstance(layer, layers.Dense):
            total += int(np.prod(layer.kernel.shape))
    return total


def architecture(network: keras.Model, size: int) -> Architecture:
    """Return what a spec says of a network: its ``name``, its ``parameters``, and its ``macs`` for one picture of ``size`` pixels."""
    return {"name": network.name, "parameters": int(network.count_params()), "macs": multiply_adds(network, size)}


def machine() -> str:
    """Name the machine and the engine of a training run."""
    return f"{os.cpu_count()} CPU cores, {platform.machine()}, Keras {keras.__version__} on {keras.backend.backend()}"
