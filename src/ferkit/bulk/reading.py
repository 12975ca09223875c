"""Reading a shard's pictures: from files, Parquet columns and tars, a few ahead of the one that is being looked at."""

from __future__ import annotations

import lzma
import os
import tarfile
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

from ..errors import InputError
from .columns import ErrorKind
from .plan import Unit
from .storage import AddressError, StoreError, is_address, open_input, read, read_whole
from .tars import members

__all__ = ["Item", "cell", "holds_images", "image_column", "items"]

_AHEAD_BYTES = 64_000_000
_TOO_LARGE = 512_000_000  # bytes of one encoded picture: five for each pixel of the largest that is decoded
_ROWS, _AT_ONCE = 32, 1 << 20  # of Parquet input: pictures, and bytes of a column, that are read together
_IN_A_ROW = 10  # pictures that cannot be reached, after which it is the store that cannot


class Item(NamedTuple):
    """A picture: its name and its bytes, or why there are none: the kind of error and a sentence."""

    key: str
    data: bytes | None
    kind: ErrorKind | None = None
    error: str = ""


def items(
    units: Sequence[Unit], base: str, *, column: str | None = None, key_column: str | None = None, ahead: bool = True
) -> Iterator[Item]:
    """Yield the pictures of a shard, in its order.

    Args:
        units: The shard's pieces.
        base: The folder that relative names are in.
        column, key_column: Of Parquet input: the pictures' column, and that of their names; None finds the first and numbers the rows.
        ahead: Read the next pictures while one is being looked at.

    Raises:
        StoreError: Ten pictures in a row cannot be reached: then it is not the pictures' fault.
    """
    kind = units[0].kind
    if kind == "images":
        yield from _watched(_files(units, base, ahead), units)
    elif kind == "parquet":
        for unit in units:
            yield from _rows(unit, base, column, key_column)
    else:
        for unit in units:
            yield from _members(unit, base)


def _watched(found: Iterator[Item], units: Sequence[Unit]) -> Iterator[Item]:
    unreachable = 0
    for item in found:
        unreachable = unreachable + 1 if item.kind == "io" and is_address(item.key) else 0
        if unreachable >= min(_IN_A_ROW, len(units)) and unreachable > 1:
            raise StoreError(f"{item.error} And so were the {unreachable - 1} before it.")
        yield item


def _files(units: Sequence[Unit], base: str, ahead: bool) -> Iterator[Item]:
    if not ahead:
        yield from (_file(unit, base) for unit in units)
        return
    threads = 8 if is_address(units[0].key) else 2
    with ThreadPoolExecutor(threads, thread_name_prefix="ferkit-read") as pool:
        waiting: deque[tuple[Future[Item], int]] = deque()
        held, rest = 0, deque(units)
        while rest or waiting:
            while rest and len(waiting) < 2 * threads and (held < _AHEAD_BYTES or not waiting):
                unit = rest.popleft()
                weight = max(unit.size, 1_000_000 if unit.size < 0 else 0)
                waiting.append((pool.submit(_file, unit, base), weight))
                held += weight
            future, weight = waiting.popleft()
            held -= weight
            yield future.result()


def _file(unit: Unit, base: str) -> Item:
    key = unit.key
    if unit.size > _TOO_LARGE:
        return Item(key, None, "too_large", f"{key}: {unit.size:,} bytes; expected at most {_TOO_LARGE:,} for one picture.")
    try:
        data, changed = read(key, base)
    except OSError as error:
        return Item(key, None, *_said(key, base, error))
    except AddressError as error:  # in the midst of a list of good ones
        return Item(key, None, "not_found", f"{key}: {error}")
    except ValueError as error:  # a name that no file can have
        return Item(key, None, "not_found", f"{key}: {error}; expected the path of an image file.")
    other = (unit.size >= 0 and len(data) != unit.size) or (unit.changed > 0 and changed > 0 and changed != unit.changed)
    if other:
        return Item(key, None, "changed", f"{key}: changed since it was planned. Run it again with update=True.")
    return Item(key, data)


def _said(key: str, base: str, error: OSError, what: str = "an image file") -> tuple[ErrorKind, str]:
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return "not_found", f"{key} does not exist; expected {what}."
    folder = not is_address(key) and os.path.isdir(os.path.join(base, key))  # noqa: PTH112 - pathlib's raises on names that are too long
    if isinstance(error, IsADirectoryError) or (folder and os.access(os.path.join(base, key), os.R_OK | os.X_OK)):
        return "not_image", f"{key} is a folder; expected {what}."
    return "io", f"{key} cannot be read: {error.strerror or error}."


