"""Engines that run an ONNX network. One class per engine, one method: a float32 batch in, float32 rows out."""

from __future__ import annotations

import threading
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .errors import InputError, MissingExtraError, WeightsError

__all__ = ["RUNTIMES", "Runtime", "open_runtime"]


class Runtime(Protocol):
    """What a classifier needs of an engine."""

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map ``(n, 1, H, W)`` to ``(n, k)``; safe to call from several threads."""
        ...


class OpenCVRuntime:
    """OpenCV's dnn module: the default, because it is already a dependency and starts fast."""

    def __init__(self, model: bytes) -> None:
        import cv2

        try:
            self._net = cv2.dnn.readNetFromONNX(np.frombuffer(model, np.uint8))
        except cv2.error as error:
            raise WeightsError(f"OpenCV {cv2.__version__} cannot read this network: {error}") from error
        # A Net keeps its buffers between calls: shared by threads without a lock it answers wrong numbers silently.
        self._lock = threading.Lock()

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        with self._lock:
            self._net.setInput(batch)
            out = np.array(self._net.forward(), np.float32)
        return out.reshape(len(batch), -1)  # OpenCV 4 answers (n, 1, k) for some exports


class OnnxRuntime:
    """onnxruntime: about twice as fast, one more dependency."""

    def __init__(self, model: bytes) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingExtraError("onnxruntime", "onnxruntime", 'runtime="onnxruntime"') from error
        self._session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(self._session.run(None, {self._input: batch})[0], np.float32).reshape(len(batch), -1)


RUNTIMES: dict[str, type[OpenCVRuntime] | type[OnnxRuntime]] = {"opencv": OpenCVRuntime, "onnxruntime": OnnxRuntime}


def open_runtime(name: str, model: bytes) -> Runtime:
    """Open a network with an engine by name. Raises InputError, MissingExtraError or WeightsError."""
    if name not in RUNTIMES:
        raise InputError(f"Unknown runtime {name!r}; expected one of {', '.join(RUNTIMES)}.")
    return RUNTIMES[name](model)
