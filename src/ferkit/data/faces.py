"""Labelled faces, and readers of those that come as numbers: Kaggle's fer2013.csv and its relatives, and FER+ votes."""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..crops import resized
from ..errors import DataError, InputError
from ..image_files import expanded
from ..labels import CLASSES, FER7, FERPLUS8, LabelSet
from .label_names import NUMBERINGS, as_fer2013, as_mapping, label_set_of, mapping_line, renaming
from .samples import MissingSplitError, check_split
from .split_names import SPLITS, split_of

__all__ = ["SPLITS", "USAGE", "VOTE_COLUMNS", "Faces", "MissingSplitError", "is_pixel_csv", "read_csv", "read_ferplus"]

SIZE = 48
VOTE_COLUMNS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")


@dataclass(frozen=True)
class Faces:
    """Labelled faces of one split.

    Attributes:
        images: uint8 ``(n, 48, 48)``.
        labels: int64 ``(n,)``, columns of ``label_set``; zeros where that is of several labels or values.
        label_set: The names of the labels, or of the values.
        votes: FER+ votes, float32 ``(n, 10)`` in the order of ``VOTE_COLUMNS``, or None.
        skipped: ``(source, reason)`` for every file that could not be read.
        soft: Soft labels, float32 ``(n, k)``, rows that sum to 1, or None: what is learnt instead of the label alone. Of several labels, 0 to
            1 each, and of values, numbers of any sign: these themselves; NaN where nobody knows.
        weights: What each face counts in learning, float32 ``(n,)``, 0 or more, or None: all the same. Figures count every face alike.
        persons: Whose face each is, ``""`` where nobody says; empty: nobody says of any.
        files: Where each face comes from, below its data; empty for faces without files.
        notes: Whole sentences on what was read, ignored and mapped.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    label_set: LabelSet = FER7
    votes: NDArray[np.float32] | None = None
    skipped: tuple[tuple[str, str], ...] = ()
    soft: NDArray[np.float32] | None = None
    weights: NDArray[np.float32] | None = None
    persons: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Take lists too. Raises InputError for what is not as described."""
        images, labels = _array("images", self.images), _array("labels", self.labels)
        if len(images) and (images.dtype != np.uint8 or images.ndim not in (3, 4)):
            raise InputError(
                f"Faces with images of shape {images.shape} and dtype {images.dtype}; expected uint8 (n, H, W), 0-255. "
                "For values 0-1: (images * 255).astype('uint8')."
            )
        if len(labels) and (labels.ndim != 1 or labels.dtype.kind not in "iu"):
            raise InputError(f"Faces with labels of shape {labels.shape} and dtype {labels.dtype}; expected whole numbers (n,).")
        if len(images) != len(labels):
            raise InputError(f"{len(images)} images with {len(labels)} labels; expected one label a face.")
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(self.label_set):
            raise InputError(
                f"Labels {labels.min()} to {labels.max()}; expected 0 to {len(self.label_set) - 1} ({', '.join(self.label_set)})."
            )
        object.__setattr__(self, "images", images)
        object.__setattr__(self, "labels", labels.astype(np.int64, copy=False))
        if self.votes is not None:
            votes = _array("votes", self.votes)
            if (
                votes.shape != (len(images), len(VOTE_COLUMNS))
                or votes.dtype.kind not in "iuf"
                or not (np.isfinite(votes) & (votes >= 0)).all()
            ):
                raise InputError(f"Votes of shape {votes.shape}; expected {(len(images), len(VOTE_COLUMNS))}, finite numbers, 0 or more.")
            object.__setattr__(self, "votes", votes.astype(np.float32, copy=False))
        for name, shape in (("soft", (len(images), len(self.label_set))), ("weights", (len(images),))):
            if (given := getattr(self, name)) is not None:
                values = _array(name, given)
                several = name == "soft" and self.label_set.kind != CLASSES
                if values.shape != shape or values.dtype.kind not in "iuf" or not (several or _are_counts(values)):
                    raise InputError(f"Faces with {name} of shape {values.shape}; expected {shape}, finite numbers, 0 or more.")
                object.__setattr__(self, name, values.astype(np.float32, copy=False))
        if self.soft is None and self.label_set.kind != CLASSES and len(labels):
            raise InputError(
                f"Faces of {self.label_set.kind} without soft; expected their targets there, {(len(images), len(self.label_set))}."
            )
        for name in ("persons", "files"):
            if len(getattr(self, name)) not in (0, len(images)):
                raise InputError(f"{len(images)} images with {len(getattr(self, name))} {name}; expected one a face, or none at all.")

    def __len__(self) -> int:
        return len(self.images)

    def targets(self, head: str, smoothing: float = 0.0) -> NDArray[np.float32]:
        """Return float32 ``(n, k)`` target distributions for one head; an all-zero row means "no target here"."""
        if head == FERPLUS8.name and self.label_set.name != FERPLUS8.name:
            none = np.zeros((len(self), len(FERPLUS8)), np.float32)
            return none if self.votes is None else self._weighted(vote_distribution(self.votes))
        k = len(self.label_set)
        known = np.eye(k, dtype=np.float32)[self.labels] if self.soft is None else self.soft
        return self._weighted(known * np.float32(1.0 - smoothing) + np.float32(smoothing / k))

    def _weighted(self, targets: NDArray[np.float32]) -> NDArray[np.float32]:
        """A distribution that sums to 2 costs twice as much; the mean weight is 1."""
        if self.weights is None or not self.weights.any():
            return targets
        return np.asarray(targets * (self.weights / self.weights.mean())[:, None], np.float32)

    def subset(self, rows: NDArray[Any]) -> Faces:
        """Return the faces of a mask or of indices; what was skipped and noted stays with the whole."""
        chosen = np.arange(len(self))[rows]

        def part(values: Any) -> Any:
            return None if values is None else values[chosen]

        return replace(
            self,
            images=self.images[chosen],
            labels=self.labels[chosen],
            votes=part(self.votes),
            skipped=(),
            soft=part(self.soft),
            weights=part(self.weights),
            persons=tuple(self.persons[i] for i in chosen) if self.persons else (),
            files=tuple(self.files[i] for i in chosen) if self.files else (),
            notes=(),
        )

    def restricted(self, labels: LabelSet) -> Faces:
        """Return the faces whose label is in ``labels``, renumbered; the others are dropped.

        Raises:
            DataError: No face is left.
        """
        column = {self.label_set.index(name): k for k, name in enumerate(labels) if name in self.label_set.classes}
        keep = np.isin(self.labels, list(column))
        if not keep.any():
            raise DataError(f"No face has a label of {labels.name!r}; expected some of {', '.join(labels)}.")
        kept = self.subset(keep)
        renumbered = np.array([column[int(label)] for label in kept.labels], np.int64)
        soft = kept.soft
        if soft is not None:
            shares = np.zeros((len(kept), len(labels)), np.float32)
            shares[:, list(column.values())] = soft[:, list(column)]
            soft = shares / np.maximum(shares.sum(axis=1, keepdims=True), 1e-12)
        return replace(kept, labels=renumbered, label_set=labels, soft=soft, skipped=self.skipped, notes=self.notes)

    def faint_smiles(self) -> NDArray[np.bool_]:
        """Return which faces at least three annotators of FER+ call happy and three neutral, bool ``(n,)``; none without votes."""
        if self.votes is None:
            return np.zeros(len(self), bool)
        split = self.votes[:, [VOTE_COLUMNS.index("neutral"), VOTE_COLUMNS.index("happiness")]] >= 3
        return np.asarray(split.all(axis=1))

    def majority(self) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Return which faces have a FER+ majority label (unknown and not-face removed), and the label of each face.

        The majority is the column with the most votes; the first one wins a tie, as in the FER+ authors' own script.
        """
        if self.votes is None:
            raise DataError('FER+ labels need votes: pass ferplus="fer2013new.csv".', arguments=["ferplus"])
        winner = self.votes.argmax(axis=1)
        return winner < len(FERPLUS8), winner.astype(np.int64)

    def agreeing(self) -> NDArray[np.bool_]:
        """Return for which faces their own label is also FER+'s majority: two sets of annotators said the same.

        Raises:
            DataError: There are no votes, or no face on which both agree.
        """
        keep, winner = self.majority()
        column = np.array([FERPLUS8.classes.index(name) if name in FERPLUS8.classes else -1 for name in self.label_set])
        same = keep & (column[self.labels] == winner)
        if not same.any():
            raise DataError("No face's own label is also the majority of its FER+ votes; expected a csv and the votes on its own faces.")
        return np.asarray(same)

    def agreed(self) -> Faces:
        """Return the faces of ``agreeing``, without votes. Raises DataError as that does."""
        return replace(self.subset(self.agreeing()), votes=None, skipped=self.skipped, notes=self.notes)


def _are_counts(values: NDArray[Any]) -> bool:
    return bool((np.isfinite(values) & (values >= 0)).all())


def _array(name: str, values: Any) -> NDArray[Any]:
    try:
        return np.asarray(values)
    except ValueError:
        raise InputError(f"Faces with {name} of different shapes; expected one array, every face of the same size.") from None


def vote_distribution(votes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Turn FER+ votes ``(n, 10)`` into distributions ``(n, 8)``; single votes are dropped as noise.

    Source: Barsoum et al., "Training deep networks for facial expression recognition with crowd-sourced label
    distribution", ICMI 2016. Rows without a usable vote, or mostly "unknown" or "not a face", are all zero.
    """
    kept = np.where(votes[:, : len(FERPLUS8)] > 1, votes[:, : len(FERPLUS8)], 0).astype(np.float32)
    kept[votes.argmax(axis=1) >= len(FERPLUS8)] = 0
    total = kept.sum(axis=1, keepdims=True)
    return np.asarray(np.divide(kept, total, out=np.zeros_like(kept), where=total > 0), np.float32)


