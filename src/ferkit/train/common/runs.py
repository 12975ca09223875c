"""Drawing batches while others are learnt from."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

__all__ = ["drawn_ahead"]

_Batch_co = TypeVar("_Batch_co", covariant=True)


class _Batches(Protocol[_Batch_co]):
    def __len__(self) -> int: ...
    def __getitem__(self, step: int, /) -> _Batch_co: ...


def drawn_ahead(batches: _Batches[_Batch_co]) -> Iterator[_Batch_co]:
    """Yield the batches in order, each drawn while the one before is learnt from: a tenth to a fifth of the time."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(batches.__getitem__, 0)
        for step in range(len(batches)):
            batch = coming.result()
            if step + 1 < len(batches):
                coming = thread.submit(batches.__getitem__, step + 1)
            yield batch
