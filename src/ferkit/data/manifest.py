"""A manifest: one table, csv or Parquet, that names every picture, its label and whatever else is known of it."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import DataError, InputError, MissingExtraError
from ..labels import CLASSES, LABELS, LabelSet
from .samples import Listing, Sample, merged_names
from .split_names import SPLITS, split_of

__all__ = ["COLUMNS", "columns_in", "is_table", "list_manifest"]

# What each column may be called, the usual name first; capitals and spaces around do not count.
COLUMNS: dict[str, tuple[str, ...]] = {
    "path": ("path", "file", "filename", "file_name", "image", "image_path", "img", "filepath", "subdirectory_filepath", "pth"),
    "label": ("label", "emotion", "expression", "class", "target", "category"),
    "split": ("split", "usage", "set", "subset", "partition", "fold"),
    "person": ("person", "person_id", "subject", "subject_id", "identity", "participant", "speaker", "user"),
    "weight": ("weight", "sample_weight"),
    "box": ("box", "bbox", "bounding_box"),
}
_CORNERS = (("x1", "y1", "x2", "y2"), ("left", "top", "right", "bottom"), ("xmin", "ymin", "xmax", "ymax"))
_SIDES = (("x", "y", "w", "h"), ("face_x", "face_y", "face_width", "face_height"), ("left", "top", "width", "height"))
SUFFIXES = (".csv", ".tsv", ".parquet")
_BEYOND = "\0"  # where a row's entries beyond the columns go: no column is called so


def is_table(path: Path) -> bool:
    """Return True for what is read as a table: any file, and a name that ends as a table's does."""
    return path.is_file() or (path.suffix.lower() in SUFFIXES and not path.is_dir())


def columns_in(path: Path) -> list[str]:
    """Return the names of a table's columns, as they are spelt. Raises DataError if it cannot be read, MissingExtraError for Parquet without pyarrow."""
    return _read(path, only_head=True)[0]


def list_manifest(
    path: Path, relabel: Mapping[str, str] | None = None, group: str | None = None, wanted: LabelSet | None = None
) -> Listing:
    """List the samples of a table.

    Args:
        path: ``.csv``, ``.tsv`` or ``.parquet`` with the columns ``path`` (below the table's folder, or absolute) and ``label``, and any
            of ``split``, ``person``, ``weight`` (0 or more) and ``box`` (``x1 y1 x2 y2``, or four columns). A column for each class instead
            of ``label``, or beside it, are soft labels: shares or counts, 0 or more.
        relabel: New names for labels; ``""`` leaves a label out.
        group: Name of a column that is the person's, if it is another one.
        wanted: Several labels at once, or values, of the kind that it says: each is a column, of numbers 0 to 1 for labels, and an entry
            that is empty is unknown. None, or classes: ``label`` and soft labels as above.

    Raises:
        DataError: A column is missing, or a row is not as described; the message names the line.
        InputError: ``relabel`` names a label that is not there, or is given beside such ``wanted``.
        MissingExtraError: Parquet without pyarrow.
    """
    names, rows = _read(path)
    several = wanted if wanted is not None and wanted.kind != CLASSES else None
    table = _Table(path, names, group, several)
    if not rows:
        raise DataError(f"{path} has no rows; expected one for each picture.")
    if several is not None:
        if relabel:
            raise InputError(
                "relabel gives classes new names; several labels and values are named by their columns.", arguments=["relabel"]
            )
        return _listed(table, rows, table.splits(rows), several)
    shares = [table.shares(line, row) for line, row in rows]
    raw = [table.label(line, row, own) for (line, row), own in zip(rows, shares, strict=True)]
    if table.settle(set(raw)):
        shares = [table.shares(line, row) for line, row in rows]
    splits = table.splits(rows)
    found: dict[str | None, set[str]] = {}
    for label, split in zip(raw, splits, strict=True):
        found.setdefault(split, set()).update([label] if not table.classes else table.classes)
    named, told = merged_names(found, relabel, str(path))
    labels = tuple(dict.fromkeys(named[name] for name in table.classes if named[name])) or tuple(sorted(set(named.values()) - {""}))
    samples, skipped, zero = [], [], 0
    for (line, row), own, label, split in zip(rows, shares, raw, splits, strict=True):
        weight, soft = table.weight(line, row), _soft(own, named, labels)
        if not named[label] or weight == 0 or (table.classes and soft is None):
            zero += bool(named[label])
            continue
        sample = table.sample(line, row, named[label], split, soft)
        if isinstance(sample, Sample):
            samples.append(sample)
        else:
            skipped.append(sample)
    table.notes += [*told, *([f"{zero:,} rows weigh nothing and are left out."] if zero else [])]
    return _usable(table, len(rows), samples, skipped, labels)


