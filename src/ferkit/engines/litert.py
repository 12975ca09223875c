"""LiteRT (TensorFlow Lite) files as engines."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, MissingExtraError, WeightsError
from .onnx_file import Tensor, output_position

__all__ = ["LiteRTEngine"]


class LiteRTEngine:
    """A .tflite file; inputs and outputs that are quantised are fed and read as the real numbers that they stand for."""

    def __init__(self, model: bytes, where: str, providers: Sequence[str] | None = None, output: str | None = None) -> None:
        if providers is not None:
            raise InputError(f"providers={list(providers)} are onnxruntime's, and {where} is a LiteRT file; leave them out.")
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise MissingExtraError("ai-edge-litert", "train", f"Opening {where}") from error
        try:
            self._interpreter = Interpreter(model_content=model)
        except (ValueError, RuntimeError) as error:
            raise WeightsError(f"{where} is not a network that LiteRT can read: {error}") from error
        given, answers = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        self.inputs, self.outputs = [_tensor(detail) for detail in given], [_tensor(detail) for detail in answers]
        self._given, self._answer = given[0], answers[0 if output is None else output_position(self.outputs, output, where)]
        self._shape: tuple[int, ...] = ()
        self._lock = threading.Lock()

    def run(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        with self._lock:  # an interpreter keeps its buffers between calls
            if batch.shape != self._shape:
                self._interpreter.resize_tensor_input(self._given["index"], batch.shape)
                self._interpreter.allocate_tensors()
                self._shape = batch.shape
            self._interpreter.set_tensor(self._given["index"], _quantised(batch, self._given))
            self._interpreter.invoke()
            return _real(self._interpreter.get_tensor(self._answer["index"]), self._answer).reshape(len(batch), -1)


def _quantised(batch: NDArray[Any], detail: Mapping[str, Any]) -> NDArray[Any]:
    scale, zero = detail["quantization"]
    if not scale:
        return np.asarray(batch, detail["dtype"])
    limits = np.iinfo(detail["dtype"])
    return np.asarray(np.clip(np.rint(batch / scale) + zero, limits.min, limits.max), detail["dtype"])


def _real(answer: NDArray[Any], detail: Mapping[str, Any]) -> NDArray[np.float32]:
    scale, zero = detail["quantization"]
    return np.asarray((answer.astype(np.float32) - zero) * scale if scale else answer, np.float32)


def _tensor(detail: Mapping[str, Any]) -> Tensor:
    shape = detail["shape_signature"] if len(detail.get("shape_signature", ())) else detail["shape"]
    dtype = "float32" if detail["quantization"][0] else np.dtype(detail["dtype"]).name
    return Tensor(str(detail["name"]), dtype, tuple(int(n) if n > 0 else None for n in shape))
