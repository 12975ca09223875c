"""How many threads the engines may use: an explicit number, ``FERKIT_THREADS``, or the CPUs that this process is given."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from numbers import Integral
from pathlib import Path
from typing import Final

from ..errors import InputError

__all__ = ["VARIABLE", "available_cpus", "control_groups", "cpu_quota", "limit_opencv", "requested_threads", "thread_count"]

VARIABLE: Final = "FERKIT_THREADS"
_MOST = 1024  # more is a slip of the pen, and OpenCV would start them all
_GROUPS, _MEMBERSHIP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
_applied = False


def available_cpus() -> int:
    """Return how many CPUs this process may keep busy: those that it may run on, within its control group's quota."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return allowed if quota is None else max(1, min(allowed, math.ceil(quota)))


def control_groups(controller: str, root: Path = _GROUPS, membership: Path = _MEMBERSHIP) -> Iterator[Path]:
    """Yield the folders of the control groups (cgroups, version 1 and 2) whose limits hold for this process.

    A container sees its own group as the root, a service sees its path below it; a limit of any group above holds too.

    Args:
        controller: ``"cpu"`` or ``"memory"``.
        root: Where the groups are mounted.
        membership: The file that names this process's groups, ``hierarchy:controllers:path`` a line.
    """
    for line in (_read(membership) or "0::/").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        names = controllers.split(",")
        mounts = [root, root / "unified"] if not controllers else [root / controllers, root / controller] if controller in names else []
        for mount in mounts:
            group = mount / path.lstrip("/")
            yield from (folder for folder in (group, *group.parents) if folder.is_relative_to(mount))


def cpu_quota(root: Path = _GROUPS, membership: Path = _MEMBERSHIP) -> float | None:
    """Return the CPUs that control groups let this process use; None without a limit. Arguments as in ``control_groups``."""
    return min((quota for folder in control_groups("cpu", root, membership) if (quota := _quota(folder)) is not None), default=None)


def _quota(folder: Path) -> float | None:
    both = (_read(folder / "cpu.max") or "").split()  # version 2: "max 100000", or "150000 100000" in microseconds
    if not both:
        both = [_read(folder / "cpu.cfs_quota_us") or "", _read(folder / "cpu.cfs_period_us") or ""]  # version 1; -1 is no limit
    try:
        quota, period = (float(value) for value in both)
    except ValueError:
        return None
    return quota / period if quota > 0 and period > 0 else None


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None


def requested_threads(threads: int | None = None) -> int | None:
    """Return an explicit number of threads, else that of ``FERKIT_THREADS``, else None.

    Raises:
        InputError: Either is not a whole number from 1 to 1024.
    """
    if threads is not None:
        if isinstance(threads, bool) or not isinstance(threads, Integral) or not 1 <= threads <= _MOST:
            raise InputError(f"threads={threads!r}; expected a whole number, 1 to {_MOST}.")
        return int(threads)
    text = os.environ.get(VARIABLE, "").strip()
    if not text:
        return None
    if not text.isdecimal() or not 1 <= int(text) <= _MOST:
        raise InputError(f"{VARIABLE}={text!r}; expected a whole number, 1 to {_MOST}, or no such variable.")
    return int(text)


def thread_count(threads: int | None = None) -> int:
    """Return the number of threads for an engine: what is requested, else the CPUs at hand. Raises InputError."""
    return requested_threads(threads) or available_cpus()


def limit_opencv(threads: int | None = None) -> None:
    """Set OpenCV's threads, which are those of the whole process. Raises InputError.

    An explicit number always counts. Otherwise the first call alone does something: it sets what ``FERKIT_THREADS`` says, or
    lowers OpenCV's own number to the CPUs at hand, and what the program sets later stays.
    """
    global _applied  # noqa: PLW0603 - OpenCV's number is a global of the process, and so is whether it was set
    wanted = requested_threads(threads)
    if threads is None and _applied:
        return
    import cv2

    _applied = True
    if wanted is not None:
        cv2.setNumThreads(wanted)
    elif cv2.getNumThreads() > available_cpus():
        cv2.setNumThreads(available_cpus())
