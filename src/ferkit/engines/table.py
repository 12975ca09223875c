"""The table of engines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import InputError
from ..protocols import Engine
from .onnx_file import check_whole
from .onnxruntime import OnnxRuntimeEngine
from .opencv import OpenCVEngine
from .threads import requested_threads

__all__ = ["ENGINES", "open_engine"]

ENGINES: dict[str, type[Any]] = {"opencv": OpenCVEngine, "onnxruntime": OnnxRuntimeEngine}


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
    engine: Engine = ENGINES[name](model, providers, threads)
    return engine
