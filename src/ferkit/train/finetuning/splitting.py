"""The faces that fine-tuning learns from and those that it is measured on, dealt so that near copies and persons stay on one side."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...classifiers.expression_classifier import ExpressionClassifier
from ...data.faces import Faces
from ...data.folders import list_data, read_listing
from ...data.label_names import canonical, label_order
from ...data.near_copies import digests, groups
from ...data.recognising import detector_for
from ...data.samples import Listing
from ...errors import DataError
from ...labels import CUSTOM, LabelSet
from ...protocols import Detector

__all__ = ["Parts", "Table", "check_groups", "check_parts", "deal", "gather", "hold_out", "list_parts"]

_SHOWN = 5  # names in a message


@dataclass(frozen=True)
class Parts:
    """What there is to learn from and, if somebody said so, what is held out, before any picture is opened.

    Attributes:
        learnt: Samples to learn from, and to hold some out of where ``held`` is None.
        held: The held-out samples, or None.
        lines: What was read, ignored and mapped, a line each.
    """

    learnt: Listing
    held: Listing | None
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """Labelled faces in two parts that share no copies and no person.

    Attributes:
        training, held_out: Faces of the same label set; the second is empty where all are learnt from.
        groups: int64, the group of every training face: near copies, and a person's faces, share one.
        skipped: ``(source, reason)`` for whatever was not used.
    """

    training: Faces
    held_out: Faces
    groups: NDArray[np.int64]
    skipped: tuple[tuple[str, str], ...]

    @property
    def labels(self) -> LabelSet:
        return self.training.label_set


def list_parts(data: Path, val: Path | None = None, relabel: Mapping[str, str] | str | None = None, group: str | None = None) -> Parts:
    """List what to learn from and what to hold out, from names alone.

    Args:
        data: A folder or a manifest. Its ``test`` split, or ``validation`` where there is no test, is held out; all else is learnt from.
        val: A folder or a manifest to hold out instead.
        relabel, group: As ``ferkit.data.list_data`` takes them.

    Raises:
        DataError, InputError, MissingExtraError: As there.
    """
    listing = list_data(data, relabel, group)
    lines = listing.lines()
    if val is not None:
        held = list_data(val, relabel, group)
        lines += [*held.lines(), f"Held out: all of {held.source.name}."]
        if "PrivateTest" in listing.splits and len(listing.splits) > 1:
            lines.append(f"{listing.source.name}: test is neither learnt from nor measured, as another part is held out.")
            listing = replace(listing, samples=tuple(s for s in listing.samples if s.split != "PrivateTest"))
        return Parts(listing, held, tuple(lines))
    kept = next((split for split in ("PrivateTest", "PublicTest") if split in listing.splits), None) if len(listing.splits) > 1 else None
    if kept is None:
        return Parts(listing, None, tuple(lines))
    learnt = replace(listing, samples=tuple(sample for sample in listing.samples if sample.split != kept))
    lines.append(f"Learnt from: {' and '.join(listing_names(learnt))}. Held out: {' and '.join(listing_names(listing.part(kept)))}.")
    return Parts(learnt, replace(listing.part(kept), skipped=()), tuple(lines))


def listing_names(listing: Listing) -> list[str]:
    from ...data.split_names import FOLDER_OF

    return [FOLDER_OF[split] for split in listing.splits]


def check_parts(parts: Parts) -> None:
    """Look at the names alone, before any picture is opened.

    Raises:
        DataError: Fewer than two labels with two pictures each, labels that are held out alone, or a person on both sides.
    """
    counts = Counter(sample.label for sample in parts.learnt.samples)
    enough = [name for name in counts if counts[name] >= 2]
    if len(enough) < 2:
        raise DataError(
            f"{parts.learnt.source} has {len(enough)} label folder(s) with two pictures ({', '.join(enough) or 'none'}); expected at least "
            f"two. It has {', '.join(f'{name} ({count} pictures)' for name, count in counts.items()) or 'none'}."
        )
    if parts.held is None:
        return
    learnt, held = ({sample.person for sample in part.samples if sample.person} for part in (parts.learnt, parts.held))
    if both := sorted(learnt & held):
        named = ", ".join(both[:_SHOWN]) + (", ..." if len(both) > _SHOWN else "")
        raise DataError(
            f"{len(both)} person(s) are both learnt from and held out ({named}), which flatters the figures. Leave out the column split, or the "
            "split folders, and whole persons are dealt; or split by person; or leave out the persons.",
            arguments=["group"],
        )


def gather(
    parts: Parts, classifier: ExpressionClassifier, detector: Detector | None, holdout: float | None, seed: int, progress: bool = False
) -> Table:
    """Read the faces and split them.

    The split is a function of the pictures' contents, the persons and the seed: not of file names, nor of the order on disk.

    Args:
        parts: From ``list_parts``.
        classifier: The base.
        detector: Finds the faces. None: the pictures tell, whole photos or crops.
        holdout: Share of every label to hold out where ``parts.held`` is None; None holds nothing out.
        seed: Of the split.
        progress: Show a bar.

    Raises:
        DataError: As the reader; also fewer than two labels with two faces that are not copies of each other, nor one person's; or all that
            is left to learn from is of one person.
    """
    finder = detector or detector_for(parts.learnt)
    read = [read_listing(part, classifier, finder, progress=progress).faces for part in (parts.learnt, parts.held) if part is not None]
    faces = joined_faces(read)
    given = np.repeat([False, True][: len(read)], [len(part) for part in read])
    skipped = [entry for part in read for entry in part.skipped]
    names = np.array([faces.label_set[label] for label in faces.labels], dtype=object)
    group = _with_persons(_shuffled(faces.images, seed), faces.persons)
    labels = _usable(parts.learnt.source, names, group, given, skipped)
    keep = np.isin(names, labels)
    faces = faces.subset(keep).restricted(LabelSet(CUSTOM, tuple(labels)))
    group, given = group[keep], given[keep]
    rows = np.ones(len(faces), bool)
    if parts.held is not None:
        held = given
        for row in np.flatnonzero(~held & np.isin(group, group[held])):
            rows[row] = False
            skipped.append((faces.files[row], f"{faces.files[row]}: a near copy of a picture in the test folder; it is not learnt from."))
    else:
        held = np.zeros(len(faces), bool) if holdout is None else hold_out(faces.labels, group, holdout)
    learnt = rows & ~held
    check_groups(group[learnt])
    return Table(faces.subset(learnt), faces.subset(held), group[learnt], tuple(skipped))


def check_groups(groups: NDArray[np.int64]) -> None:
    """Refuse faces to learn from that are all of one group: none could be answered by a head that did not learn from it. Raises DataError."""
    if len(np.unique(groups)) < 2:
        raise DataError(
            f"The {len(groups)} faces to learn from are all of one person, or near copies of each other, and cross-validation needs two groups "
            "that share neither. Give faces of further persons, or leave the persons out.",
            arguments=["group"],
        )


def joined_faces(parts: list[Faces]) -> Faces:
    """Return the faces of one or two parts as one. Other names of a label in the second are the first's."""
    if len(parts) == 1:
        return parts[0]
    known = {canonical(name): name for name in parts[0].label_set}
    named = [
        {name: name if name in parts[0].label_set.classes else known.get(canonical(name), name) for name in p.label_set} for p in parts
    ]
    labels = LabelSet(CUSTOM, tuple(dict.fromkeys(new for table in named for new in table.values())))

    def soft(part: Faces, table: dict[str, str]) -> NDArray[np.float32]:
        rows = np.eye(len(part.label_set), dtype=np.float32)[part.labels] if part.soft is None else part.soft
        out = np.zeros((len(part), len(labels)), np.float32)
        for column, name in enumerate(part.label_set):
            out[:, labels.index(table[name])] += rows[:, column]
        return out

    both = list(zip(parts, named, strict=True))
    truth = [np.array([labels.index(table[name]) for name in p.label_set], np.int64)[p.labels] for p, table in both]
    ones = [np.ones(len(p), np.float32) if p.weights is None else p.weights for p in parts]
    return Faces(
        np.concatenate([p.images for p in parts]),
        np.concatenate(truth),
        labels,
        soft=None if all(p.soft is None for p in parts) else np.concatenate([soft(p, table) for p, table in both]),
        weights=None if all(p.weights is None for p in parts) else np.concatenate(ones),
        persons=tuple(person for p in parts for person in (p.persons or ("",) * len(p))) if any(p.persons for p in parts) else (),
        files=tuple(file for p in parts for file in p.files),
    )