USAGE = ("usage", "split", "set", "subset")
# What the columns of a csv of pixels may be called; capitals do not count.
_PIXELS = {"emotion": ("emotion", "label", "expression", "class"), "pixels": ("pixels", "pixel"), "usage": USAGE}
_CSV_COLUMNS = "emotion,pixels,Usage"


_LONGEST = 4 * 2048 * 2048  # characters of the largest face, at most three digits and a space for each pixel
_NAME = re.compile(r"[A-Za-z]")  # of a label, a split or a file


def is_pixel_csv(names: Sequence[str]) -> bool:
    """Return True if a table with these columns holds the pictures themselves, as Kaggle's fer2013.csv does."""
    return any(name.strip().lower() in _PIXELS["pixels"] for name in names)


def _csv_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield ``(line number, row)`` one at a time, so that memory does not grow with the file; the names of its columns without spaces."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            head = file.readline(1 << 16)
            file.seek(0)
            delimiter = max((",", ";", "\t"), key=head.count)
            reader = csv.DictReader(file, delimiter=delimiter, skipinitialspace=True)
            reader.fieldnames = names = [name.strip() for name in reader.fieldnames or ()]
            # Of the whole process; it is only ever raised, which takes nothing from anybody.
            csv.field_size_limit(max(csv.field_size_limit(), _LONGEST))
            last = 1
            try:
                yield 1, dict.fromkeys(names, "")
                for row in reader:
                    if reader.line_num > last + 1 and any(_swallows(str(entry), delimiter, len(names)) for entry in row.values()):
                        raise csv.Error("a quote that is not closed")
                    last = reader.line_num
                    yield last, row
            except csv.Error as error:  # also of a quote that nobody closed, if more follows than any face has
                raise DataError(f"{path}, line {last + 1}: not a row of csv ({error}).") from None
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; expected Kaggle's fer2013.csv ({_CSV_COLUMNS}).") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}); expected Kaggle's fer2013.csv ({_CSV_COLUMNS}).") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a UTF-8 csv file: {error}.") from error


