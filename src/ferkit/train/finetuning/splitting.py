"""The faces that fine-tuning learns from and those that it is measured on, dealt so that near copies stay together."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...classifiers.expression_classifier import ExpressionClassifier
from ...data.faces import Faces
from ...data.folders import list_data, read_listing
from ...data.label_names import label_order
from ...data.near_copies import digests, groups
from ...data.samples import Listing
from ...errors import DataError
from ...labels import LabelSet
from ...protocols import Detector

__all__ = ["Table", "check_labels", "deal", "gather", "hold_out"]


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


def check_labels(listing: Listing) -> None:
    """Look at the names alone, before any picture is opened. Raises DataError for fewer than two labels with two files each."""
    learnt = listing.part("Training") if "Training" in listing.splits else listing
    counts = Counter(sample.label for sample in learnt.samples)
    enough = [name for name in counts if counts[name] >= 2]
    if len(enough) < 2:
        raise DataError(
            f"{listing.source} has {len(enough)} label folder(s) with two pictures ({', '.join(enough) or 'none'}); expected at least two. "
            f"It has {', '.join(f'{name} ({count} pictures)' for name, count in counts.items()) or 'none'}."
        )


def gather(data: Path, classifier: ExpressionClassifier, detector: Detector, holdout: float, seed: int, progress: bool) -> Table:
    """Read a folder per label and split it.

    The split is a function of the pictures' contents and the seed: not of file names, nor of the order on disk.

    Raises:
        DataError: As the reader; also fewer than two labels with two faces that are no copies of each other.
    """
    listing = list_data(data)
    present = listing.splits
    test_split = next((split for split in ("PrivateTest", "PublicTest") if split in present), None) if "Training" in present else None
    parts = [read_listing(listing.part("Training"), classifier, detector, progress=progress)]
    if test_split is not None:
        parts.append(read_listing(listing.part(test_split), classifier, detector, progress=progress))
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


def deal(truth: NDArray[np.int64], groups: NDArray[np.int64], hands: int) -> NDArray[np.int64]:
    """Deal faces into ``hands`` parts of equal mix, label by label, whole groups at a time; int64 ``(n,)``.

    A group goes with the label of most of its faces, to the part that has the fewest of that label. The order is that
    of the groups' numbers, so the caller decides on chance.
    """
    out = np.zeros(len(truth), np.int64)
    filled = np.zeros((truth.max() + 1, hands), np.int64)
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        label = int(np.bincount(truth[rows]).argmax())
        # A tie goes to the part with the fewest faces in all, or rare labels would all meet in the first part.
        hand = min(range(hands), key=lambda h: (filled[label, h], filled[:, h].sum()))
        filled[label, hand] += len(rows)
        out[rows] = hand
    return out


def hold_out(truth: NDArray[np.int64], groups: NDArray[np.int64], share: float) -> NDArray[np.bool_]:
    """Return which faces to hold out: of each label about ``share`` of its faces, whole groups, at least one and not all.

    Groups are taken in the order of their numbers, so the caller decides on chance. A label whose faces are one group is
    not held out.
    """
    held = np.zeros(len(truth), bool)
    counts = np.bincount(truth)
    for label in np.flatnonzero(counts):
        wanted, taken = max(1, round(share * counts[label])), 0
        own = [group for group in np.unique(groups[truth == label]) if np.bincount(truth[groups == group]).argmax() == label]
        for group in own[:-1]:
            if taken < wanted:
                rows = groups == group
                held |= rows
                taken += int(rows.sum())
    return held
