"""The detector as an ONNX graph: channels first, batch normalisation folded away, any picture size."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from ...errors import FerkitError
from ..release.keras_to_onnx import difference
from ..release.layers_to_onnx import Writer, calls_of, serialised

__all__ = ["checked_onnx", "to_onnx"]


def to_onnx(model: keras.Model) -> bytes:
    """Serialise a model of ``build_detector``.

    Returns:
        ONNX bytes: input ``image`` float32 ``(n, 3, H, W)``, H and W multiples of 32; outputs ``stride8`` and so on,
        float32 ``(n, 15, H / 8, W / 8)``.

    Raises:
        InputError: A layer that the export does not know.
        MissingExtraError: The package onnx is not installed.
    """
    # Keras numbers its layers through the process; these names depend on the network alone, as the file then does, and
    # ``starting.py`` finds the weights by them.
    writer = Writer({id(layer): layer.name if layer.name in model.output else f"n{number}" for number, layer in enumerate(model.layers)})
    given = keras.Input((None, None, 3))
    writer.values[id(given)] = "image"
    calls, _ = calls_of(model, given)
    writer.write(calls)

    def shape(name: str, channels: int, suffix: str = "") -> Any:
        return writer.helper.make_tensor_value_info(name, 1, ["n", channels, f"h{suffix}", f"w{suffix}"])  # 1: float32

    outputs = [shape(name, tensor.shape[-1], name.removeprefix("stride")) for name, tensor in model.output.items()]
    return serialised(writer, "ferkit-face", [shape("image", 3)], outputs)


def checked_onnx(model: keras.Model, height: int, width: int) -> bytes:
    """Serialise a model, and compare what OpenCV answers on noise of that size with what Keras answers.

    Raises:
        FerkitError: They differ by more than 1e-4, as ``difference`` counts.
    """
    import cv2

    data = to_onnx(model)
    noise = np.random.default_rng(0).normal(size=(1, height, width, 3)).astype(np.float32)
    net = cv2.dnn.readNetFromONNX(np.frombuffer(data, np.uint8))
    net.setInput(np.ascontiguousarray(noise.transpose(0, 3, 1, 2)))
    names = list(model.output)
    answers = model(noise, training=False)
    for name, found in zip(names, net.forward(names), strict=True):
        worst = difference(found, keras.ops.convert_to_numpy(answers[name]).transpose(0, 3, 1, 2))
        if not worst < 1e-4:
            raise FerkitError(f"Keras and ONNX differ by {worst:.2e} in {name!r}; at most 1e-4 is allowed. Nothing was written.")
    return data
