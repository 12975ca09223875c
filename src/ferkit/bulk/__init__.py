"""Millions of pictures: a plan of shards, workers that write one file a shard, and what is left after a crash is what is missing.

``ferkit.batch`` is the function; this room's name differs, so that neither hides the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import attach

if TYPE_CHECKING:
    from .reports import BatchReport as BatchReport
    from .running import batch as batch
    from .tables import rows as rows

_HOMES = {"BatchReport": "reports", "batch": "running", "rows": "tables"}

__all__ = sorted(_HOMES)  # noqa: PLE0605 - the table is the list
__getattr__, __dir__ = attach(__name__, _HOMES)
