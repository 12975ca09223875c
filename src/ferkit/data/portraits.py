"""Photos of people with a table of labels, boxes and landmarks, cut as a network will have its faces cut."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..crops import CropGeometry, crop_face, resized
from ..errors import DataError, ImageError
from ..image_files import expanded
from ..images import load_image, to_grey
from ..labels import FERPLUS8

__all__ = ["Portraits", "read_portraits"]

TABLE = "labels.csv"
COLUMNS = ("file", "label", "checked", "box", "landmarks")
_SIZE = 48


@dataclass(frozen=True)
class Portraits:
    """Cut and labelled portraits.

    Attributes:
        images: uint8 ``(n, 48, 48)``, cut as the trained network will have its faces cut.
        labels: A label's name each, ``(n,)``; ``""`` for none.
        checked: ``"clear"``, ``"arguable"`` or ``""`` each, ``(n,)``: whether somebody looked at the label.
        skipped: ``(file, reason)`` for every picture that could not be read.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.str_]
    checked: NDArray[np.str_]
    skipped: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.images)


def read_portraits(folder: str | Path, crop: CropGeometry) -> Portraits:
    """Read portraits and cut their faces.

    Args:
        folder: With ``labels.csv`` (columns file, label, checked, box, landmarks) and the pictures in ``images``. A box is
            ``x1 y1 x2 y2`` and landmarks are ``x,y x,y ...``, five or none, in the picture's pixels.
        crop: Of the weights.

    Raises:
        DataError: The table is missing or not as described, a label is unknown, or no picture can be read.
    """
    folder = expanded(folder)
    images, labels, checked, skipped = [], [], [], []
    for line, row in _rows(folder / TABLE):
        label = row["label"].strip()
        if label and label not in FERPLUS8.classes:
            raise DataError(f"{folder / TABLE}, line {line}: label {label!r}; expected one of {', '.join(FERPLUS8)}, or none.")
        box, landmarks = _numbers(folder, line, row["box"], 4), _numbers(folder, line, row["landmarks"].replace(",", " "), 10)
        if box is None:
            raise DataError(f"{folder / TABLE}, line {line}: no box; expected four numbers, x1 y1 x2 y2.")
        try:
            picture = load_image(folder / "images" / row["file"])
        except ImageError as error:
            skipped.append((row["file"], str(error)))
            continue
        face = crop_face(picture, box, crop, None if landmarks is None else landmarks.reshape(5, 2))
        images.append(resized(to_grey(face), _SIZE))
        labels.append(label)
        checked.append(row["checked"].strip())
    if not images:
        raise DataError(f"{folder} has no readable portrait; {len(skipped)} of those in {TABLE} could not be read.")
    return Portraits(np.stack(images), np.array(labels), np.array(checked), tuple(skipped))


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
            if missing:
                raise DataError(f"{path} lacks the column(s) {', '.join(missing)}; expected {','.join(COLUMNS)}.")
            return [(reader.line_num, row) for row in reader]
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); expected a table of portraits, {','.join(COLUMNS)}.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a UTF-8 csv file: {error}.") from None


def _numbers(folder: Path, line: int, text: str, count: int) -> NDArray[np.float64] | None:
    """Return ``count`` finite numbers, or None for an empty field."""
    if not text.strip():
        return None
    try:
        values = np.array([float(value) for value in text.split()])
    except ValueError:
        values = np.zeros(0)
    if len(values) != count or not np.isfinite(values).all():
        raise DataError(f"{folder / TABLE}, line {line}: {text!r}; expected {count} finite numbers.")
    return values
