"""What labelled data hold, before a picture is opened: samples, and a list of them that says what was read, ignored and mapped."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import DataError, InputError
from ..faces import Face
from ..labels import CLASSES, LABELS
from .label_names import canonical, label_order, renaming
from .split_names import FOLDER_OF, SPLITS

__all__ = ["Listing", "MissingSplitError", "Sample", "check_split", "merged_names", "with_persons"]

Box = tuple[float, float, float, float]


class MissingSplitError(DataError):
    """The data are well-formed, but have nothing of the split that was asked for: some callers can do without."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled picture, or one face of it.

    Attributes:
        path: The picture.
        label: Its label.
        split: ``Training``, ``PublicTest``, ``PrivateTest``, or None where the data have no splits.
        person: Whose face it is, ``""`` where nobody says.
        weight: What it counts in learning, 0 or more.
        box: Which face of the picture, xyxy in pixels, or None: the largest.
        soft: A share for every label of the listing, 1 in all, or None: the label alone. Of several labels or values, their targets; NaN
            where nobody knows.
        place: Where below the data it lies, or in which line it stands, for messages and records.
        below: The path below the label's folder, ``""`` where there is none.
        faces: The picture's faces, the largest first, where they were found before: then none is looked for. None: nobody has looked.
        size: Width and height of the picture in which they were found.
    """

    path: Path
    label: str
    split: str | None = None
    person: str = ""
    weight: float = 1.0
    box: Box | None = None
    soft: tuple[float, ...] | None = None
    place: str = ""
    below: str = ""
    faces: tuple[Face, ...] | None = None
    size: tuple[int, int] | None = None

    @property
    def folder(self) -> str:
        """The first folder below the label's own; ``""`` if the picture lies in that itself."""
        return self.below.partition("/")[0] if "/" in self.below else ""