def _listed(table: _Table, rows: Sequence[tuple[int, dict[str, Any]]], splits: Sequence[str | None], wanted: LabelSet) -> Listing:
    """Return the samples of a table whose columns are several labels, or values."""
    samples, skipped, empty = [], [], 0
    for (line, row), split in zip(rows, splits, strict=True):
        targets = tuple(table.target(line, row, name, wanted) for name in wanted)
        if table.weight(line, row) == 0 or all(map(math.isnan, targets)):
            empty += 1
            continue
        sample = table.sample(line, row, "", split, targets)
        if isinstance(sample, Sample):
            samples.append(sample)
        else:
            skipped.append(sample)
    table.notes += [f"{empty:,} rows weigh nothing, or say nothing, and are left out."] if empty else []
    return _usable(table, len(rows), samples, skipped, wanted.classes, wanted.kind)


def _usable(
    table: _Table, rows: int, samples: list[Sample], skipped: list[tuple[str, str]], labels: tuple[str, ...], kind: str = CLASSES
) -> Listing:
    if not samples:
        raise DataError(f"{table.path} names {rows} pictures, and none can be used. {skipped[0][1] if skipped else 'All weigh nothing.'}")
    return Listing(table.path, tuple(samples), labels, tuple(table.notes), tuple(skipped), kind)


