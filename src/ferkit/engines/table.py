"""The table of engines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import InputError
from ..protocols import Engine
from .onnx_file import check_whole
from .onnxruntime import OnnxRuntimeEngine
from .opencv import OpenCVEngine
from .threads import requested_threads

__all__ = ["ENGINES", "open_engine"]

ENGINES: dict[str, type[Any]] = {"opencv": OpenCVEngine, "onnxruntime": OnnxRuntimeEngine}
_KEPT_BYTES = 24 << 20


def open_engine(name: str, model: bytes, providers: Sequence[str] | None = None, threads: int | None = None) -> Engine:
    """Open a network with an engine by name.

    Args:
        name: One of ENGINES.
        model: An ONNX file's bytes.
        providers: onnxruntime's execution providers, the first that can run a node runs it; None is the CPU.
        threads: None is ``FERKIT_THREADS``, else the CPUs at hand.

    Raises:
        InputError: An unknown runtime or provider, or threads below 1.
        MissingExtraError: The engine is not installed.
        WeightsError: It cannot read the network.
    """
    if name not in ENGINES:
        raise InputError(f"Unknown runtime {name!r}; expected one of {', '.join(ENGINES)}.")
    requested_threads(threads)
    check_whole(model)
    _keep_buffers()
    engine: Engine = ENGINES[name](model, providers, threads)
    return engine


def _keep_buffers() -> None:
    """Have the C library keep buffers of pictures and maps when they are freed.

    It gives blocks over 128 KB back to the system, and fetches them anew, page by page, with every picture: 4 of a detection's 17 ms. Once
    it has freed a larger block it keeps blocks up to that size (mallopt(3), M_MMAP_THRESHOLD). This one is never touched, and other C
    libraries lose nothing.
    """
    np.empty(_KEPT_BYTES, np.uint8)
