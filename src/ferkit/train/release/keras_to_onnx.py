"""Exporting a trained network to ONNX, and checking that it answers as Keras does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from ...errors import FerkitError
from ...files import write_bytes
from .layers_to_onnx import Writer, calls_of, serialised

__all__ = ["difference", "export_onnx", "keras_outputs", "to_onnx"]


def difference(answered: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Return the largest difference of two sets of logits, relative to the largest logit where that is above 1.

    Rounding grows with the numbers: ResNet-34 differs by 1.1e-4 between two correct engines.
    """
    return float(np.abs(answered - expected).max() / max(1.0, np.abs(expected).max()))


def to_onnx(model: keras.Model, heads: Sequence[str], size: int) -> bytes:
    """Write a network layer by layer, the same on every backend.

    Args:
        model: Functional, with one output a head.
        heads: Their names, in the order of the columns.
        size: Side of the network's input, pixels.

    Returns:
        ONNX: input ``face`` float32 ``(n, channels, size, size)``, normalised; output ``logits`` float32 ``(n, columns)``.

    Raises:
        InputError: A layer that the export does not know.
        MissingExtraError: The package onnx is not installed.
    """
    writer = Writer()
    channels = model.input_shape[-1]
    given = keras.Input((size, size, channels))
    writer.values[id(given)] = "face"
    calls, answers = calls_of(model, given)
    writer.write(calls)
    outputs = [answers[head] if isinstance(answers, dict) else answers for head in heads]
    columns = sum(output.shape[-1] for output in outputs)
    joined = [writer.values[id(output)] for output in outputs]
    writer.node("Concat", joined, "logits", axis=1)
    describe = writer.helper.make_tensor_value_info
    face = describe("face", 1, ["n", channels, size, size])  # 1: float32
    return serialised(writer, model.name, [face], [describe("logits", 1, ["n", columns])])


def export_onnx(model: keras.Model, heads: Sequence[str], path: Path, size: int = 48) -> None:
    """Write ``path``: float32 ``(n, channels, size, size)``, normalised, to logits ``(n, columns)``, heads in their order.

    Args:
        model: With one output a head.
        heads: The outputs by name.
        path: Of the file.
        size: Side of the network's input, pixels.

    Raises:
        FerkitError: The engine's answers differ from Keras's by more than 1e-4 (``difference``) on random faces.
        InputError, MissingExtraError: As ``to_onnx``.
    """
    from ...engines.opencv import OpenCVEngine

    data = to_onnx(model, heads, size)
    sample = np.random.default_rng(0).normal(size=(4, model.input_shape[-1], size, size)).astype(np.float32)
    worst = difference(OpenCVEngine(data).run(sample), keras_outputs(model, heads, sample))
    if not worst < 1e-4:
        raise FerkitError(
            f"The exported network differs from Keras by {worst:.2e}; at most 1e-4 is allowed. Nothing was written to {path}."
        )
    write_bytes(path, data)


def keras_outputs(model: keras.Model, heads: Sequence[str], batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """Run a network in Keras on ``(n, 1, H, W)``; the same columns as the exported file, float32 ``(n, k)``."""
    answers = model(np.moveaxis(batch, 1, -1), training=False)
    columns = [answers[head] if isinstance(answers, dict) else answers for head in heads]
    return np.concatenate([ops.convert_to_numpy(column) for column in columns], axis=1)
