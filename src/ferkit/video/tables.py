"""Rows, one per frame and person, written as they come. A frame without faces has its row too."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Protocol

from ..errors import InputError
from ..faces import Face
from ..results import Result, feature_columns
from .frame import Frame
from .sources import need

__all__ = ["SUFFIXES", "Table", "columns", "open_table", "rows"]

SUFFIXES = (".csv", ".jsonl", ".parquet")
_GROUP = 2000  # rows of a Parquet row group: what is held before it is written


class Table(Protocol):
    """Where rows go."""

    def add(self, frame: Frame, result: Result) -> None: ...

    def close(self) -> None: ...


def columns(labels: Sequence[str], features: int = 0) -> list[str]:
    """Return the names of a flat row's cells, with so many features."""
    fixed = ["frame", "time_s", "track_id", "x1", "y1", "x2", "y2", "score", "label", "confidence"]
    return [*fixed, *labels, *feature_columns(features)]


def rows(frame: Frame, result: Result, labels: Sequence[str], features: int = 0) -> list[list[Any]]:
    """Return one flat row per face, or a single one with empty (None) cells. Seconds to 1 us, pixels to two decimals."""
    head = [frame.index, round(frame.time_s, 6)]
    if not result.faces:
        return [[*head, *[None] * (len(columns(labels, features)) - 2)]]
    return [[*head, face.track_id, *_cells(face, labels, features)] for face in result.faces]


def _cells(face: Face, labels: Sequence[str], features: int) -> list[Any]:
    plain = face.to_dict()
    probabilities = plain.get("probabilities", {})
    known = [*plain["box"], plain["score"], plain.get("label"), plain.get("confidence"), *(probabilities.get(label) for label in labels)]
    return [*known, *plain.get("features", [None] * features)[:features]]


class _Csv:
    def __init__(self, file: IO[str], labels: Sequence[str], features: int = 0) -> None:
        self._file, self._labels, self._features = file, labels, features
        self._writer = csv.writer(file, lineterminator="\n")
        self._writer.writerow(columns(labels, features))

    def add(self, frame: Frame, result: Result) -> None:
        self._writer.writerows(
            [["" if cell is None else cell for cell in row] for row in rows(frame, result, self._labels, self._features)]
        )

    def close(self) -> None:
        self._file.close()


class JsonLines:
    """One object per row; also what ``ferkit video`` prints."""

    def __init__(self, file: IO[str], labels: Sequence[str], close: bool = True, features: int = 0) -> None:
        self._file, self._labels, self._closes, self._features = file, labels, close, features

    def add(self, frame: Frame, result: Result) -> None:
        for number, row in enumerate(rows(frame, result, self._labels)):
            cells = dict(zip(columns(self._labels), row, strict=True))
            box = [cells.pop(name) for name in ("x1", "y1", "x2", "y2")]
            probabilities = {label: cells.pop(label) for label in self._labels}
            known = result.faces != ()
            line = {"frame": cells["frame"], "time_s": cells["time_s"], "track_id": cells["track_id"], "box": box if known else None}
            line |= {"score": cells["score"], "label": cells["label"], "confidence": cells["confidence"]}
            line["probabilities"] = probabilities if known else None
            if self._features:
                line["features"] = result.faces[number].to_dict().get("features") if known else None
            self._file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def close(self) -> None:
        if self._closes:
            self._file.close()
        else:
            self._file.flush()


class _Parquet:
    def __init__(self, path: Path, labels: Sequence[str], features: int = 0) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        kinds = {"frame": pa.int64(), "time_s": pa.float64(), "track_id": pa.int64(), "label": pa.string()}
        self._schema = pa.schema([(name, kinds.get(name, pa.float32())) for name in columns(labels, features)])
        self._labels, self._features, self._waiting, self._pa = labels, features, [], pa
        self._writer = pq.ParquetWriter(path, self._schema)

    _waiting: list[list[Any]]

    def add(self, frame: Frame, result: Result) -> None:
        self._waiting += rows(frame, result, self._labels, self._features)
        if len(self._waiting) >= _GROUP:
            self._flush()

    def _flush(self) -> None:
        cells = list(zip(*self._waiting, strict=True))
        arrays = [self._pa.array(cell, field.type) for cell, field in zip(cells, self._schema, strict=True)]
        self._writer.write_table(self._pa.Table.from_arrays(arrays, schema=self._schema))
        self._waiting = []

    def close(self) -> None:
        if self._waiting:
            self._flush()
        self._writer.close()


def open_table(path: Path, labels: Sequence[str], features: int = 0) -> Table:
    """Open a table by its suffix: ``.csv``, ``.jsonl`` or ``.parquet``, with so many features.

    Raises:
        InputError: Another suffix.
        MissingExtraError: Parquet without pyarrow.
        OSError: The place cannot be written.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"Table {path}; expected a name ending in {', '.join(SUFFIXES)}.")
    if path.suffix.lower() == ".parquet":
        need("pyarrow", "Writing Parquet")
        return _Parquet(path, labels, features)
    file = path.open("w", buffering=1, encoding="utf-8", newline="")  # a line at a time: readable whatever happens
    try:
        return _Csv(file, labels, features) if path.suffix.lower() == ".csv" else JsonLines(file, labels, features=features)
    except BaseException:  # the names of the columns are written at once, and there may be no room for them
        with suppress(OSError):  # what is waiting is written by closing, and fails as it did
            file.close()
        raise
