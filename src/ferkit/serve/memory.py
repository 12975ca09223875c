"""Memory that the C library keeps after it was freed."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any

__all__ = ["LARGE", "give_memory_back", "keep_small_buffers"]

LARGE = 4_000_000  # pixels of a picture before and after which memory is given back

# glibc's names of what mallopt sets. Buffers above the first number go back to the system as soon as they are free, so do Pillow's
# blocks of 16 MiB; of the others so many bytes stay, since fetching their pages anew costs a picture of a megapixel 25 of 110 ms.
_MMAP_THRESHOLD, _BUFFER = -3, 16_000_000
_TRIM_THRESHOLD, _KEPT = -1, 64_000_000


def keep_small_buffers() -> None:
    """Have glibc keep the buffers of pictures of about a megapixel. Other C libraries have no such settings, and nothing is done there."""
    library = _glibc()
    if library is not None:
        library.mallopt(_MMAP_THRESHOLD, _BUFFER)
        library.mallopt(_TRIM_THRESHOLD, _KEPT)


def give_memory_back() -> None:
    """Have glibc return to the system what is free."""
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


@cache
def _glibc() -> Any:
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    return library if hasattr(library, "malloc_trim") else None