@dataclass(frozen=True)
class Listing:
    """The samples of a folder or a table.

    Attributes:
        source: The folder or the file.
        samples: All of them, sorted by label and name where they come from folders.
        labels: The labels' names; of soft labels in the order of their shares.
        notes: Whole sentences: what was ignored, and what is read as something else.
        skipped: ``(what, reason)`` for entries that cannot be used.
        kind: Of the labels, as ``ferkit.LabelSet`` has them.
    """

    source: Path
    samples: tuple[Sample, ...]
    labels: tuple[str, ...]
    notes: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    kind: str = CLASSES

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that are there, in the order of SPLITS; none if the data are one whole."""
        found = {sample.split for sample in self.samples}
        return tuple(split for split in SPLITS if split in found)

    def part(self, split: str | None) -> Listing:
        """Return the samples of a split; of data without splits all of them. Raises MissingSplitError if it is not there, DataError if unknown."""
        if split is None:
            return self
        check_split(split)
        if not self.splits:
            return self
        if split not in self.splits:
            beside = ", ".join(FOLDER_OF[found] for found in self.splits)
            raise MissingSplitError(
                f"{self.source} has no rows of split {split!r}: expected a folder, or entries of the column split, "
                f"called {FOLDER_OF[split]!r} beside {beside}."
            )
        return replace(self, samples=tuple(sample for sample in self.samples if sample.split == split))

    def lines(self) -> list[str]:
        """Return what was read, and what was ignored and mapped, a line each."""
        parts = [(FOLDER_OF[split], [s for s in self.samples if s.split == split]) for split in self.splits]
        tell = self._counts if self.kind == CLASSES else self._ranges
        lines = [
            f"{self.source.name}: {name}, {len(samples):,} pictures: {tell(samples)}."
            for name, samples in parts or [("one part", list(self.samples))]
        ]
        persons = {sample.person for sample in self.samples if sample.person}
        if persons:
            lines.append(f"{self.source.name}: {len(persons):,} persons.")
        return [*lines, *(f"{self.source.name}: {note}" for note in self.notes)]

    @staticmethod
    def _counts(samples: Sequence[Sample]) -> str:
        counts = Counter(sample.label for sample in samples)
        return ", ".join(f"{label} {counts[label]:,}" for label in sorted(counts, key=label_order))

    def _ranges(self, samples: Sequence[Sample]) -> str:
        """Tell what is known of several labels, or of values."""
        told = []
        for name, column in zip(self.labels, zip(*(sample.soft or () for sample in samples), strict=True), strict=True):
            known = [value for value in column if not math.isnan(value)]
            if not known:
                told.append(f"{name} unknown")
            elif self.kind == LABELS:
                told.append(f"{name} {sum(value > 0.5 for value in known):,} of {len(known):,}")
            else:
                told.append(f"{name} {min(known):g} to {max(known):g} ({len(known):,})")
        return ", ".join(told)


def check_split(split: str) -> None:
    """Raises DataError for a split that nobody knows."""
    if split not in SPLITS:
        raise DataError(f"Unknown split {split!r}; expected one of {', '.join(SPLITS)}.")


def merged_names(
    found: Mapping[str | None, set[str]], relabel: Mapping[str, str] | None, where: str
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return what each label is called, and notes on those that were renamed.

    Labels that differ in capitals alone are one, and so are other names of one label in different splits (``anger`` in the one,
    ``angry`` in the other): the first name stays. In one split they are two, as somebody meant them to be.

    Args:
        found: The labels of each split, as the data spell them.
        relabel: As ``ferkit.data.label_names.renaming`` takes it.
        where: The data, for messages.

    Raises:
        DataError, InputError: As there.
    """
    every = sorted(set().union(*found.values()))
    named = renaming(every, relabel, where)
    # In the order of the splits, so that the learning part's spelling wins.
    order = [name for split in (None, *SPLITS) for name in sorted(found.get(split, ()))]
    first: dict[str, str] = {}
    for raw in order:
        name = named[raw]
        if name:
            first.setdefault(name.strip().casefold(), name)
    named = {raw: first[name.strip().casefold()] if name else "" for raw, name in named.items()}
    groups: dict[str, list[str]] = {}
    for raw in order:
        if named[raw] and named[raw] not in groups.setdefault(canonical(named[raw]), []):
            groups[canonical(named[raw])].append(named[raw])
    spelt = [{named[raw] for raw in raws} for raws in found.values()]
    for names in groups.values():
        if not any(len(own.intersection(names)) > 1 for own in spelt):
            named = {raw: names[0] if name in names else name for raw, name in named.items()}
    renamed = [f"{raw} as {new}" for raw, new in named.items() if new not in ("", raw)]
    dropped = [raw for raw, new in named.items() if not new]
    notes = [f"read {', '.join(renamed)}."] if renamed else []
    notes += [f"left out as asked: {', '.join(dropped)}."] if dropped else []
    return named, tuple(notes)


def with_persons(listing: Listing, group: str | None) -> Listing:
    """Return the listing with a person for every sample.

    Args:
        listing: Its own persons stay where ``group`` is None.
        group: ``"folder"``: the first folder below the label's. Else a regular expression on the path below the data, whose first
            group (or whole match) is the person. A manifest's column is read by the manifest's reader.

    Raises:
        InputError: Not a regular expression, or one that fits no path; no folders below the labels'.
    """
    if group is None:
        return listing
    if group == "folder":
        of: Callable[[Sample], str] = lambda sample: sample.folder  # noqa: E731 - one of two rules
    else:
        try:
            pattern = re.compile(group)
        except re.error as error:
            raise InputError(
                f"group {group!r} is not a regular expression ({error}); expected 'folder', a column, or such as '(S\\d+)_'.",
                arguments=["group"],
            ) from None

        def of(sample: Sample) -> str:
            match = pattern.search(sample.place)
            return "" if match is None else str(match.group(1) if pattern.groups and match.group(1) is not None else match.group(0))

    samples = tuple(replace(sample, person=of(sample)) for sample in listing.samples)
    nobody = sum(not sample.person for sample in samples)
    if nobody == len(samples):
        shown = samples[0].place if samples else "nothing"
        raise InputError(f"group {group!r} finds no person in {listing.source}; the first path is {shown!r}.", arguments=["group"])
    notes = (f"{nobody:,} pictures without a person, each by itself.",) if nobody else ()
    return replace(listing, samples=samples, notes=(*listing.notes, *notes))
