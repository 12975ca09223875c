"""Child processes: where they find modules; none outlives the one that started it, however that ends; and how one ended, in words."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path

__all__ = ["die_with", "ended", "search_path"]

_PR_SET_PDEATHSIG = 1
_HOME = str(Path(__file__).parents[1])  # where ferkit lies, which a program may know by its own folder alone


def search_path(folders: Iterable[str]) -> str:
    """Return PYTHONPATH for a child process that is started with ``-P``: else the current folder's own signal.py would stand for Python's.

    Args:
        folders: The program's search path for modules. The current folder, which has no name in it, is left out, and so is what is no text,
            such as a Path that a program put there: Python looks for nothing there either.
    """
    return os.pathsep.join(dict.fromkeys([*(folder for folder in folders if isinstance(folder, str) and folder), _HOME]))


def die_with(parent: int) -> None:
    """Have the kernel end this process when its parent ends, on Linux; elsewhere the end of its input must tell it.

    Args:
        parent: The parent's process id, as the parent told it: if it is another by now, it ended before this was said.
    """
    if sys.platform != "linux":
        return
    try:
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    except (OSError, AttributeError):
        return
    if os.getppid() != parent:
        os._exit(0)


def ended(code: int | None) -> str:
    """Return how a process ended, in words."""
    if code is None or code >= 0:
        return f"exit status {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
