"""Temporary folders of this service, which go when it ends; those of a service that was killed go at the next start."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..processes import is_running

__all__ = ["remove_folder", "remove_stale_folders", "temporary_folder"]

_PREFIX = "ferkit-"
_KINDS = ("jobs", "metrics")
_LOCK = "held"  # a file that is locked as long as the service runs; in a container every service has the same process number


@contextmanager
def temporary_folder(kind: str) -> Iterator[str]:
    """Make a folder that only this user can read, for ``"jobs"`` or ``"metrics"``."""
    folder, descriptor = _made(kind)
    try:
        yield folder
    finally:
        os.close(descriptor)
        remove_folder(Path(folder))


def _made(kind: str) -> tuple[str, int]:
    """Make a folder and lock it; return it and the descriptor that holds the lock."""
    while True:
        folder = tempfile.mkdtemp(prefix=f"{_PREFIX}{kind}-{os.getpid()}-")
        # A service that starts too may be quicker, and take it for a dead one's; then another one is made.
        try:
            descriptor = os.open(Path(folder) / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        except FileNotFoundError:
            continue
        _lock(descriptor, wait=True)
        if (Path(folder) / _LOCK).exists():
            return folder, descriptor
        os.close(descriptor)


def remove_stale_folders() -> None:
    """Remove folders of services that were killed."""
    for kind in _KINDS:
        for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}{kind}-*-*"):
            with suppress(OSError):  # another service removes it too
                if not hasattr(os, "getuid") or folder.stat().st_uid == os.getuid():
                    _remove_unless_held(folder, kind)


def remove_folder(folder: Path) -> None:
    """Remove a folder and all that is in it, as far as possible."""
    shutil.rmtree(folder, ignore_errors=True)


def _lock(descriptor: int, *, wait: bool = False) -> bool:
    """Lock a file for as long as it is open here. Returns False where another process has; True where there are no such locks."""
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True


def _remove_unless_held(folder: Path, kind: str) -> None:
    """Remove a folder whose service has ended; while that is done it is locked, so that nobody begins to use it."""
    pid = folder.name.removeprefix(f"{_PREFIX}{kind}-").partition("-")[0]
    if os.name == "nt" or not (folder / _LOCK).is_file():  # just made, or of an earlier version
        if pid.isdecimal() and not is_running(int(pid)):
            remove_folder(folder)
        return
    descriptor = os.open(folder / _LOCK, os.O_RDWR)
    try:
        if _lock(descriptor):
            remove_folder(folder)
    finally:
        os.close(descriptor)
