"""A released detector as the start of a training: its ONNX graph read back, layer by layer, into the network that wrote it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

from ...errors import WeightsError

__all__ = ["start_from"]

_NORM = np.sqrt(2.0)  # of each output channel's kernel, as "he_normal" begins: a learning rate means the same as from nothing


def start_from(onnx: bytes, detector: keras.Model, batches: Iterable[NDArray[np.float32]]) -> None:
    """Give an untrained detector the weights of one that ``to_onnx`` wrote: it then answers the same.

    Batch normalisations, which the file holds folded into kernels, get the statistics of what reaches them, so that training goes on
    from where it is and does not first find them anew.

    Args:
        onnx: Bytes of ``model.onnx``.
        detector: Of ``build_detector`` with the options of the network in the file. Changed.
        batches: Network input, float32 ``(n, H, W, 3)``, for the statistics.

    Raises:
        WeightsError: The file holds another network.
    """
    pairs = list(_convolutions(detector))
    stored = _stored(onnx)
    wanted = {f"{name}.{part}" for name, _, _ in pairs for part in ("weight", "bias")}
    if not wanted <= set(stored):
        raise WeightsError(
            f"The network to start from has {len(stored)} weights of other names than this recipe's network; expected one of its [model]."
        )
    for name, layer, normalisation in pairs:
        _fill(layer, normalisation, stored[f"{name}.weight"].astype(np.float64), stored[f"{name}.bias"].astype(np.float64))
    normalised = [(layer, normalisation) for _, layer, normalisation in pairs if normalisation is not None]
    probe = keras.Model(detector.input, [layer.output for layer, _ in normalised])
    sums: list[Any] = [np.zeros((2, layer.output.shape[-1])) for layer, _ in normalised]
    count = 0
    for batch in batches:
        for total, answer in zip(sums, probe(batch, training=False), strict=True):
            values = ops.convert_to_numpy(ops.cast(answer, "float32")).astype(np.float64)
            np.add(total, [values.mean((0, 1, 2)), np.square(values).mean((0, 1, 2))], out=total)
        count += 1
    for (_, normalisation), total in zip(normalised, sums, strict=True):
        mean, square = total / count
        _shift(normalisation, mean, np.maximum(square - mean**2, 1e-6))


def _convolutions(detector: keras.Model) -> Iterator[tuple[str, Any, layers.BatchNormalization | None]]:
    """Yield the convolutions with the names that ``to_onnx`` gives them, and the normalisations behind them."""
    behind = {id(layer.input): layer for layer in detector.layers if isinstance(layer, layers.BatchNormalization)}
    for number, layer in enumerate(detector.layers):
        if isinstance(layer, (layers.Conv2D, layers.DepthwiseConv2D)):
            yield layer.name if layer.name in detector.output else f"n{number}", layer, behind.get(id(layer.output))


def _stored(onnx: bytes) -> dict[str, NDArray[np.float32]]:
    import onnx as library
    from onnx import numpy_helper

    return {tensor.name: np.asarray(numpy_helper.to_array(tensor)) for tensor in library.load_from_string(onnx).graph.initializer}


def _fill(layer: Any, normalisation: layers.BatchNormalization | None, kernel: NDArray[Any], bias: NDArray[Any]) -> None:
    """Set a convolution; its normalisation, with mean 0 and variance 1, then only scales and shifts."""
    order = (2, 3, 0, 1) if isinstance(layer, layers.DepthwiseConv2D) else (2, 3, 1, 0)
    values = kernel.transpose(order)
    if values.shape != tuple(layer.kernel.shape):
        raise WeightsError(
            f"The network to start from has a kernel of shape {values.shape} where the recipe's has {tuple(layer.kernel.shape)}; expected one of its [model]."
        )
    if normalisation is None:
        layer.kernel.assign(values)
        layer.bias.assign(bias)
        return
    norm = np.sqrt(np.square(kernel).sum((1, 2, 3))) / _NORM + 1e-12
    layer.kernel.assign((kernel / norm[:, None, None, None]).transpose(order))
    normalisation.gamma.assign(norm * np.sqrt(1 + normalisation.epsilon))
    normalisation.beta.assign(bias)
    normalisation.moving_mean.assign(np.zeros(len(bias)))
    normalisation.moving_variance.assign(np.ones(len(bias)))


def _shift(normalisation: layers.BatchNormalization, mean: NDArray[Any], variance: NDArray[Any]) -> None:
    """Give a normalisation as ``_fill`` left it other statistics, and the same answer."""
    gamma, beta = (ops.convert_to_numpy(v).astype(np.float64) for v in (normalisation.gamma, normalisation.beta))
    factor = gamma / np.sqrt(1 + normalisation.epsilon)
    normalisation.gamma.assign(factor * np.sqrt(variance + normalisation.epsilon))
    normalisation.beta.assign(beta + factor * mean)
    normalisation.moving_mean.assign(mean)
    normalisation.moving_variance.assign(variance)
