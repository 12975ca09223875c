"""The plan: what there is to do, in an order that depends on nothing but the names, cut into numbered shards and written down once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, InputError
from .listing import Listed
from .names import Names
from .options import Options
from .records import Group
from .storage import Place, open_input, read_whole

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["GROUP", "Plan", "Unit", "as_written", "batches", "plan", "read_group", "units", "write", "write_group"]

GROUP = 500  # shards whose parts become one file: about a million rows
_ROW_GROUP = 20_000


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
    """One generation's shards: pictures first, as edges in the list of their names, and then those that are told piece by piece.

    Attributes:
        names: Everything that was listed.
        edges: Where shards of pictures begin and end among ``names.of("images")``.
        pieces: The other shards.
        first: The first shard's number.
    """

    names: Names
    edges: list[int]
    pieces: list[list[Unit]]
    first: int

    @property
    def kinds(self) -> dict[str, int]:
        """Kind -> how many were listed."""
        return self.names.kinds

    @property
    def shards(self) -> int:
        """How many there are."""
        return len(self.edges) - 1 + len(self.pieces)

    @property
    def pictures(self) -> int:
        """How many entries there are: pictures, row groups, pieces of tars, films."""
        return self.edges[-1] + sum(map(len, self.pieces))

    @property
    def bytes(self) -> int:
        """Of everything that was listed, as far as it is known."""
        return sum(int(self.names.sizes(self.names.of(kind)).sum()) for kind in self.kinds)

    def groups(self) -> Iterator[Iterator[pa.Table]]:
        """Yield the tables of each group of shards, a few thousand rows each: all of them are as large as the list itself."""
        places = self.names.of("images") if "images" in self.kinds else None
        for start in range(0, self.shards, GROUP):
            yield self._tables(places, start, min(start + GROUP, self.shards))

    def _tables(self, places: Any, start: int, stop: int) -> Iterator[pa.Table]:
        images = len(self.edges) - 1
        edges = np.array(self.edges[start : min(stop, images) + 1])
        if len(edges) > 1:
            for row in range(edges[0], edges[-1], _ROW_GROUP):
                rows = np.arange(row, min(row + _ROW_GROUP, edges[-1]))
                shards = self.first + start + np.searchsorted(edges, rows, side="right") - 1
                nothing = np.full(len(rows), -1)
                yield _table(shards, ["images"] * len(rows), *self.names.columns(places[rows]), nothing, nothing)
        for number in range(max(start, images), stop):
            kinds, keys, *rest = zip(*self.pieces[number - images], strict=True)
            yield _table([self.first + number] * len(kinds), kinds, [_encoded(key) for key in keys], *rest)


def plan(found: Iterable[Listed], options: Options, first: int = 0) -> Plan:
    """Sort what was found by name, and cut it into shards.

    Args:
        found: What was listed; what was listed twice is there once.
        options: ``shard_images`` and ``shard_mb`` say where shards end.
        first: The first shard's number.

    Raises:
        InputError: Pictures and films together, which have different columns.
    """
    names = Names(found)
    kinds = names.kinds
    if "video" in kinds and len(kinds) > 1:
        counts = ", ".join(f"{number} of kind {kind}" for kind, number in sorted(kinds.items()))
        raise InputError(
            f"{counts}: videos have a table of their own. Choose kind='images' or kind='video', each with an output of its own.",
            arguments=["kind"],
        )
    edges = _edges(names.sizes(names.of("images")), options) if "images" in kinds else [0]
    pieces = [shard for kind, cut in _CUTS.items() if kind in kinds for shard in cut(_as_units(names, kind), options)]
    return Plan(names, edges, pieces, first)


def _encoded(key: str) -> bytes:
    return key.encode("utf-8", "surrogateescape")


def _as_units(names: Names, kind: str) -> list[Unit]:
    rows = zip(*(column.tolist() for column in names.columns(names.of(kind))), strict=True)
    return [Unit(kind, key.decode("utf-8", "surrogateescape"), size, changed, -1, -1) for key, size, changed in rows]


def _edges(sizes: NDArray[np.int64], options: Options) -> list[int]:
    """Cut pictures into runs of at most so many, and so many bytes; return where runs begin, and the end."""
    ends = np.cumsum(sizes, out=sizes)
    edges, before = [0], 0
    while edges[-1] < len(ends):
        by_bytes = int(np.searchsorted(ends, before + options.shard_mb * 1e6, side="right"))
        edges.append(min(edges[-1] + options.shard_images, max(by_bytes, edges[-1] + 1), len(ends)))
        before = int(ends[edges[-1] - 1])
    return edges


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
        if not groups:
            yield [unit]  # no rows, but a table
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


def _table(*columns: Any) -> pa.Table:
    import pyarrow as pa

    integer = pa.int64()
    kinds = [pa.int32(), pa.string(), pa.binary(), integer, integer, integer, integer]
    arrays = [pa.array(column, kind) for column, kind in zip(columns, kinds, strict=True)]
    return pa.table(arrays, names=["shard", "kind", "key", "size", "changed", "start", "stop"])


def write(place: Place, made: Plan) -> list[Group]:
    """Write a plan, a file a group; return the groups as the job keeps them."""
    groups: list[Group] = []
    for number, tables in enumerate(made.groups()):
        first = made.first + number * GROUP
        last = min(first + GROUP, made.first + made.shards) - 1
        groups.append({"plan": write_group(place, tables, number), "first": first, "last": last})
    return groups


def write_group(place: Place, tables: Iterable[pa.Table], number: int) -> str:
    """Write a group's tables as a Parquet file, under a name that tells its content; return the name."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink, writer = pa.BufferOutputStream(), None
    waiting: list[Any] = []
    for table in tables:
        writer = writer or pq.ParquetWriter(sink, table.schema, compression="zstd", use_dictionary=["kind"])
        waiting.append(table)
        if sum(map(len, waiting)) >= _ROW_GROUP:
            writer.write_table(pa.concat_tables(waiting), row_group_size=_ROW_GROUP)
            waiting = []
    assert writer is not None
    if waiting:
        writer.write_table(pa.concat_tables(waiting), row_group_size=_ROW_GROUP)
    writer.close()
    data = sink.getvalue().to_pybytes()
    name = f"_ferkit/plan/{_digest(data)}-{number:05d}.parquet"
    place.put(name, data)
    return name


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def as_written(place: Place, name: str) -> bool:
    """Return whether a group's file has the bytes that its name tells."""
    data = place.read(name)
    return data is not None and name.startswith(f"_ferkit/plan/{_digest(data)}-")


