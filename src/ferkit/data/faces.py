"""Readers of labelled faces: Kaggle's fer2013.csv, a folder per label, and FER+ votes."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..crops import resized
from ..errors import DataError, ImageError, InputError
from ..image_files import expanded, image_files
from ..images import load_image, to_grey
from ..labels import FER7, FERPLUS8, LabelSet

__all__ = ["SPLITS", "VOTE_COLUMNS", "Faces", "MissingSplitError", "read_csv", "read_faces", "read_ferplus", "read_folder"]

SIZE = 48
SPLITS = ("Training", "PublicTest", "PrivateTest")
VOTE_COLUMNS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")
FOLDER_SPLITS = {
    "Training": ("train", "Training"),
    "PublicTest": ("validation", "val", "PublicTest"),
    "PrivateTest": ("test", "PrivateTest"),
}


class MissingSplitError(DataError):
    """The data are well-formed, but have nothing of the split that was asked for: some callers can do without."""


@dataclass(frozen=True)
class Faces:
    """Labelled faces of one split.

    Attributes:
        images: uint8 ``(n, 48, 48)``.
        labels: int64 ``(n,)``, columns of ``label_set``.
        label_set: The names of the labels.
        votes: FER+ votes, float32 ``(n, 10)`` in the order of ``VOTE_COLUMNS``, or None.
        skipped: ``(source, reason)`` for every file that could not be read.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    label_set: LabelSet = FER7
    votes: NDArray[np.float32] | None = None
    skipped: tuple[tuple[str, str], ...] = ()

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

    def __len__(self) -> int:
        return len(self.images)

    def targets(self, head: str, smoothing: float = 0.0) -> NDArray[np.float32]:
        """Return float32 ``(n, k)`` target distributions for one head; an all-zero row means "no target here"."""
        if head == FERPLUS8.name and self.label_set.name != FERPLUS8.name:
            if self.votes is None:
                return np.zeros((len(self), len(FERPLUS8)), np.float32)
            return vote_distribution(self.votes)
        k = len(self.label_set)
        return np.eye(k, dtype=np.float32)[self.labels] * (1.0 - smoothing) + smoothing / k

    def restricted(self, labels: LabelSet) -> Faces:
        """Return the faces whose label is in ``labels``, renumbered; the others are dropped.

        Raises:
            DataError: No face is left.
        """
        column = {self.label_set.index(name): k for k, name in enumerate(labels) if name in self.label_set.classes}
        keep = np.isin(self.labels, list(column))
        if not keep.any():
            raise DataError(f"No face has a label of {labels.name!r}; expected some of {', '.join(labels)}.")
        renumbered = np.array([column[int(label)] for label in self.labels[keep]], np.int64)
        votes = None if self.votes is None else self.votes[keep]
        return Faces(self.images[keep], renumbered, labels, votes, self.skipped)

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
        """Return the faces of :meth:`agreeing`, without votes. Raises DataError as that does."""
        keep = self.agreeing()
        return Faces(self.images[keep], self.labels[keep], self.label_set, None, self.skipped)


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


def _csv_rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield ``(line number, row)`` one at a time, so that memory does not grow with the file."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            names = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = names
            missing = [column for column in columns if column not in names]
            if missing:
                raise DataError(
                    f"{path} lacks the column(s) {', '.join(missing)}; expected {','.join(columns)}; it has {','.join(names) or 'none'}."
                )
            try:
                for row in reader:
                    yield reader.line_num, row
            except csv.Error as error:  # for example a quote that nobody closed: the rest of the file would be one field
                raise DataError(f"{path}, line {reader.line_num}: not a row of csv ({error}).") from None
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; expected Kaggle's fer2013.csv ({','.join(columns)}).") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a UTF-8 csv file: {error}.") from error


def read_csv(path: str | Path, split: str = "Training") -> Faces:
    """Read one split of Kaggle's ``fer2013.csv`` (columns emotion, pixels, Usage).

    Args:
        path: The csv file. It is streamed: memory grows with the split only.
        split: ``Training``, ``PublicTest`` or ``PrivateTest``.

    Raises:
        DataError: A column is missing, a row has not 48x48 pixels of 0-255 or a label outside 0-6, or the split is empty.
    """
    path = expanded(path)
    _check_split(split)
    pixels_read, labels = bytearray(), []  # grows in place: at no time are there two copies of the images
    for line, row in _csv_rows(path, ("emotion", "pixels", "Usage")):
        if (row["Usage"] or "").strip() != split:
            continue
        try:
            pixels = np.array((row["pixels"] or "").split(), dtype=np.int64)
            label = int(row["emotion"])
        except ValueError as error:
            raise DataError(f"{path}, line {line}: {error}; expected whole numbers in emotion and pixels.") from None
        if pixels.size != SIZE * SIZE:
            raise DataError(f"{path}, line {line}: {pixels.size} pixels; expected {SIZE * SIZE} ({SIZE}x{SIZE}).")
        if pixels.min() < 0 or pixels.max() > 255:
            raise DataError(f"{path}, line {line}: pixel values {pixels.min()} to {pixels.max()}; expected 0 to 255.")
        if not 0 <= label < len(FER7):
            raise DataError(f"{path}, line {line}: label {label}; expected 0 to {len(FER7) - 1} ({', '.join(FER7)}).")
        pixels_read += pixels.astype(np.uint8).tobytes()
        labels.append(label)
    if not labels:
        raise MissingSplitError(f"{path} has no rows of split {split!r}; expected Usage to be one of {', '.join(SPLITS)}.")
    return Faces(np.frombuffer(pixels_read, np.uint8).reshape(-1, SIZE, SIZE), np.array(labels, np.int64))


