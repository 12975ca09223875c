"""The gate in front of native code: a fork, or the end of the program, waits until no thread is inside, and OpenCV's errors become ferkit's."""

from __future__ import annotations

import atexit
import os
import threading
from types import TracebackType

from .errors import FerkitError

__all__ = ["Gate", "native"]

_PATIENCE = 10.0  # seconds that the end of the program waits for a network that is running


class Gate:
    """Counts the threads inside. Entering is cheap and may be nested; any number of threads are inside together.

    A process that is forked while another thread is in OpenCV inherits locks that nobody will release, and a network whose
    buffers are half written: so a fork waits until all are out, and keeps others from entering meanwhile. At the end of the
    program, a daemon thread that comes back from C++ is ended in a way that aborts the process (CPython before 3.14): so the
    end waits too, and then the gate stays shut for every other thread.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._closing = 0
        self._own = threading.local()

    def __enter__(self) -> None:
        depth = self._depth()
        if depth == 0:
            with self._changed:
                while self._closing and self._ended_by != threading.get_ident():
                    self._changed.wait()
                self._inside += 1
        self._own.depth = depth + 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._own.depth -= 1
        if self._own.depth == 0:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()
        if error is not None and type(error).__module__ == "cv2":  # known by name: OpenCV need not be loaded
            raise FerkitError(
                f"OpenCV failed on what it was given ({' '.join(str(error).split())}); expected pictures that it can work on. "
                "If others can be read this one is at fault; if none can, `ferkit doctor` says what is installed."
            ) from error

    _ended_by: int | None = None  # the thread that ends the program, which may still enter

    def _depth(self) -> int:
        return int(getattr(self._own, "depth", 0))

    def _others(self) -> int:
        return self._inside - (self._depth() > 0)

    def before_fork(self) -> None:
        """Wait until no other thread is inside, and hold the gate shut."""
        self._changed.acquire()
        self._closing += 1
        while self._others():
            self._changed.wait()

    def after_fork(self) -> None:
        """Open the gate again, in the parent."""
        self._closing -= 1
        self._changed.notify_all()
        self._changed.release()

    def after_fork_in_child(self) -> None:
        """Make the gate anew: the threads that waited at it are not in this process."""
        self._changed = threading.Condition()
        self._closing, self._inside, self._ended_by = 0, int(self._depth() > 0), None

    def shut(self) -> None:
        """Wait until no other thread is inside, for a while at most, and let none in again: the program ends."""
        with self._changed:
            self._ended_by = threading.get_ident()
            self._closing += 1
            self._changed.wait_for(lambda: not self._others(), _PATIENCE)


native = Gate()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=native.before_fork, after_in_parent=native.after_fork, after_in_child=native.after_fork_in_child)
atexit.register(native.shut)