def _swallows(entry: str, delimiter: str, columns: int) -> bool:
    """Return True if an entry has a whole further row in it, as after a quote that nobody closed; pixels and remarks may have several lines."""
    return any(line.count(delimiter) >= columns - 1 and _NAME.search(line) for line in entry.split("\n")[1:])


def _lacking(path: Path, missing: Sequence[str], expected: str, names: Sequence[str]) -> DataError:
    return DataError(f"{path} lacks the column(s) {', '.join(missing)}; expected {expected}; it has {','.join(names) or 'none'}.")


def read_csv(path: str | Path, split: str = "Training", relabel: Mapping[str, str] | str | None = None) -> Faces:
    """Read one split of Kaggle's ``fer2013.csv`` (columns emotion, pixels, Usage), or of a relative of it.

    Args:
        path: The csv file. It is streamed: memory grows with the split only. ``Usage`` may hold other names of the splits, or be missing:
            then all of it is one part, whatever the split. Other squares than 48x48 pixels are resized.
        split: ``Training``, ``PublicTest`` or ``PrivateTest``.
        relabel: New names for the labels, by their number or name in the file; None: FER2013's numbers 0 to 6, or names.

    Raises:
        DataError: A column is missing, a row has the wrong number of pixels, a pixel outside 0-255 or a label outside 0-6,
            or the split is empty.
        InputError: ``relabel`` names a label that is not there.
    """
    path, relabel = expanded(path), as_mapping(relabel)
    check_split(split)
    rows = _csv_rows(path)
    names = list(next(rows)[1])
    spelt = {name.lower(): name for name in names}
    at = {role: next((spelt[name] for name in known if name in spelt), "") for role, known in _PIXELS.items()}
    if missing := [role for role in ("emotion", "pixels") if not at[role]]:
        raise _lacking(path, missing, _CSV_COLUMNS, names)
    pixels_read, labels, others = bytearray(), list[str](), Counter[str]()  # grows in place: at no time are there two copies of the images
    for line, row in rows:
        usage = (row[at["usage"]] or "").strip() if at["usage"] else split
        if (own := usage if usage in SPLITS else split_of(usage)) != split:
            others[own or usage or "no split"] += 1
            continue
        pixels_read += _pixels(path, line, row[at["pixels"]] or "").tobytes()
        labels.append(_csv_label(path, line, row[at["emotion"]], relabel))
    if not labels:
        raise MissingSplitError(f"{path} has no rows of split {split!r}; expected Usage to be one of {', '.join(SPLITS)}.")
    known = {number: name for number, name in NUMBERINGS["FER2013"].items() if number in labels}
    named = renaming(labels, known if relabel is None else relabel, str(path))
    if same := as_fer2013(name for name in named.values() if name):
        named = {old: same.get(name, "") for old, name in named.items()}
    keep = np.array([bool(named[label]) for label in labels])
    label_set = label_set_of(name for name in named.values() if name)
    truth = np.array([label_set.index(named[label]) for label in labels if named[label]], np.int64)
    left = ", ".join(f"{count:,} {name}" for name, count in others.items())
    notes = [
        f"{len(truth):,} faces of {split if at['usage'] else 'one part, as it has no column Usage'}{f'; not read: {left}' if left else ''}."
    ]
    if changed := [f"{old} {f'as {new}' if new else 'not at all'}" for old, new in named.items() if old != new and old not in known]:
        notes.append(f"read {', '.join(changed)}.")
    images = np.frombuffer(pixels_read, np.uint8).reshape(-1, SIZE, SIZE)
    return Faces(images if keep.all() else images[keep], truth, label_set, notes=tuple(f"{path.name}: {note}" for note in notes))