def read_ferplus(path: str | Path, split: str = "Training") -> NDArray[np.float32]:
    """Read the FER+ votes of one split from ``fer2013new.csv``: float32 ``(n, 10)``, rows in the order of fer2013.csv.

    Raises:
        DataError: A column is missing, a vote is not a number, or the split is empty.
    """
    path = expanded(path)
    _check_split(split)
    votes = []
    for line, row in _csv_rows(path, ("Usage", *VOTE_COLUMNS)):
        if (row["Usage"] or "").strip() != split:
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


def read_folder(path: str | Path, split: str | None = None, labels: LabelSet | None = None) -> Faces:
    """Read ready face crops from one folder per label.

    Args:
        path: ``path/<label>/*.png``, or ``path/<split>/<label>/*.png`` with split folders named train, validation and
            test (or as in the csv).
        split: Which split folder to read, if there are any.
        labels: The label set; by default FER2013's if the folders' names are all in it, else the names themselves, sorted.

    Returns:
        Faces resized to 48x48 grey. Files that cannot be read are listed in ``skipped``.

    Raises:
        DataError: No folder, no label folder, an unknown label, or no readable image.
    """
    root = expanded(path)
    if not root.is_dir():
        raise DataError(f"{root} is not a folder; expected one folder per label in it.")
    if split is not None:
        _check_split(split)
        found = {name for names in FOLDER_SPLITS.values() for name in names if (root / name).is_dir()}
        wanted = [name for name in FOLDER_SPLITS[split] if name in found]
        if found and not wanted:
            raise MissingSplitError(
                f"{root} has no rows of split {split!r}: expected a folder {FOLDER_SPLITS[split][0]!r} beside {', '.join(sorted(found))}."
            )
        root = root / wanted[0] if wanted else root
    folders = sorted(child for child in root.iterdir() if child.is_dir() and not child.name.startswith("."))
    if not folders:
        raise DataError(f"{root} has no folders in it; expected one folder per label, for example {root / 'happy'}.")
    names = [folder.name for folder in folders]
    if labels is None:
        labels = FER7 if set(names) <= set(FER7.classes) else LabelSet("custom", tuple(names))
    unknown = [name for name in names if name not in labels.classes]
    if unknown:
        raise DataError(f"{root} has folders that are no labels of {labels.name}: {', '.join(unknown)}; expected {', '.join(labels)}.")
    images, targets, skipped = [], [], []
    for folder in folders:
        for file in image_files(folder):
            try:
                grey = to_grey(load_image(file))
            except ImageError as error:
                skipped.append((str(file), str(error)))
                continue
            images.append(resized(grey, SIZE))
            targets.append(labels.index(folder.name))
    if not images:
        raise DataError(f"{root} has no readable image in its label folders; {len(skipped)} file(s) could not be read.")
    return Faces(np.stack(images), np.array(targets, np.int64), labels, skipped=tuple(skipped))


def read_faces(path: str | Path, split: str = "Training", ferplus: str | Path | None = None, labels: LabelSet | None = None) -> Faces:
    """Read one split from a csv file or a folder, with FER+ votes beside it if they are given.

    Raises:
        DataError: As the readers; also if the votes' number differs from the faces'.
    """
    path = expanded(path)
    faces = read_folder(path, split, labels) if path.is_dir() else read_csv(path, split)
    if ferplus is None:
        return faces
    votes = read_ferplus(ferplus, split)
    if len(votes) != len(faces):
        raise DataError(f"{ferplus} has {len(votes)} rows of {split}, {path} has {len(faces)}; expected the same rows in the same order.")
    return Faces(faces.images, faces.labels, faces.label_set, votes, faces.skipped)


def _check_split(split: str) -> None:
    if split not in SPLITS:
        raise DataError(f"Unknown split {split!r}; expected one of {', '.join(SPLITS)}.")
