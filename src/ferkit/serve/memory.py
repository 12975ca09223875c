"""Memory that the C library keeps after it was freed."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any

__all__ = ["give_memory_back"]


def give_memory_back() -> None:
    """Have glibc return what was freed to the system; other C libraries have no such call, and nothing is done there.

    Left alone it keeps the buffers of a large photo: some 70 MB a worker. Having it return every buffer as soon as it is free costs
    each picture of a megapixel 25 of 112 ms, since all pages are fetched anew; so it is called after large pictures only.
    """
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


@cache
def _glibc() -> Any:
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    return library if hasattr(library, "malloc_trim") else None