def _usable(
    source: Path, names: NDArray[np.object_], group: NDArray[np.int64], given: NDArray[np.bool_], skipped: list[tuple[str, str]]
) -> list[str]:
    """Return the labels that can be learnt and measured; the others are added to what was skipped. Raises DataError for fewer than two."""
    labels: list[str] = []
    for name in sorted(set(names), key=label_order):
        own = names == name
        if len(set(group[own])) >= 2 and not given[own].all():
            labels.append(name)
            continue
        reason = (
            "only in the test folder"
            if given[own].all()
            else f"{int(own.sum())} usable face(s), not two different ones, or all of one person"
        )
        skipped.append((name, f"{source}: label {name!r} is left out: {reason}. Add photos to it."))
    if len(labels) < 2:
        raise DataError(
            f"{source} has {len(labels)} label(s) with two different faces ({', '.join(labels) or 'none'}); expected at least two labels. "
            + (skipped[-1][1] if skipped else "")
        )
    return labels


def _shuffled(images: NDArray[np.uint8], seed: int) -> NDArray[np.int64]:
    """Return the group of every face, groups numbered in an order that only the contents and the seed decide."""
    group, content = groups(images), np.array(digests(images), dtype=object)
    first = [hashlib.sha256(f"{seed} {min(content[group == g])}".encode()).hexdigest() for g in range(group.max() + 1)]
    rank = np.argsort(np.argsort(np.array(first)))
    return np.asarray(rank[group], np.int64)


