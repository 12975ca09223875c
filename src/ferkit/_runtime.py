"""Engines that run an ONNX network. One class per engine, one method: a float32 batch in, float32 rows out."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from .errors import InputError, MissingExtraError, WeightsError

if TYPE_CHECKING:
    import cv2

__all__ = ["RUNTIMES", "Runtime", "open_runtime", "read_network"]

_KEPT_BYTES = 24 << 20


class Runtime(Protocol):
    """What a classifier needs of an engine."""

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map ``(n, 1, H, W)`` to ``(n, k)``; safe to call from several threads."""
        ...


def read_network(onnx: bytes, where: str) -> cv2.dnn.Net:
    """Open a network in OpenCV. Raises WeightsError, which says ``where`` it came from."""
    import cv2

    # The C library gives blocks over 128 KB back to the system when they are freed, and fetches them anew, page by page, with every
    # picture: 4 of a detection's 17 ms. Once it has freed a larger block it keeps blocks up to that size (mallopt(3),
    # M_MMAP_THRESHOLD). This one is never touched, and other C libraries lose nothing.
    np.empty(_KEPT_BYTES, np.uint8)
    try:
        return cv2.dnn.readNetFromONNX(np.frombuffer(onnx, np.uint8))
    except cv2.error as error:
        raise WeightsError(f"{where} is no network that OpenCV {cv2.__version__} can read: {error}") from error


class OpenCVRuntime:
    """OpenCV's dnn module: the default, because it is already a dependency and starts fast."""

    def __init__(self, model: bytes) -> None:
        self._net = read_network(model, "model.onnx")
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