class _Table:
    """The columns of a manifest, found by their names."""

    def __init__(self, path: Path, names: Sequence[str], group: str | None, several: LabelSet | None = None) -> None:
        self.path, self.at = path, dict[str, str]()
        spelt = {name.strip().lower(): name for name in names}
        if twice := sorted({name for name in names if name and names.count(name) > 1}):
            raise DataError(f"{path} has the column(s) {', '.join(twice)} more than once; expected every name once.")
        if several is not None and (absent := [name for name in several if name not in names]):
            raise DataError(f"{path} lacks the column(s) {', '.join(absent)}; expected one for each of them; it has {', '.join(names)}.")
        for role, known in COLUMNS.items():
            column = next((spelt[name] for name in known if name in spelt), None)
            if column is not None and (several is None or (role != "label" and column not in several.classes)):
                self.at[role] = column
        if group is not None:
            self.at["person"] = group
        if "path" not in self.at:
            raise DataError(
                f"{path} lacks a column path; expected path and label, or Kaggle's emotion,pixels,Usage; it has {', '.join(names) or 'none'}."
            )
        self.corners, self.sides = (
            [spelt[name] for name in four] if four else [] for four in (_first(_CORNERS, spelt), _first(_SIDES, spelt))
        )
        used = {*self.at.values(), *self.corners, *self.sides, *(several or ())}
        others = [name for name in names if name and name not in used]
        self.classes: list[str] = [] if "label" in self.at or several is not None else others
        if len(self.classes) < 2 and "label" not in self.at and several is None:
            raise DataError(f"{path} lacks a column label, and columns of classes; it has {', '.join(names)}.")
        self.others = others
        self.notes: list[str] = []
        self._renamed()
        if several is not None and others:
            self.notes.append(f"ignored the columns {', '.join(others)}.")

    def splits(self, rows: Sequence[tuple[int, Mapping[str, Any]]]) -> list[str | None]:
        """Return the split of every row, or None for all. Raises DataError where some have none."""
        splits = [self.split(line, row) for line, row in rows]
        if any(splits) and not all(splits):
            line = rows[splits.index(None)][0]
            raise DataError(f"{self.path}, line {line}: no split; expected one in every row, or in none.")
        return splits

    def sample(
        self, line: int, row: Mapping[str, Any], label: str, split: str | None, soft: tuple[float, ...] | None
    ) -> Sample | tuple[str, str]:
        """Return a row's sample, or what is missing and why. Raises DataError for a row that is not as described."""
        place = self.text(row, "path")
        if not place:
            raise DataError(f"{self.path}, line {line}: no path; expected one in every row.")
        file = self.path.parent / place
        if not os.path.exists(file) and "\\" in place:  # pathlib's raises on names that no file can have
            file = self.path.parent / place.replace("\\", "/")  # written on Windows
        if not os.path.exists(file):
            return str(file), f"{self.path}, line {line}: {file} does not exist."
        return Sample(file, label, split, self.text(row, "person"), self.weight(line, row), self.box(line, row), soft, place)

    def target(self, line: int, row: Mapping[str, Any], name: str, wanted: LabelSet) -> float:
        """Return one label's or value's target; NaN where the entry is empty."""
        text = as_text(row.get(name))
        value = self.number(line, name, text) if text else math.nan
        if wanted.kind == LABELS and text and not 0 <= value <= 1:
            raise DataError(
                f"{self.path}, line {line}: {name} is {text}; expected 1 where the label is true, 0 where it is not, and nothing where nobody knows."
            )
        return value

    def _renamed(self) -> None:
        renamed = [f"{column} as {role}" for role, column in self.at.items() if column.strip() != role]
        if renamed:
            self.notes.append(f"read the columns {', '.join(renamed)}.")

    def settle(self, labels: set[str]) -> bool:
        """Decide on columns beside ``label``: soft labels if every label has one, else they are ignored. Return True if there are new ones."""
        found = "label" in self.at and labels <= set(self.others)
        if found:
            self.classes = [name for name in self.others if name in labels]
        ignored = [name for name in self.others if name not in self.classes]
        if self.classes:
            self.notes.append(f"soft labels from the columns {', '.join(self.classes)}.")
        if ignored:
            self.notes.append(f"ignored the columns {', '.join(ignored)}.")
        return found

    def text(self, row: Mapping[str, Any], role: str) -> str:
        return as_text(row.get(self.at[role])) if role in self.at else ""  # an index without a name is called "" too

    def label(self, line: int, row: Mapping[str, Any], shares: Mapping[str, float]) -> str:
        if "label" not in self.at:
            return max(shares, key=lambda name: shares[name])
        if label := self.text(row, "label"):
            return label.removesuffix(".0") if label.removesuffix(".0").isdecimal() else label
        raise DataError(f"{self.path}, line {line}: no label; expected one in every row.")

    def split(self, line: int, row: Mapping[str, Any]) -> str | None:
        text = self.text(row, "split")
        split = text if text in SPLITS else split_of(text)
        if text and split is None:
            raise DataError(f"{self.path}, line {line}: split {text!r}; expected train, validation or test.")
        return split

    def weight(self, line: int, row: Mapping[str, Any]) -> float:
        text = self.text(row, "weight")
        weight = self.number(line, "weight", text) if text else 1.0
        if weight < 0:
            raise DataError(f"{self.path}, line {line}: weight {text}; expected a number, 0 or more.")
        return weight

    def shares(self, line: int, row: Mapping[str, Any]) -> dict[str, float]:
        """Return what each class has in a row; nothing where there are no soft labels."""
        values = {name: self.number(line, name, as_text(row.get(name)) or "0") for name in self.classes}
        if min(values.values(), default=0) < 0:
            raise DataError(f"{self.path}, line {line}: soft labels {list(values.values())}; expected numbers, 0 or more.")
        return values

    def box(self, line: int, row: Mapping[str, Any]) -> tuple[float, float, float, float] | None:
        if self.corners or self.sides:
            parts = [as_text(row.get(name)) for name in self.corners or self.sides]
        else:
            parts = self.text(row, "box").strip("[]()").replace(",", " ").replace(";", " ").split()
        if not any(parts):
            return None
        if len(parts) != 4:
            raise DataError(f"{self.path}, line {line}: box {' '.join(parts)!r}; expected four numbers, x1 y1 x2 y2.")
        x1, y1, x2, y2 = (self.number(line, "box", part) for part in parts)
        if self.sides and not self.corners:
            x2, y2 = x1 + x2, y1 + y2
        if x1 >= x2 or y1 >= y2:
            raise DataError(f"{self.path}, line {line}: box {x1:g} {y1:g} {x2:g} {y2:g}; expected x1 y1 x2 y2 with x1 < x2 and y1 < y2.")
        return x1, y1, x2, y2

    def number(self, line: int, what: str, text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise DataError(f"{self.path}, line {line}: {what} {text!r}; expected a finite number.")
        return value


def _soft(shares: Mapping[str, float], named: Mapping[str, str], labels: Sequence[str]) -> tuple[float, ...] | None:
    """Return the shares of the labels, 1 in all; None where there are no soft labels, or nothing is left of them."""
    summed = dict.fromkeys(labels, 0.0)
    for name, value in shares.items():
        if named[name]:
            summed[named[name]] += value
    total = sum(summed.values())
    return tuple(value / total for value in summed.values()) if total > 0 else None


def as_text(value: Any) -> str:
    """Return a table's entry as text: whole numbers without a point, nothing as nothing, a list's parts apart by spaces."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, list | tuple):
        return " ".join(str(part) for part in value)
    return str(value).strip()


def _first(options: Sequence[Sequence[str]], spelt: Mapping[str, str]) -> Sequence[str] | None:
    return next((four for four in options if all(name in spelt for name in four)), None)


def _read(path: Path, only_head: bool = False) -> tuple[list[str], list[tuple[int, dict[str, Any]]]]:
    """Return a table's columns, and its rows with their lines."""
    if path.suffix.lower() == ".parquet":
        return _read_parquet(path, only_head)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            head = file.readline()
            if only_head and len(head) > 1 << 20:
                raise DataError(f"{path} is not a table: its first line has {len(head):,} characters.")
            delimiter = max((",", ";", "\t"), key=head.count)
            names = [name.strip() for name in next(csv.reader(io.StringIO(head), delimiter=delimiter, skipinitialspace=True), [])]
            if only_head:
                return names, []
            reader = csv.DictReader(file, names, restkey=_BEYOND, delimiter=delimiter, skipinitialspace=True)
            rows = [(reader.line_num + 1, row) for row in reader]
    except FileNotFoundError:
        raise DataError(
            f"{path} does not exist; expected a folder per label, a table with path and label, or Kaggle's fer2013.csv (emotion,pixels,Usage)."
        ) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}).") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a UTF-8 csv file: {error}.") from error
    except csv.Error as error:
        raise DataError(f"{path} is not a table: {error}.") from None
    for line, row in rows:
        if any(entry.strip() for entry in row.pop(_BEYOND, ())):
            raise DataError(
                f"{path}, line {line}: more entries than the {len(names)} columns; an entry with a {delimiter!r} in it needs quotes."
            )
    return names, rows


def _read_parquet(path: Path, only_head: bool) -> tuple[list[str], list[tuple[int, dict[str, Any]]]]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtraError("pyarrow", "batch", f"Reading {path.name}") from error
    try:
        names = [str(name) for name in pq.read_schema(path).names]
        return names, [] if only_head else list(enumerate(pq.read_table(path).to_pylist(), 1))
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; expected a table with the columns path and label.") from None
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} is not a Parquet file: {error}.") from None
