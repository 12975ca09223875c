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
    with tempfile.TemporaryDirectory(prefix=f"{_PREFIX}{kind}-{os.getpid()}-", ignore_cleanup_errors=True) as folder:
        descriptor = os.open(Path(folder) / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            _lock(descriptor)
            yield folder
        finally:
            os.close(descriptor)


def remove_stale_folders() -> None:
    """Remove folders of services that were killed."""
    for kind in _KINDS:
        for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}{kind}-*-*"):
            with suppress(OSError):  # another service removes it too
                mine = not hasattr(os, "getuid") or folder.stat().st_uid == os.getuid()
                if mine and not _is_held(folder, kind):
                    remove_folder(folder)


def remove_folder(folder: Path) -> None:
    """Remove a folder and all that is in it, as far as possible."""
    shutil.rmtree(folder, ignore_errors=True)


def _lock(descriptor: int) -> bool:
    """Lock a file for as long as it is open here. Returns False where another process has; True where there are no such locks."""
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_held(folder: Path, kind: str) -> bool:
    pid = folder.name.removeprefix(f"{_PREFIX}{kind}-").partition("-")[0]
    if os.name == "nt" or not (folder / _LOCK).is_file():  # just made, or of an earlier version
        return not pid.isdecimal() or is_running(int(pid))
    descriptor = os.open(folder / _LOCK, os.O_RDWR)
    try:
        return not _lock(descriptor)
    finally:
        os.close(descriptor)