def _with_persons(group: NDArray[np.int64], persons: tuple[str, ...]) -> NDArray[np.int64]:
    """Join the groups that a person's faces are in; a joined group bears its lowest number, so that chance still decides on the order."""
    if not persons:
        return group
    lowest = np.arange(group.max() + 1)
    names, of = np.unique(np.array(persons, dtype=object), return_inverse=True)
    changed = True
    while changed:  # a face of two people joins both, and so on
        before = lowest.copy()
        for number, name in enumerate(names):
            if name:
                own = group[of == number]
                lowest[own] = lowest[own].min()
        lowest = lowest[lowest]
        changed = bool((lowest != before).any())
    return np.asarray(lowest[group], np.int64)


def deal(truth: NDArray[np.int64], groups: NDArray[np.int64], hands: int) -> NDArray[np.int64]:
    """Deal faces into ``hands`` parts of equal mix, whole groups at a time; int64 ``(n,)``.

    A group goes to the part that has the fewest of its labels. The order is that of the groups' numbers, so the caller decides on chance.
    """
    out = np.zeros(len(truth), np.int64)
    filled = np.zeros((truth.max() + 1, hands), np.int64)
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        own = np.bincount(truth[rows], minlength=len(filled))
        # A tie goes to the part with the fewest faces in all, or rare labels would all meet in the first part.
        hand = min(range(hands), key=lambda h: (own @ filled[:, h], filled[:, h].sum()))
        filled[:, hand] += own
        out[rows] = hand
    return out


def hold_out(truth: NDArray[np.int64], groups: NDArray[np.int64], share: float) -> NDArray[np.bool_]:
    """Return which faces to hold out: of each label about ``share`` of its faces, whole groups, at least one and not all.

    Groups are taken in the order of their numbers, so the caller decides on chance. A label whose faces are one group is
    not held out.
    """
    numbers = np.unique(groups)
    counts = {g: np.bincount(truth[groups == g], minlength=truth.max() + 1) for g in numbers}
    total = np.sum(list(counts.values()), axis=0)
    wanted = np.where(total > 0, np.maximum(1, np.round(share * total)), 0)
    left = np.sum([own > 0 for own in counts.values()], axis=0)  # groups of each label that are learnt from
    held = np.zeros(len(wanted), np.int64)
    taken: list[int] = []

    def take(g: int) -> None:
        nonlocal held, left
        held, left = held + counts[g], left - (counts[g] > 0)
        taken.append(g)

    for g in numbers:
        own = counts[g]
        nearer = np.abs(wanted - held - own).sum() < np.abs(wanted - held).sum()
        if nearer and (left[own > 0] > 1).all():
            take(g)
    for label in np.flatnonzero((held == 0) & (total > 0)):  # its groups are all large: the smallest is held out even so
        fitting = [g for g in numbers if g not in taken and counts[g][label] and (left[counts[g] > 0] > 1).all()]
        if fitting:
            take(min(fitting, key=lambda g: counts[g].sum()))
    return np.asarray(np.isin(groups, taken))
