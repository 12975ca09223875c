"""Signals that stop a run, and what they must not interrupt."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["STOPS", "uninterrupted"]

STOPS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let signals that stop a run wait until the end of a block that must be whole: a thread's start, a lock, an import.

    Their handlers raise KeyboardInterrupt wherever the program is; the standard library's and others' code is not made for that. Only
    the main thread hears of signals, so that in another one nothing is done. Handlers that are not Python's are left alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before: dict[int, Callable[[int, FrameType | None], Any]] = {}
    try:
        for number in STOPS:
            handler = signal.getsignal(number)
            if callable(handler):
                before[number] = handler
                signal.signal(number, lambda number, _: came.append(number))
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for number in came:
        signal.raise_signal(number)
