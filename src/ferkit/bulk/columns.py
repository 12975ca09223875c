"""The columns of the rows: one row per face, one per picture without faces, one per picture that could not be read."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

from ..errors import InputError
from ..text import encodable

if TYPE_CHECKING:
    import pyarrow as pa

    from ..faces import Face

__all__ = ["ErrorKind", "Rows", "encoded", "schema"]

ErrorKind = Literal["not_found", "empty", "not_image", "damaged", "too_large", "pixels", "io", "changed", "crash", "timeout"]
ERROR_KINDS: tuple[str, ...] = get_args(ErrorKind)

_ROW_GROUP = 65_536
_FLUSH = 20_000  # rows held as Python values, which are ten times as large as in the table
_POINTS = tuple(f"lm{number}{axis}" for number in range(1, 6) for axis in "xy")
_HEADS = {
    "images": ("image", "shard", "row_in_shard", "width", "height", "face", "faces"),
    "video": ("video", "shard", "row_in_shard", "frame", "time_s", "track_id", "width", "height", "face", "faces"),
}
_INTEGERS = {"shard": 32, "row_in_shard": 32, "width": 32, "height": 32, "face": 16, "faces": 16, "frame": 64, "track_id": 64}


def schema(labels: Sequence[str], *, video: bool = False, landmarks: bool = True, features: bool = False) -> pa.Schema:
    """Return the columns for a label set. They are flat, but for features: lists of a fixed length with nulls cannot be read back everywhere.

    Raises:
        InputError: A label has the name of another column.
    """
    import pyarrow as pa

    head = _HEADS["video" if video else "images"]
    names = [*head, "x1", "y1", "x2", "y2", "score", "label", "confidence", *labels, "disagreement", "reason"]
    names += [*(_POINTS if landmarks else ()), *(["features"] if features else []), "error_kind", "error"]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(
            f"The weights have labels named {', '.join(twice)}, as other columns are; answer in another label set with labels=."
        )
    kinds: dict[str, Any] = {name: getattr(pa, f"int{bits}")() for name, bits in _INTEGERS.items()}
    kinds |= {name: pa.string() for name in ("image", "video", "label", "reason", "error_kind", "error")} | {"time_s": pa.float64()}
    kinds["features"] = pa.list_(pa.float32())
    return pa.schema([(name, kinds.get(name, pa.float32())) for name in names])


class Rows:
    """Collects the rows of a shard.

    Args:
        labels: Class names, in the order of the columns.
        shard: Its number.
        video, landmarks, features: As for ``schema``.
        hash_keys: Write the SHA-256 of a picture's name instead of the name.
    """

    def __init__(
        self,
        labels: Sequence[str],
        shard: int,
        *,
        video: bool = False,
        landmarks: bool = True,
        features: bool = False,
        hash_keys: bool = False,
    ) -> None:
        self.schema = schema(labels, video=video, landmarks=landmarks, features=features)
        self._features = features
        self._shard, self._labels, self._landmarks, self._hash = shard, labels, landmarks, hash_keys
        self._name = "video" if video else "image"
        self._cells: dict[str, list[Any]] = {name: [] for name in self.schema.names}
        self._batches: list[Any] = []
        self.images = self.faces = 0
        self.errors: dict[str, int] = {}

    def add(self, key: str, row: int, size: tuple[int, int], faces: Sequence[Face], **more: Any) -> None:
        """Add a picture that was read; ``more`` are cells of a video's frame."""
        self.images += 1
        self.faces += len(faces)
        head = {self._name: self._key(key), "row_in_shard": row, "width": size[0], "height": size[1], "faces": len(faces), **more}
        if not faces:
            self._row(head)
        for number, face in enumerate(faces):
            self._row(head | {"face": number} | self._face(face))

    def add_error(self, key: str, row: int, kind: ErrorKind, message: str) -> None:
        """Add a picture that could not be read."""
        self.images += 1
        self.errors[kind] = self.errors.get(kind, 0) + 1
        self._row({self._name: self._key(key), "row_in_shard": row, "error_kind": kind, "error": None if self._hash else message[:500]})

    def _key(self, key: str) -> str:
        return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest() if self._hash else key

    def _face(self, face: Face) -> dict[str, Any]:
        cells: dict[str, Any] = dict(zip(("x1", "y1", "x2", "y2"), face.box, strict=True)) | {"score": face.score}
        if face.expression is not None:
            cells |= {name: face.expression.probabilities[name] for name in self._labels}
            cells |= {name: getattr(face.expression, name) for name in ("label", "confidence", "disagreement", "reason")}
        if self._landmarks and face.landmarks is not None:
            cells |= dict(zip(_POINTS, (value for point in face.landmarks for value in point), strict=True))
        if self._features and face.features is not None:
            cells["features"] = face.features.tolist()
        if self._name == "video":
            cells["track_id"] = face.track_id
        return cells

    def _row(self, cells: dict[str, Any]) -> None:
        cells["shard"] = self._shard
        for name, column in self._cells.items():
            value = cells.get(name)
            column.append(encodable(value) if isinstance(value, str) else value)
        if len(self._cells["shard"]) >= _FLUSH:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        arrays = [pa.array(column, field.type) for column, field in zip(self._cells.values(), self.schema, strict=True)]
        self._batches.append(pa.record_batch(arrays, schema=self.schema))
        self._cells = {name: [] for name in self.schema.names}

    def table(self) -> pa.Table:
        """Return all rows."""
        import pyarrow as pa

        self._flush()
        return pa.Table.from_batches(self._batches, self.schema)


def encoded(batches: Any, columns: pa.Schema, metadata: dict[str, str]) -> bytes:
    """Return tables as one Parquet file: the same rows are the same bytes, however they were cut.

    Args:
        batches: An iterable of tables with these columns.
        columns: Their schema.
        metadata: For the file's footer.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    floats = [field.name for field in columns if pa.types.is_floating(field.type)]
    others = [field.name for field in columns if not (pa.types.is_floating(field.type) or pa.types.is_list(field.type))]
    sink = pa.BufferOutputStream()
    options = {"compression": "zstd", "use_dictionary": others, "use_byte_stream_split": floats}
    with pq.ParquetWriter(sink, columns.with_metadata(metadata), **options) as writer:
        waiting = columns.empty_table()
        for table in batches:
            waiting = pa.concat_tables([waiting, table.replace_schema_metadata(None)])
            while waiting.num_rows >= _ROW_GROUP:
                writer.write_table(waiting.slice(0, _ROW_GROUP).combine_chunks(), row_group_size=_ROW_GROUP)
                waiting = waiting.slice(_ROW_GROUP)
        if waiting.num_rows:
            writer.write_table(waiting.combine_chunks(), row_group_size=_ROW_GROUP)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]
