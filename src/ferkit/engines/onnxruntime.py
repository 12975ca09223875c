"""onnxruntime as an engine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, MissingExtraError, WeightsError
from .threads import requested_threads, thread_count

__all__ = ["OnnxRuntimeEngine"]

_ABANDONED: list[Any] = []  # sessions of the process that this one was forked from, kept so that nothing ends them


class OnnxRuntimeEngine:
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
        # Threads that wait busily for the next batch are in the way of whatever runs between two batches, the next network above all.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        self._open = partial(onnxruntime.InferenceSession, model, options, providers=wanted)
        try:
            session = self._open()
        except Exception as error:  # the engine's errors share no root
            raise WeightsError(f"The network cannot be read by onnxruntime {onnxruntime.__version__}: {error}") from error
        refused = [name for name in wanted if name not in session.get_providers()]
        if refused:  # onnxruntime warns and goes on with the CPU; what was asked for is never replaced in silence
            raise InputError(
                f"{', '.join(refused)} cannot be started here; onnxruntime's message above says why. Leave it out for the CPU."
            )
        self._session, self._process = session, os.getpid()
        self._input, self._outputs = session.get_inputs()[0].name, [output.name for output in session.get_outputs()]

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(self._answers(batch, None)[0], np.float32).reshape(len(batch), -1)

    def output_names(self) -> list[str]:
        """Return the names of what the network answers."""
        return list(self._outputs)

    def maps(self, batch: NDArray[np.float32], names: Sequence[str]) -> list[NDArray[np.float32]]:
        """Return several outputs by their names, in the shapes that they have."""
        return [np.asarray(one, np.float32) for one in self._answers(batch, list(names))]

    def release_buffers(self) -> None:
        """Let go of the session, with its buffers: the next call opens it anew."""
        self._session = None

    def _answers(self, batch: NDArray[np.float32], names: list[str] | None) -> list[NDArray[np.float32]]:
        if self._process != os.getpid():  # forked: the session's threads stayed behind, and it would wait for them, at its end too
            _ABANDONED.append(self._session)
            self._session, self._process = None, os.getpid()
        session = self._session  # another thread may let go of it, or open it, meanwhile
        if session is None:
            session = self._session = self._open()
        answers: list[NDArray[np.float32]] = session.run(names, {self._input: batch})
        return answers


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
