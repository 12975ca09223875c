"""For other people's engines: a table of pictures in, a table of rows out. Spark, Ray Data, Daft and Dask call it for each piece."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from .columns import Rows
from .opening import need_columns
from .options import need
from .reading import cell, image_column
from .work import picture

if TYPE_CHECKING:
    import pyarrow as pa

    from ..pipeline import Pipeline

__all__ = ["rows"]


@lru_cache(maxsize=1)
def _default() -> Any:
    import cv2

    from ..pipeline import Pipeline

    cv2.setNumThreads(1)  # the engine runs as many processes as there are CPUs
    return Pipeline()


def rows(
    table: pa.Table,
    *,
    image: str | None = None,
    key: str | None = None,
    pipeline: Pipeline | None = None,
    max_side: int | None = None,
    landmarks: bool = True,
    features: bool = False,
) -> pa.Table:
    """Read the expressions in a table's pictures.

    Args:
        table: One row a picture; a ``pyarrow.Table`` or ``RecordBatch``.
        image: The column of encoded pictures: binary, list of uint8, or Hugging Face's struct of ``bytes`` and ``path``. None: the
            column named ``image``, or the only one that fits.
        key: The column of the pictures' names. None: the row's number in this table.
        pipeline: None is the default one, opened once a process, with one OpenCV thread.
        max_side, landmarks: As for ``ferkit.batch``.
        features: Write those of the pipeline's faces: give one that was opened with ``features=True``.

    Returns:
        The rows of ``ferkit.batch``, in the order of the table: one per face, one per picture without faces, and one with
        ``error_kind`` and ``error`` per picture that cannot be read, which never raises. ``shard`` is 0, ``row_in_shard`` the row's number.

    Raises:
        InputError: There is no such column, or the pipeline answers several labels at once, or values.
        MissingExtraError: pyarrow is not installed.

    Examples:
        >>> import ferkit
        >>> import pyarrow as pa
        >>> table = pa.table({"image": [b"no picture"]})
        >>> rows(table, pipeline=ferkit.Pipeline("none"))["error_kind"].to_pylist()
        ['not_image']
    """
    need("pyarrow", "ferkit.bulk.rows")
    if key is not None:
        image_column("The table", table.schema, key, "key")
    column = image_column("The table", table.schema, image, "image")
    opened = _default() if pipeline is None else pipeline
    need_columns(opened)
    out = Rows(list(opened.classifier.labels), 0, landmarks=landmarks, features=features)
    names: Sequence[Any] = range(table.num_rows) if key is None else table[key].to_pylist()
    for number, name in enumerate(names):
        item = cell(str(name), table[column][number].as_py())
        try:
            picture(out, item, number, opened, max_side)
        except MemoryError as error:  # here it is the caller's process, which no worker replaces
            out.add_error(item.key, number, "crash", f"{item.key}: {type(error).__name__}: {error}")
    return out.table()