def _pixels(path: Path, line: int, text: str) -> NDArray[np.uint8]:
    """Return one row's face, uint8 ``(48, 48)``."""
    try:
        pixels = np.array(text.split(), dtype=np.int64)
    except (ValueError, OverflowError):
        pixels = _spelt_otherwise(path, line, text)
    side = math.isqrt(pixels.size)
    if side * side != pixels.size or side < 8:
        raise DataError(f"{path}, line {line}: {pixels.size} pixels; expected {SIZE * SIZE} ({SIZE}x{SIZE}), or another square.")
    if pixels.min() < 0 or pixels.max() > 255:
        raise DataError(f"{path}, line {line}: pixel values {pixels.min()} to {pixels.max()}; expected 0 to 255.")
    return resized(pixels.astype(np.uint8).reshape(side, side), SIZE)


def _spelt_otherwise(path: Path, line: int, text: str) -> NDArray[np.int64]:
    """Return pixels that are written as a list, or with a point; a row of the usual kind is parsed in half the time. Raises DataError."""
    try:
        values = np.array(text.strip("[]() ").replace(",", " ").split(), dtype=np.float64)
        if not (np.abs(values) < 1 << 31).all():  # nor if it is no number at all
            raise ValueError(f"a pixel of {values[~(np.abs(values) < 1 << 31)][0]:g}")
        pixels = values.astype(np.int64)
        if not (pixels == values).all():
            raise ValueError("a number with a fraction")
    except ValueError as error:
        raise DataError(f"{path}, line {line}: {str(error)[:80]}; expected whole numbers in emotion and pixels.") from None
    return pixels


