"""Doing again: what is new or changed among the inputs, and what could not be found or reached the last time."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .commit import MANIFEST, done, receipts, redo
from .driving import Watch
from .job import Job
from .listing import Listed
from .options import Options
from .plan import Plan, batches, plan, read_group, write_group
from .records import Group
from .storage import Place

__all__ = ["again", "retried", "updated"]

_TOGETHER = 8_192
_PASSING = ("io", "timeout", "not_found")  # errors that may be gone the next time


def again(place: Place, job: Job, shards: Iterable[int]) -> None:
    """Note that shards are to be done again; the rows that they have stay until the new ones are there."""
    by_group: dict[int, list[int]] = {}
    for shard in shards:
        by_group.setdefault(job.group_number(shard), []).append(shard)
    if by_group:
        place.delete(MANIFEST)
    for number, numbers in by_group.items():
        redo(place, job, number, numbers)
        for shard in numbers:
            place.delete(f"_ferkit/failed/{shard:07d}.json")


def retried(place: Place, job: Job) -> None:
    """Note that the shards with errors that may be gone by now are to be done again."""
    told = receipts(place, job, done(place, job)[1])
    again(place, job, sorted(one["shard"] for one in told if any(kind in one["errors"] for kind in _PASSING)))


def updated(place: Place, job: Job, found: Iterable[Listed], options: Options, watch: Watch) -> tuple[Job, Plan | None] | None:
    """Compare what there is now with the plan.

    Returns:
        The job with what changed, and a plan of what is new (None: nothing is new); None if nothing is new or changed.

    Raises:
        InputError: A Parquet file or a tar changed: its rows cannot be told one by one.
    """
    known, changed = _Known(place, job), dict[str, Listed]()
    made = plan(known.news(found, changed), options, first=job.shards)
    if known.gone:
        watch.note(f"{known.gone} inputs are not there any more; their rows stay")
    if not made.shards and not changed:
        return None
    watch.note(f"{sum(made.kinds.values())} new and {len(changed)} changed inputs")
    job = _replanned(place, job, changed, known.shards_of(changed))
    return job, made if made.shards else None


class _Known:
    """What a job's plan has, millions of names in 40 bytes each: the 128 bits of a hash, and the numbers beside them, sorted by it."""

    def __init__(self, place: Place, job: Job) -> None:
        digests, numbers = bytearray(), array("q")
        for group in job.groups:
            for batch in batches(place, group["plan"], ["key", "size", "changed", "shard"]):
                digests += b"".join(map(_digest, batch.column("key").to_pylist()))
                columns = [batch.column(name).to_numpy() for name in ("size", "changed", "shard")]
                numbers.frombytes(np.stack(columns, axis=1, dtype=np.int64).tobytes())
        pairs = np.frombuffer(digests, np.uint64).reshape(-1, 2)
        order = np.lexsort((pairs[:, 1], pairs[:, 0]))
        again = np.append(False, (pairs[order[1:]] == pairs[order[:-1]]).all(axis=1))  # pieces of one table or tar
        order = order[~again[: len(order)]]
        self._pairs, self._numbers = pairs[order], np.frombuffer(numbers, np.int64).reshape(-1, 3)[order]
        self._high = np.ascontiguousarray(self._pairs[:, 0])
        self._seen = np.zeros(len(order), bool)

    def _places(self, keys: list[str]) -> NDArray[np.intp]:
        """Return where some names are, -1 for those that are not known."""
        wanted = np.frombuffer(b"".join(_digest(key.encode("utf-8", "surrogateescape")) for key in keys), np.uint64).reshape(-1, 2)
        first, end = (np.searchsorted(self._high, wanted[:, 0], side) for side in ("left", "right"))
        places = np.full(len(keys), -1)
        for step in range(int((end - first).max(initial=0))):  # 1, unless two names share 64 bits
            some = np.flatnonzero(first + step < end)
            some = some[self._pairs[first[some] + step, 1] == wanted[some, 1]]
            places[some] = first[some] + step
        return places

    @property
    def gone(self) -> int:
        """How many were not among what was found."""
        return int((~self._seen).sum())

    def shards_of(self, keys: Iterable[str]) -> list[int]:
        """Return the shards that some known names are in."""
        return sorted(set(self._numbers[self._places(list(keys)), 2].tolist()))

    def news(self, found: Iterable[Listed], changed: dict[str, Listed]) -> Iterator[Listed]:
        """Yield what is new of what is found, and note what changed. Raises InputError on a table or a tar that did."""
        stream = iter(found)
        while chunk := list(islice(stream, _TOGETHER)):
            places = self._places([one.key for one in chunk])
            self._seen[places[places >= 0]] = True
            told = np.array([one[2:] for one in chunk])
            same = (self._numbers[places, :2] == told).all(axis=1) if len(self._numbers) else places >= 0
            for number in np.flatnonzero((places < 0) | ~same):
                one = chunk[number]
                if places[number] < 0:
                    yield one
                elif one.kind in ("parquet", "tar"):
                    raise InputError(
                        f"{one.key} changed since it was planned; its rows are in several shards. Start again in another OUTPUT."
                    )
                else:
                    changed[one.key] = one


def _digest(key: bytes) -> bytes:
    return hashlib.blake2b(key, digest_size=16).digest()


def _replanned(place: Place, job: Job, changed: dict[str, Listed], shards: list[int]) -> Job:
    """Write what changed into the plan: the same cut, so that only its shards are done again."""
    import pyarrow as pa

    groups: list[Group] = []
    for number, group in enumerate(job.groups):
        if not any(group["first"] <= shard <= group["last"] for shard in shards):
            groups.append(group)
            continue
        table = read_group(place, group["plan"])
        rows = table.to_pylist()
        for row in rows:
            one = changed.get(row["key"].decode("utf-8", "surrogateescape"))
            if one is not None:
                row.update(size=one.size, changed=one.changed)
        again_planned = pa.Table.from_pylist(rows, table.schema)
        groups.append({**group, "plan": write_group(place, [again_planned], number)})
    again(place, job, shards)
    return replace(job, groups=groups)
