"""Waiting for what another thread or process does: a test says what it waits for instead of sleeping and hoping."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Return as soon as the condition holds. Raises AssertionError where it does not in time: long, for machines that others use."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.01)