def _csv_label(path: Path, line: int, text: str | None, relabel: Mapping[str, str] | None) -> str:
    """Return a row's label as it is spelt; numbers beyond FER2013's are refused where nobody says what they mean."""
    label = (text or "").strip().removesuffix(".0")
    if not label or (relabel is None and label.lstrip("-").isdecimal() and label not in NUMBERINGS["FER2013"]):
        raise DataError(
            f"{path}, line {line}: label {label or 'missing'}; expected 0 to {len(FER7) - 1} ({', '.join(FER7)}). If the numbers mean "
            f"something else, say what, for example relabel='{mapping_line(NUMBERINGS['CK+ (csv)'])}'",
            arguments=["relabel"],
        )
    return label


def read_ferplus(path: str | Path, split: str = "Training") -> NDArray[np.float32]:
    """Read the FER+ votes of one split from ``fer2013new.csv``: float32 ``(n, 10)``, rows in the order of fer2013.csv.

    Raises:
        DataError: A column is missing, a vote is not a number, or the split is empty.
    """
    path = expanded(path)
    check_split(split)
    votes = []
    rows = _csv_rows(path)
    names = list(next(rows)[1])
    if missing := [column for column in ("Usage", *VOTE_COLUMNS) if column not in names]:
        raise _lacking(path, missing, ",".join(("Usage", *VOTE_COLUMNS)), names)
    for line, row in rows:
        usage = (row["Usage"] or "").strip()
        if (usage if usage in SPLITS else split_of(usage)) != split:
            continue
        try:
            votes.append([float(row[column] or "") for column in VOTE_COLUMNS])
        except ValueError as error:
            raise DataError(f"{path}, line {line}: {error}; expected a number of votes in each of {', '.join(VOTE_COLUMNS)}.") from None
        if not all(0 <= vote < np.inf for vote in votes[-1]):
            raise DataError(f"{path}, line {line}: votes {votes[-1]}; expected numbers, 0 or more.")
    if not votes:
        raise MissingSplitError(f"{path} has no rows of split {split!r}; expected Usage to be one of {', '.join(SPLITS)}.")
    return np.array(votes, np.float32)
