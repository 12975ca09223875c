"""The plan: what there is to do, in an order that depends on nothing but the names, cut into numbered shards and written down once."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import DataError, InputError
from .listing import Listed
from .options import Options
from .storage import Place, open_input

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["GROUP", "Plan", "Unit", "encoded_plan", "plan", "units", "write"]

GROUP = 500  # shards whose parts become one file: about a million rows
_CHUNK = 65_536


class Unit(NamedTuple):
    """A piece of a shard: a picture; a Parquet file's row group ``start``; a tar's bytes from ``start`` to ``stop``; a film."""

    kind: str
    key: str
    size: int
    changed: int
    start: int
    stop: int


@dataclass
class Plan:
    """One generation's shards. Their tables are made a group at a time, since all of them are as large as the list itself."""

    cut: list[Any]
    first: int
    pictures: int
    bytes: int
    kinds: dict[str, int] = field(default_factory=dict)

    @property
    def shards(self) -> int:
        """How many there are."""
        return len(self.cut)

    def tables(self) -> Iterator[Any]:
        """Yield a table for each group of shards."""
        import pyarrow as pa

        for start in range(0, len(self.cut), GROUP):
            shards = enumerate(self.cut[start : start + GROUP], self.first + start)
            yield pa.concat_tables([_numbered(shard, number) for number, shard in shards]).combine_chunks()


def plan(found: Iterable[Listed], options: Options, first: int = 0) -> Plan:
    """Sort what was found by name, and cut it into shards.

    Args:
        found: What was listed; what was listed twice is there once.
        options: ``shard_images`` and ``shard_mb`` say where shards end.
        first: The first shard's number.

    Raises:
        InputError: Pictures and films together, which have different columns.
    """
    kinds, table = _sorted(found)
    if "video" in kinds and len(kinds) > 1:
        counts = ", ".join(f"{number} of kind {kind}" for kind, number in sorted(kinds.items()))
        raise InputError(
            f"{counts}: videos have a table of their own. Choose kind='images' or kind='video', each with an output of its own.",
            arguments=["kind"],
        )
    shards: list[Any] = []
    for kind in ("images", "parquet", "tar", "video"):
        if kind in kinds:
            part = table if len(kinds) == 1 else table.filter(_equals(table["kind"], kind))
            shards += _image_shards(part, options) if kind == "images" else list(_CUTS[kind](_as_units(part), options))
    entries = sum(map(len, shards))
    size = int(np.maximum(table["size"].to_numpy(), 0).sum())
    return Plan(shards, first, entries, size, kinds)


def _equals(column: Any, value: str) -> Any:
    import pyarrow.compute as pc

    return pc.equal(column, value)


def _sorted(found: Iterable[Listed]) -> tuple[dict[str, int], pa.Table]:
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = pa.schema(
        [("kind", pa.dictionary(pa.int8(), pa.string())), ("key", pa.binary()), ("size", pa.int64()), ("changed", pa.int64())]
    )
    chunks, stream = [], iter(found)
    while chunk := list(islice(stream, _CHUNK)):
        kinds, keys, sizes, changed = zip(*chunk, strict=True)
        names = [key.encode("utf-8", "surrogateescape") for key in keys]
        arrays = [
            pa.array(kinds).dictionary_encode().cast(columns[0].type),
            pa.array(names, pa.binary()),
            pa.array(sizes),
            pa.array(changed),
        ]
        chunks.append(pa.record_batch(arrays, schema=columns))
    table = pa.Table.from_batches(chunks, columns).unify_dictionaries()
    chunks.clear()
    table = table.take(pc.sort_indices(table, sort_keys=[("key", "ascending")]))
    if table.num_rows > 1:
        fresh = pc.not_equal(table["key"].slice(1), table["key"].slice(0, table.num_rows - 1)).combine_chunks()
        if not pc.all(fresh).as_py():
            table = table.filter(pa.concat_arrays([pa.array([True]), fresh]))
    counted = Counter({row["values"]: row["counts"] for row in pc.value_counts(table["kind"].cast(pa.string())).to_pylist()})
    return dict(counted), table


def _as_units(table: Any) -> list[Unit]:
    rows = zip(*(table[name].to_pylist() for name in ("kind", "key", "size", "changed")), strict=True)
    return [Unit(kind, key.decode("utf-8", "surrogateescape"), size, changed, -1, -1) for kind, key, size, changed in rows]


