"""Exporting a trained network to ONNX, and checking that it answers as Keras does."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from ...errors import FerkitError

__all__ = ["difference", "export_onnx", "keras_outputs"]


def _inference_model(model: keras.Model, names: Sequence[str], size: int) -> keras.Model:
    """Wrap a network: faces ``(n, 1, size, size)`` in, as engines want them; its heads side by side out."""
    faces = keras.Input((1, size, size), name="face")
    heads = [model.get_layer(name) for name in names]
    trunk = keras.Model(model.input, heads[0].input)
    # One channel: (1, H, W) and (H, W, 1) are the same numbers in the same order.
    features = trunk(keras.layers.Reshape((size, size, 1))(faces), training=False)
    # One layer instead of a concatenation, which OpenCV 4 refuses in this converter's output.
    joined = keras.layers.Dense(sum(head.units for head in heads), name="logits")
    wrapped = keras.Model(faces, joined(features), name=model.name)
    kernels, biases = zip(*(map(ops.convert_to_numpy, (head.kernel, head.bias)) for head in heads), strict=True)
    joined.set_weights([np.concatenate(kernels, axis=1), np.concatenate(biases)])
    return wrapped


def difference(answered: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Return the largest difference of two sets of logits, relative to the largest logit where that is above 1.

    Rounding grows with the numbers: ResNet-34 differs by 1.1e-4 between two correct engines.
    """
    return float(np.abs(answered - expected).max() / max(1.0, np.abs(expected).max()))


def export_onnx(model: keras.Model, heads: Sequence[str], path: Path, size: int = 48) -> None:
    """Write ``path``: float32 ``(n, 1, size, size)``, normalised, to logits ``(n, columns)``, heads in their order.

    Args:
        model: With one linear layer a head.
        heads: The heads' layers by name.
        path: Of the file.
        size: Side of the network's input, pixels.

    Raises:
        FerkitError: The engine's answers differ from Keras's by more than 1e-4 (:func:`difference`) on random faces.
    """
    from ...engines.opencv import OpenCVEngine

    wrapped = _inference_model(model, heads, size)
    sample = np.random.default_rng(0).normal(size=(4, 1, size, size)).astype(np.float32)
    expected = ops.convert_to_numpy(wrapped(sample, training=False))
    with tempfile.TemporaryDirectory(dir=path.parent) as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the converters' own deprecations
        partial = Path(folder) / "model.onnx"
        wrapped.export(str(partial), format="onnx", verbose=False)
        answered = OpenCVEngine(partial.read_bytes()).run(sample)
        worst = difference(answered, expected)
        if not worst < 1e-4:
            raise FerkitError(
                f"The exported network differs from Keras by {worst:.2e}; at most 1e-4 is allowed. Nothing was written to {path}."
            )
        os.replace(partial, path)


def keras_outputs(model: keras.Model, heads: Sequence[str], batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """Run a network in Keras on ``(n, 1, H, W)``; the same columns as the exported file, float32 ``(n, k)``."""
    answers = model(np.moveaxis(batch, 1, -1), training=False)
    return np.concatenate([ops.convert_to_numpy(answers[head]) for head in heads], axis=1)
