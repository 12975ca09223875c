"""Whether another process still runs."""

from __future__ import annotations

import os
import sys

__all__ = ["is_running"]

# Windows' names: the right to wait for a process, what a wait that was not over says, and that somebody else's process is there.
_SYNCHRONIZE, _WAIT_TIMEOUT, _ACCESS_DENIED = 0x0010_0000, 0x102, 5


def is_running(pid: int) -> bool:
    """Return whether a process of this machine with this number runs, whosever it is."""
    if sys.platform == "win32":  # where os.kill ends the process, whatever the signal
        return _is_running_on_windows(pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # not ours to send signals to
        return True
    return True


def _is_running_on_windows(pid: int) -> bool:
    import ctypes
    from ctypes import wintypes

    library = ctypes.WinDLL("kernel32", use_last_error=True)  # type: ignore[attr-defined,unused-ignore]
    library.OpenProcess.restype = wintypes.HANDLE
    process = wintypes.HANDLE(library.OpenProcess(_SYNCHRONIZE, False, wintypes.DWORD(pid)))
    if not process:
        return bool(ctypes.get_last_error() == _ACCESS_DENIED)  # type: ignore[attr-defined,unused-ignore]
    try:
        return bool(library.WaitForSingleObject(process, 0) == _WAIT_TIMEOUT)
    finally:
        library.CloseHandle(process)