def _rows(unit: Unit, base: str, column: str | None, key_column: str | None) -> Iterator[Item]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with open_input(unit.key, base) as source:
            # In small batches, and not read ahead: a row group of some writers is as large as the file.
            file: Any = pq.ParquetFile(source, pre_buffer=False, buffer_size=_AT_ONCE)
            image = image_column(unit.key, file.schema_arrow, column)
            named = key_column and image_column(unit.key, file.schema_arrow, key_column, "key_column")
            names = list(dict.fromkeys([image, *([named] if named else [])]))
            groups = range(file.num_row_groups) if unit.start < 0 else range(unit.start, unit.stop)
            number = sum(file.metadata.row_group(n).num_rows for n in range(groups.start))
            for batch in file.iter_batches(batch_size=_ROWS, row_groups=list(groups), columns=names, use_threads=False):
                for row in batch.to_pylist():
                    key = row[named] if named else None
                    yield cell(f"{unit.key}#{number}" if key is None else str(key), row[image])
                    number += 1
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, AddressError, OSError) as error:
        yield _broken(unit, base, error, "a Parquet file")


def image_column(source: str, columns: Any, wanted: str | None, option: str = "column") -> str:
    """Return the name of the column that is wanted, else of that with the pictures. Raises InputError, which names those that are there, and the option."""
    if wanted is not None:
        if wanted not in columns.names:
            raise InputError(
                f"{source} has the columns {', '.join(columns.names)}; expected one named {wanted!r}, as {option} says.", arguments=[option]
            )
        return wanted
    fitting = [field.name for field in columns if holds_images(field.type)]
    if "image" in fitting or len(fitting) == 1:
        return "image" if "image" in fitting else fitting[0]
    raise InputError(
        f"{source} has the columns {', '.join(columns.names)}; say which one has the pictures: {option}=NAME.", arguments=[option]
    )


def holds_images(kind: Any) -> bool:
    """Return True for a column of encoded pictures: bytes, lists of uint8, or Hugging Face's struct of ``bytes`` and ``path``."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_struct(kind):
        return bool(kind.get_field_index("bytes") >= 0)
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    plain = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)
    return bool(plain or (lists and kind.value_type == pa.uint8()))


def cell(key: str, value: Any) -> Item:
    """Return a Parquet cell as a picture."""
    data = value.get("bytes") if isinstance(value, dict) else value
    if data is None:
        return Item(key, None, "empty", f"{key}: no bytes in this row; expected an encoded picture.")
    if isinstance(data, str):
        return Item(key, None, "not_image", f"{key}: text instead of bytes; name pictures that lie elsewhere in a list of keys.")
    try:
        if isinstance(data, (bytes, list)):
            return Item(key, bytes(data))
    except (TypeError, ValueError):  # a list of something else
        pass
    return Item(key, None, "not_image", f"{key}: {type(data).__name__} instead of bytes; expected an encoded picture.")


def _members(unit: Unit, base: str) -> Iterator[Item]:
    try:
        for key, data, why in members(unit.key, base, max(unit.start, 0), unit.stop, unit.size):
            yield Item(key, data) if data is not None else Item(key, None, "not_image", f"{key} {why}")
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, AddressError, OSError) as error:
        yield _broken(unit, base, error, "a tar")


def _broken(unit: Unit, base: str, error: Exception, what: str) -> Item:
    """Return what to say of a table or a tar that cannot be read, or not to its end. Raises OSError where its store is at fault."""
    if isinstance(error, FileNotFoundError):
        return Item(unit.key, None, "not_found", f"{unit.key} does not exist; expected {what}.")
    if isinstance(error, AddressError):
        return Item(unit.key, None, "not_found", f"{unit.key}: {error}")
    if isinstance(error, OSError) and not read_whole(unit.key, base):
        if is_address(unit.key):
            raise error
        return Item(unit.key, None, *_said(unit.key, base, error, what))
    said = str(error).partition("\n")[0]
    kind: ErrorKind = "empty" if unit.size == 0 else "damaged"
    return Item(unit.key, None, kind, f"{unit.key}: not {what}, or a damaged or cut one ({said}); what came before is in the rows.")
