"""Whether a process runs, on every system: Windows' own answer by a stand-in for its library."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from typing import Any

import pytest

from ferkit import processes
from ferkit.processes import is_running


def test_this_process_runs_and_one_that_ended_does_not() -> None:
    assert is_running(os.getpid())
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert not is_running(ended.pid)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows is not asked by a signal")
def test_somebody_elses_process_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert is_running(1)


@pytest.mark.skipif(sys.platform == "win32", reason="the library is there")
@pytest.mark.parametrize(
    ("handle", "error", "waited", "runs"), [(7, 0, 0x102, True), (7, 0, 0, False), (None, 5, None, True), (None, 87, None, False)]
)
def test_windows_is_asked_without_a_signal(
    monkeypatch: pytest.MonkeyPatch, handle: int | None, error: int, waited: int | None, runs: bool
) -> None:
    """A signal of any number ends the process there: the service's own, that of another worker, or a batch job's."""
    closed: list[Any] = []

    class Function:
        def __init__(self, answer: Any) -> None:
            self.answer = answer

        def __call__(self, *arguments: Any) -> Any:
            return self.answer

    class Library:
        def __init__(self, *_: Any, **__: Any) -> None:
            self.OpenProcess, self.WaitForSingleObject, self.CloseHandle = Function(handle), Function(waited), closed.append

    monkeypatch.setattr(processes.sys, "platform", "win32")
    monkeypatch.setattr(ctypes, "WinDLL", Library, raising=False)
    monkeypatch.setattr(ctypes, "get_last_error", lambda: error, raising=False)
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("a signal"))
    assert is_running(4711) == runs
    assert len(closed) == (handle is not None)
