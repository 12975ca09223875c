"""What is done and what is missing, told by which files exist; and parts made into the files that people read."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from ..errors import DataError
from .columns import encoded
from .job import Job
from .records import Counts, GroupFooter, Manifest, ManifestFile, Receipt, ShardCounts
from .storage import Place, read_whole

__all__ = [
    "MANIFEST",
    "clean",
    "compact",
    "done",
    "footer_of",
    "manifest",
    "missing",
    "part_name",
    "receipts",
    "redo",
    "totals",
    "waiting",
    "whole",
]

MANIFEST = "_manifest.json"
_TOGETHER = 8  # requests: compaction must not take so long that it never lives to its end where machines die all the time


def _parts(number: int) -> str:
    return f"_ferkit/parts/{number:04d}"


def part_name(job: Job, shard: int) -> str:
    """Return the name of a shard's part, which follows from its number alone."""
    return f"{_parts(job.group_number(shard))}/part-{shard:07d}.parquet"


def _redo_name(number: int) -> str:
    return f"_ferkit/redo/{number:04d}.json"


def _redo(place: Place, number: int, listed: set[str] | None = None) -> set[int]:
    name = _redo_name(number)
    if listed is not None and name.rpartition("/")[2] not in listed:
        return set()
    return set(place.read_json(name) or ())


def redo(place: Place, job: Job, number: int, shards: list[int]) -> None:
    """Note that shards of a group are to be done again: rows of theirs that are in the group's file stay until the new ones are there."""
    group = job.groups[number]
    for shard in shards:
        place.delete(part_name(job, shard))
    if group["file"] in {found.name for found in place.list()}:
        place.put(_redo_name(number), json.dumps(sorted(_redo(place, number).union(shards))).encode())


def done(place: Place, job: Job) -> tuple[set[int], set[int]]:
    """Return the shards that are done, and the numbers of the groups whose file is whole: two listings, and no picture's name."""
    files = {found.name for found in place.list()}
    redone = {found.name for found in place.list("_ferkit/redo")}
    shards: set[int] = set()
    groups: set[int] = set()
    for number, group in enumerate(job.groups):
        again = _redo(place, number, redone)
        if group["file"] in files:
            shards.update(set(range(group["first"], group["last"] + 1)) - again)
            if not again:
                groups.add(number)
                continue
        parts = (found.name for found in place.list(_parts(number)) if found.name.startswith("part-"))
        shards.update(int(name.removeprefix("part-").partition(".")[0]) for name in parts)
    return shards, groups


def whole(place: Place, job: Job, groups: set[int] | None = None) -> bool:
    """Return whether a job is finished: the manifest says so, and every group's file is there; ``groups`` are those, if they are known."""
    return place.read(MANIFEST) is not None and len(done(place, job)[1] if groups is None else groups) == len(job.groups)


def missing(job: Job, shards: set[int]) -> list[int]:
    """Return the shards that are not done."""
    return [shard for shard in range(job.shards) if shard not in shards]


def footer_of(place: Place, name: str) -> Any:
    """Return what a file's footer says, a part's (Receipt) or a group's (GroupFooter), without reading its rows. Raises DataError."""
    with place.open(name) as file:
        return _footer(place, name, file)


def _footer(place: Place, name: str, file: Any) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return json.loads(pq.read_schema(file).metadata[b"ferkit"])
    except (pa.ArrowInvalid, OSError, KeyError, ValueError, TypeError) as error:
        if isinstance(error, OSError) and not read_whole(place.path(name), ""):
            raise  # the store is at fault, and not what it holds
        raise DataError(f"{place.path(name)} is damaged ({error}); delete it and run the job again.") from error


def compact(place: Place, job: Job, number: int) -> None:
    """Make a group's parts into its file, and let go of them once it is there. The same parts are the same bytes.

    A shard that was done again has a part; the others of its group have their rows in the file that is replaced.
    """
    import pyarrow.parquet as pq

    group = job.groups[number]
    again = _redo(place, number)
    parts = {found.name for found in place.list(_parts(number))}
    shards = range(group["first"], group["last"] + 1)
    lacking = [shard for shard in shards if f"part-{shard:07d}.parquet" not in parts and (not again or shard in again)]
    if lacking:
        if not again and group["file"] in {found.name for found in place.list()}:
            place.delete_folder(_parts(number))  # whoever made the file, and looked at it, was stopped while it did this
            return
        raise DataError(f"{place.path(_parts(number))} lacks the parts {lacking[:5]}; run the job again.")
    read = _read_parts(place, job, [shard for shard in shards if f"part-{shard:07d}.parquet" in parts])
    before = place.read(group["file"]) or b"" if again else b""
    told_before = _footer(place, group["file"], io.BytesIO(before))["shards"] if again else []
    receipts = {one["shard"]: one for one in told_before}
    stages_name, stages = f"_ferkit/receipts/{number:04d}.json", []
    for shard in shards:
        if shard in read:
            told = _footer(place, part_name(job, shard), io.BytesIO(read[shard]))
            receipts[shard] = {name: told[name] for name in ("shard", "images", "faces", "errors")}
            stages.append({name: told[name] for name in ("shard", "seconds", "host", "pid")})
    stages += [one for one in (place.read_json(stages_name) if again else None) or () if one["shard"] not in read]
    counted = [receipts[shard] for shard in shards]
    columns = pq.read_schema(io.BytesIO(read[min(read)] if read else before)).remove_metadata()
    data = encoded(_rows(shards, read, before), columns, job.footer({**_counts(counted), "shards": counted}))
    place.put(stages_name, json.dumps(stages).encode())
    place.put(group["file"], data)
    if hashlib.sha256(place.read(group["file"]) or b"").digest() != hashlib.sha256(data).digest():
        raise DataError(f"{place.path(group['file'])} is not what was written; its parts are kept. Check the disk, and run the job again.")
    place.delete(_redo_name(number))
    place.delete_folder(_parts(number))


