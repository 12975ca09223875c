"""Doing again: what is new or changed among the inputs, and what could not be found or reached the last time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from ..errors import InputError
from .commit import MANIFEST, done, receipts, redo
from .driving import Watch
from .job import Job
from .listing import Listed
from .options import Options
from .plan import Plan, plan, write_group
from .storage import Place

__all__ = ["again", "retried", "updated"]

_PASSING = ("io", "timeout", "not_found")  # errors that may be gone the next time


def again(place: Place, job: Job, shards: Iterable[int]) -> None:
    """Note that shards are to be done again; the rows that they have stay until the new ones are there."""
    by_group: dict[int, list[int]] = {}
    for shard in shards:
        by_group.setdefault(job.groups.index(job.group_of(shard)), []).append(shard)
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
    known = _known(place, job)
    new: list[Listed] = []
    changed: dict[str, Listed] = {}
    for one in found:
        before = known.pop(one.key, None)
        if before is None:
            new.append(one)
        elif (one.size, one.changed) != before[:2]:
            changed[one.key] = one
            if one.kind in ("parquet", "tar"):
                raise InputError(f"{one.key} changed since it was planned; its rows are in several shards. Start again in another OUTPUT.")
            known[one.key] = before
    gone = len(known) - len(changed)
    if gone:
        watch.note(f"{gone} inputs are not there any more; their rows stay")
    if not new and not changed:
        return None
    watch.note(f"{len(new)} new and {len(changed)} changed inputs")
    job = _replanned(place, job, changed, sorted({known[key][2] for key in changed}))
    return job, plan(new, options, first=job.shards) if new else None


def _known(place: Place, job: Job) -> dict[str, tuple[int, int, int]]:
    import pyarrow.parquet as pq

    out: dict[str, tuple[int, int, int]] = {}
    for group in job.groups:
        with place.open(group["plan"]) as file:
            table = pq.read_table(file, columns=["key", "size", "changed", "shard"])
        for key, *rest in zip(*(column.to_pylist() for column in table.columns), strict=True):
            out[key.decode("utf-8", "surrogateescape")] = (rest[0], rest[1], rest[2])
    return out


def _replanned(place: Place, job: Job, changed: dict[str, Listed], shards: list[int]) -> Job:
    """Write what changed into the plan: the same cut, so that only its shards are done again."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    groups: list[dict[str, Any]] = []
    for group in job.groups:
        if not any(group["first"] <= shard <= group["last"] for shard in shards):
            groups.append(group)
            continue
        with place.open(group["plan"]) as file:
            table = pq.read_table(file)
        rows = table.to_pylist()
        for row in rows:
            one = changed.get(row["key"].decode("utf-8", "surrogateescape"))
            if one is not None:
                row.update(size=one.size, changed=one.changed)
        again_planned = pa.Table.from_pylist(rows, table.schema)
        groups.append({**group, "plan": write_group(place, [again_planned], job.groups.index(group))})
    again(place, job, shards)
    return replace(job, groups=groups)