def _image_shards(table: Any, options: Options) -> list[Any]:
    """Cut pictures into runs of at most so many, and so many bytes."""
    sizes = np.maximum(table["size"].to_numpy(), 0)
    ends = np.concatenate([[0], np.cumsum(sizes)])
    out, start, total = [], 0, len(sizes)
    while start < total:
        by_bytes = int(np.searchsorted(ends, ends[start] + options.shard_mb * 1e6, side="right")) - 1
        stop = min(start + options.shard_images, max(by_bytes, start + 1), total)
        out.append(table.slice(start, stop - start))
        start = stop
    return out


def _parquet_shards(files: list[Unit], options: Options) -> Iterator[list[Unit]]:
    """Cut Parquet files into runs of row groups, none of which is read twice; a shard never spans two files."""
    import pyarrow.parquet as pq

    for unit in files:
        try:
            with open_input(unit.key, "") as source:
                about = pq.ParquetFile(source).metadata
                groups = [(about.row_group(n).num_rows, about.row_group(n).total_byte_size) for n in range(about.num_row_groups)]
        except Exception:  # an empty or damaged file: said when it is read, as a row
            yield [unit]
            continue
        waiting: list[Unit] = []
        images = size = 0
        for number, (rows, weight) in enumerate(groups):
            if waiting and (images + rows > options.shard_images or size + weight > options.shard_mb * 1e6):
                yield waiting
                waiting, images, size = [], 0, 0
            waiting.append(unit._replace(start=number, stop=number + 1))
            images, size = images + rows, size + weight
        if waiting:
            yield waiting


def _tar_shards(files: list[Unit], options: Options) -> Iterator[list[Unit]]:
    """Give each tar a shard; a large one is cut where a member begins, which takes one pass over its headers."""
    from .tars import cuts

    for unit in files:
        places = cuts(unit.key, unit.size, int(options.shard_mb * 1e6)) if unit.size > options.shard_mb * 1e6 else [0]
        for start, stop in zip(places, [*places[1:], -1], strict=True):
            yield [unit._replace(start=start, stop=stop)]


def _video_shards(files: list[Unit], options: Options) -> Iterator[list[Unit]]:  # noqa: ARG001 - the table's signature
    """Give each film a shard, the longest first: else the last one keeps everybody waiting."""
    yield from ([unit] for unit in sorted(files, key=lambda unit: (-unit.size, unit.key)))


_CUTS = {"parquet": _parquet_shards, "tar": _tar_shards, "video": _video_shards}


def _numbered(shard: Any, number: int) -> Any:
    import pyarrow as pa

    if isinstance(shard, list):
        kinds, keys, sizes, changed, starts, stops = zip(*shard, strict=True)
        keys = tuple(key.encode("utf-8", "surrogateescape") for key in keys)
    else:
        kinds, keys, sizes, changed = (shard[name].combine_chunks() for name in ("kind", "key", "size", "changed"))
        kinds = kinds.cast(pa.string())
        starts = stops = (-1,) * len(shard)
    integers = [pa.array(column, pa.int64()) for column in (sizes, changed, starts, stops)]
    arrays = [pa.array([number] * len(kinds), pa.int32()), pa.array(kinds, pa.string()), pa.array(keys, pa.binary()), *integers]
    return pa.table(arrays, names=["shard", "kind", "key", "size", "changed", "start", "stop"])


def write(place: Place, made: Plan) -> list[dict[str, Any]]:
    """Write a plan, a file a group, under names that tell its content; return the groups as the job keeps them."""
    groups: list[dict[str, Any]] = []
    for number, table in enumerate(made.tables()):
        data = encoded_plan(table)
        name = f"_ferkit/plan/{hashlib.sha256(data).hexdigest()[:16]}-{number:05d}.parquet"
        place.put(name, data)
        first = made.first + number * GROUP
        groups.append({"plan": name, "first": first, "last": min(first + GROUP, made.first + made.shards) - 1})
    return groups


def encoded_plan(table: pa.Table) -> bytes:
    """Return a group's table as a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", row_group_size=20_000, use_dictionary=["kind"])
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def units(place: Place, name: str, shard: int) -> list[Unit]:
    """Return a shard's pieces from the plan's file. Raises DataError."""
    import pyarrow.parquet as pq

    with place.open(name) as file:
        table = pq.read_table(file, filters=[("shard", "=", shard)])
    if not table.num_rows:
        raise DataError(f"{place.path(name)} has no shard {shard}; the plan is damaged. Start again in an empty OUTPUT.")
    rows = table.drop_columns(["shard"]).to_pylist()
    return [Unit(**{**row, "key": row["key"].decode("utf-8", "surrogateescape")}) for row in rows]