def _read_parts(place: Place, job: Job, shards: list[int]) -> dict[int, bytes]:
    """Return parts as they lie there, compressed: each is asked for once, several at a time, and patiently."""
    with ThreadPoolExecutor(_TOGETHER) as threads:
        read = dict(zip(shards, threads.map(lambda shard: place.read(part_name(job, shard)), shards), strict=True))
    gone = [shard for shard, data in read.items() if data is None]
    if gone:
        raise DataError(f"{place.address} lacks the parts {gone[:5]}; run the job again.")
    return {shard: data for shard, data in read.items() if data is not None}


def _rows(shards: range, read: dict[int, bytes], before: bytes) -> Iterator[Any]:
    import pyarrow.parquet as pq

    for shard in shards:
        if shard in read:
            yield pq.read_table(io.BytesIO(read[shard]))
        elif before:
            yield pq.read_table(io.BytesIO(before), filters=[("shard", "=", shard)])


def waiting(place: Place, job: Job, groups: set[int]) -> list[Receipt]:
    """Return the footers of the parts that are not in the file of their group yet; ``groups`` are those whose file is whole."""
    folders = [_parts(number) for number in range(len(job.groups)) if number not in groups]
    names = [f"{folder}/{found.name}" for folder in folders for found in place.list(folder) if found.name.startswith("part-")]
    with ThreadPoolExecutor(_TOGETHER) as threads:
        return list(threads.map(partial(footer_of, place), names))


def receipts(place: Place, job: Job, groups: set[int]) -> list[ShardCounts]:
    """Return what every shard that is done came to: ``shard``, ``images``, ``faces``, ``errors``."""
    told: list[ShardCounts] = [*waiting(place, job, groups)]
    known = {one["shard"] for one in told}
    files = {found.name for found in place.list()}
    for number, group in enumerate(job.groups):
        if group["file"] in files:
            again = _redo(place, number) | known
            told += [one for one in footer_of(place, group["file"])["shards"] if one["shard"] not in again]
    return told


def totals(place: Place, job: Job, groups: set[int]) -> Counts:
    """Return how many pictures, faces and errors the files and parts have."""
    return _counts(receipts(place, job, groups))


def _counts(told: Sequence[Counts]) -> Counts:
    errors: dict[str, int] = {}
    for one in told:
        for kind, count in one["errors"].items():
            errors[kind] = errors.get(kind, 0) + count
    images, faces = sum(one["images"] for one in told), sum(one["faces"] for one in told)
    return {"images": images, "faces": faces, "errors": dict(sorted(errors.items()))}


def manifest(place: Place, job: Job) -> Manifest:
    """Write the list of the finished files, whose presence says that the job is done; and return it."""
    import pyarrow.parquet as pq

    files: list[ManifestFile] = []
    told: list[GroupFooter] = []
    for group in job.groups:
        data = place.read(group["file"]) or b""
        told.append(_footer(place, group["file"], io.BytesIO(data)))
        rows = pq.read_metadata(io.BytesIO(data)).num_rows
        files.append({"file": group["file"], "rows": rows, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()})
    rows = sum(one["rows"] for one in files)
    out: Manifest = {"schema": 1, "fingerprint": job.fingerprint, **_counts(told), "rows": rows, "files": files}
    place.put(MANIFEST, (json.dumps(out, indent=1) + "\n").encode())
    return out


def clean(place: Place, job: Job) -> None:
    """Let go of what only a running job needs: parts whose deletion was cut short, half-written files, and notes of deaths."""
    for number in range(len(job.groups)):
        place.delete_folder(_parts(number))
    place.delete_folder("_ferkit/tmp")
    place.delete_folder("_ferkit/failed")
