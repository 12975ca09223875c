"""Engines that run an ONNX network. One class per engine, one method: a float32 batch in, float32 rows out."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ._threads import limit_opencv, requested_threads, thread_count
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

    limit_opencv()
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

    def __init__(self, model: bytes, providers: Sequence[str] | None = None, threads: int | None = None) -> None:
        if providers is not None:
            raise InputError(f'providers={list(providers)} are onnxruntime\'s; pass runtime="onnxruntime" too, or no providers.')
        self._net = read_network(model, "model.onnx")
        if threads is not None:
            limit_opencv(threads)
        # A Net keeps its buffers between calls: shared by threads without a lock it answers wrong numbers silently.
        self._lock = threading.Lock()

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        with self._lock:
            self._net.setInput(batch)
            out = np.array(self._net.forward(), np.float32)
        return out.reshape(len(batch), -1)  # OpenCV 4 answers (n, 1, k) for some exports


class OnnxRuntime:
    """onnxruntime: about twice as fast, one more dependency; on other devices through its execution providers."""

    def __init__(self, model: bytes, providers: Sequence[str] | None = None, threads: int | None = None) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingExtraError("onnxruntime", "onnxruntime", 'runtime="onnxruntime"') from error
        wanted = _providers(providers, onnxruntime.get_available_providers())
        options = onnxruntime.SessionOptions()
        if requested_threads(threads) is not None or thread_count() < (os.cpu_count() or 1):
            options.intra_op_num_threads = thread_count(threads)  # else onnxruntime's own: one for each core, and bound to it
        self._open = partial(onnxruntime.InferenceSession, model, options, providers=wanted)
        self._session, self._process = self._open(), os.getpid()
        refused = [name for name in wanted if name not in self._session.get_providers()]
        if refused:  # onnxruntime warns and goes on with the CPU; what was asked for is never replaced in silence
            raise InputError(
                f"{', '.join(refused)} cannot be started here; onnxruntime's message above says why. Leave it out for the CPU."
            )
        self._input = self._session.get_inputs()[0].name

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._process != os.getpid():  # forked: the session's threads stayed behind, and it would wait for them
            self._session, self._process = self._open(), os.getpid()
        return np.asarray(self._session.run(None, {self._input: batch})[0], np.float32).reshape(len(batch), -1)


def _providers(names: Sequence[str] | None, available: Sequence[str]) -> list[str]:
    """Return execution providers by onnxruntime's names, whatever their case and with or without the ending. Raises InputError."""
    known = {name.lower(): name for name in available}
    known |= {name.lower().removesuffix("executionprovider"): name for name in available}
    chosen = []
    for name in ("cpu",) if names is None else (names,) if isinstance(names, str) else names:
        if str(name).lower() not in known:
            raise InputError(f"Unknown provider {name!r}; this onnxruntime has {', '.join(available)}. CUDA: pip install onnxruntime-gpu")
        chosen.append(known[str(name).lower()])
    if not chosen:
        raise InputError(f"providers=[]; expected at least one of {', '.join(available)}, or None.")
    return chosen


RUNTIMES: dict[str, type[Any]] = {"opencv": OpenCVRuntime, "onnxruntime": OnnxRuntime}


def open_runtime(name: str, model: bytes, providers: Sequence[str] | None = None, threads: int | None = None) -> Runtime:
    """Open a network with an engine by name.

    Args:
        name: One of RUNTIMES.
        model: An ONNX file's bytes.
        providers: onnxruntime's execution providers, the first that can run a node runs it; None is the CPU.
        threads: None is ``FERKIT_THREADS``, else the CPUs at hand.

    Raises:
        InputError: An unknown runtime or provider, or threads below 1.
        MissingExtraError: The engine is not installed.
        WeightsError: It cannot read the network.
    """
    if name not in RUNTIMES:
        raise InputError(f"Unknown runtime {name!r}; expected one of {', '.join(RUNTIMES)}.")
    requested_threads(threads)
    engine: Runtime = RUNTIMES[name](model, providers, threads)
    return engine
