"""Millions of names in little memory: their bytes in one buffer, and the order that sorts them beside it."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .listing import Listed

__all__ = ["Names"]

_TOGETHER = 8_192


class Names:
    """What was listed, sorted by name, bytewise; what was listed twice is there once.

    No name is moved once it is there: sorting makes a list of places, and tables are made of a few thousand at a time. So two
    million names of 30 bytes take about 130 MB while they are sorted, of which 90 stay.

    Args:
        found: In any order.

    Attributes:
        kinds: Kind -> how many.
    """

    def __init__(self, found: Iterable[Listed]) -> None:
        text, self._numbers = bytearray(), {}
        ends, self._sizes, self._changed, kinds = array("q", [0]), array("q"), array("q"), bytearray()
        stream = iter(found)
        while chunk := list(islice(stream, _TOGETHER)):
            encoded = [one.key.encode("utf-8", "surrogateescape") for one in chunk]
            ends.frombytes((np.cumsum([len(name) for name in encoded], dtype=np.int64) + ends[-1]).tobytes())
            text += b"".join(encoded)
            self._sizes.extend(one.size for one in chunk)
            self._changed.extend(one.changed for one in chunk)
            kinds += bytes(self._numbers.setdefault(one.kind, len(self._numbers)) for one in chunk)
        self._kinds = np.frombuffer(kinds, np.uint8)
        self._names = _binary(ends, text)
        self._order = self._sorted()
        counts = np.bincount(self._kinds[self._order], minlength=len(self._numbers)).tolist()
        self.kinds = {kind: counts[number] for kind, number in self._numbers.items() if counts[number]}

    _numbers: dict[str, int]

    def _sorted(self) -> NDArray[np.uint64]:
        import pyarrow.compute as pc

        order = pc.sort_indices(self._names).to_numpy()
        fresh = np.ones(len(order), bool)
        for start in range(0, len(order) - 1, _TOGETHER):
            some = self._names.take(order[start : start + _TOGETHER + 1])
            fresh[start + 1 : start + len(some)] = pc.not_equal(some[1:], some[:-1]).to_numpy(zero_copy_only=False)
        return np.asarray(order if fresh.all() else order[fresh], np.uint64)

    def of(self, kind: str) -> NDArray[np.uint64]:
        """Return the places of one kind, in the order of the names."""
        if list(self.kinds) == [kind]:
            return self._order
        return np.asarray(self._order[self._kinds[self._order] == self._numbers[kind]])

    def sizes(self, places: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return the bytes of some, 0 where they are unknown."""
        sizes = np.frombuffer(self._sizes, np.int64)[places]
        return np.maximum(sizes, 0, out=sizes)

    def columns(self, places: NDArray[np.uint64]) -> tuple[Any, NDArray[np.int64], NDArray[np.int64]]:
        """Return the names of some (pyarrow, binary), their sizes and when they were changed."""
        import pyarrow as pa

        return (
            self._names.take(places).cast(pa.binary()),
            np.frombuffer(self._sizes, np.int64)[places],
            np.frombuffer(self._changed, np.int64)[places],
        )


def _binary(ends: array[int], text: bytearray) -> Any:
    import pyarrow as pa

    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(ends) - 1, [None, pa.py_buffer(ends), pa.py_buffer(text)])