def read_group(place: Place, name: str, **how: Any) -> pa.Table:
    """Return a group's table, or as much of it as ``pyarrow.parquet.read_table`` is asked for. Raises DataError."""
    import pyarrow.parquet as pq

    with _opened(place, name) as file:
        return pq.read_table(file, **how)


def batches(place: Place, name: str, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Yield columns of a group, a few thousand rows at a time. Raises DataError."""
    import pyarrow.parquet as pq

    with _opened(place, name) as file:
        yield from pq.ParquetFile(file).iter_batches(_ROW_GROUP, columns=columns)


@contextmanager
def _opened(place: Place, name: str) -> Iterator[IO[bytes]]:
    import pyarrow as pa

    try:
        with place.open(name) as file:
            yield file
    except FileNotFoundError as error:
        raise DataError(f"{place.path(name)} is missing; the plan is damaged. Start again in an empty OUTPUT.") from error
    except (pa.ArrowInvalid, OSError) as error:
        if isinstance(error, OSError) and not read_whole(place.path(name), ""):
            raise
        said = str(error).partition("\n")[0]
        raise DataError(f"{place.path(name)} cannot be read ({said}); the plan is damaged. Start again in an empty OUTPUT.") from error


def units(place: Place, name: str, shard: int) -> list[Unit]:
    """Return a shard's pieces from the plan's file. Raises DataError."""
    table = read_group(place, name, filters=[("shard", "=", shard)])
    if not table.num_rows:
        raise DataError(f"{place.path(name)} has no shard {shard}; the plan is damaged. Start again in an empty OUTPUT.")
    rows = table.drop_columns(["shard"]).to_pylist()
    return [Unit(**{**row, "key": row["key"].decode("utf-8", "surrogateescape")}) for row in rows]
