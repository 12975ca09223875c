"""The faces that fine-tuning learns from and those that it is measured on. Needs no Keras."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..classify import ExpressionClassifier
from ..detect import FaceDetector
from ..errors import DataError
from ..labels import LabelSet
from .aliases import label_order
from .data import Faces
from .folders import read_photos, split_folders
from .head import hold_out
from .similar import digests, groups

__all__ = ["Table", "gather"]


@dataclass(frozen=True)
class Table:
    """Labelled faces in two parts that share no copies.

    Attributes:
        training, held_out: Faces of the same label set.
        groups: int64, the group of near copies of every training face.
        skipped: ``(source, reason)`` for whatever was not used.
    """

    training: Faces
    held_out: Faces
    groups: NDArray[np.int64]
    skipped: tuple[tuple[str, str], ...]

    @property
    def labels(self) -> LabelSet:
        return self.training.label_set


def gather(data: Path, classifier: ExpressionClassifier, detector: FaceDetector, holdout: float, seed: int, progress: bool) -> Table:
    """Read a folder per label and split it.

    The split is a function of the pictures' contents and the seed: not of file names, nor of the order on disk.

    Raises:
        DataError: As the reader; also fewer than two labels with two faces that are no copies of each other.
    """
    present = split_folders(data)
    test_split = next((split for split in ("PrivateTest", "PublicTest") if split in present), None) if "Training" in present else None
    parts = [read_photos(data, classifier, detector, split="Training", progress=progress)]
    if test_split is not None:
        parts.append(read_photos(data, classifier, detector, split=test_split, progress=progress))
    images = np.concatenate([part.faces.images for part in parts])
    names = np.array([part.faces.label_set[label] for part in parts for label in part.faces.labels], dtype=object)
    files = [str(file) for part in parts for file in part.files]
    given = np.repeat([False, True][: len(parts)], [len(part) for part in parts])
    skipped = [entry for part in parts for entry in part.faces.skipped]
    group = _shuffled(images, seed)

    labels: list[str] = []
    left_out: list[str] = []
    for name in sorted(set(names), key=label_order):
        own = names == name
        enough = len(set(group[own])) >= 2 and not given[own].all()
        (labels if enough else left_out).append(name)
        if not enough:
            reason = "only in the test folder" if given[own].all() else f"{int(own.sum())} usable face(s), not two different ones"
            skipped.append((name, f"{data}: label {name!r} is left out: {reason}. Add photos to it."))
    if len(labels) < 2:
        raise DataError(
            f"{data} has {len(labels)} label(s) with two different faces ({', '.join(labels) or 'none'}); expected at least two labels. "
            + (skipped[-1][1] if skipped else "")
        )
    keep = np.isin(names, labels)
    truth = np.array([labels.index(name) if name in labels else -1 for name in names], np.int64)
    if test_split is None:
        held = np.zeros(len(names), bool)
        held[keep] = hold_out(truth[keep], group[keep], holdout)
    else:
        held = given
        for row in np.flatnonzero(keep & ~held & np.isin(group, group[held])):
            keep[row] = False
            skipped.append((files[row], f"{files[row]}: a near copy of a picture in the test folder; it is not learnt from."))
    label_set = LabelSet("custom", tuple(labels))

    def part(rows: NDArray[np.bool_]) -> Faces:
        return Faces(images[rows], truth[rows], label_set)

    return Table(part(keep & ~held), part(keep & held), group[keep & ~held], tuple(skipped))


def _shuffled(images: NDArray[np.uint8], seed: int) -> NDArray[np.int64]:
    """Return the group of every face, groups numbered in an order that only the contents and the seed decide."""
    group, content = groups(images), np.array(digests(images), dtype=object)
    first = [hashlib.sha256(f"{seed} {min(content[group == g])}".encode()).hexdigest() for g in range(group.max() + 1)]
    rank = np.argsort(np.argsort(np.array(first)))
    return np.asarray(rank[group], np.int64)
