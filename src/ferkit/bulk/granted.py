"""What this machine grants: how many worker processes, and how much memory each may have."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from ..engines.threads import available_cpus, control_groups

__all__ = ["granted_memory", "worker_count", "worker_memory"]

_LEAST = 1_500_000_000  # bytes that every worker may have at least


def worker_count(asked: int | None) -> int:
    """Return how many processes to run: as asked, else one for each CPU that is granted."""
    granted = os.environ.get("SLURM_CPUS_ON_NODE", "")
    return asked or min(available_cpus(), int(granted) if granted.isdecimal() and granted != "0" else available_cpus())


def worker_memory(asked: float | None, workers: int) -> int | None:
    """Return the bytes that each of so many workers may have: the gigabytes asked for, else its share; None where nothing is told."""
    if asked is not None:
        return int(asked * 1e9)
    granted = granted_memory()
    return None if granted is None else max(_LEAST, granted // workers)


def granted_memory(*where: Path) -> int | None:
    """Return the bytes of memory that this process and its children may have: those of the machine, or of a control group of theirs.

    None where neither is told. ``where``: see ``ferkit.engines.threads.control_groups``.
    """
    found = []
    for folder in control_groups("memory", *where):
        for name in ("memory.max", "memory.limit_in_bytes"):  # version 2: "max" is no limit; version 1: more than any machine has
            with suppress(OSError, ValueError):
                found.append(int((folder / name).read_text(encoding="ascii")))
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return min(found, default=None)
