"""A report of copies and near copies within and across splits. Needs no Keras."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from .near_copies import NEAR, Looks, groups_of

__all__ = ["Copies", "copies", "format_copies"]

_EXAMPLES = 200


class Across(TypedDict):
    """Faces of a split that have a copy in another."""

    exact: int
    near: int


class Within(Across):
    """Faces of a split, those that an earlier one repeats, and groups of near copies with more than one label."""

    faces: int
    labels_differ: int


class Copies(TypedDict):
    """What ``copies`` answers."""

    near: float
    within: dict[str, Within]
    across: dict[str, Across]
    groups: list[list[str]]


def copies(
    faces: Mapping[str, NDArray[np.uint8] | Looks], labels: Mapping[str, Sequence[str]], files: Mapping[str, Sequence[str]]
) -> Copies:
    """Count the faces that another face repeats.

    Args:
        faces: uint8 ``(n, S, S)`` per split, or what is compared of them.
        labels, files: Of every face, per split.

    Returns:
        ``near``: the correlation of 16x16 thumbnails above which two faces, or one and the other's mirror image, count as near
        copies (exact ones included). ``within``: per split ``faces``; ``exact``, faces whose pixels an earlier one has;
        ``near``, faces that are not the first of their group of near copies; ``labels_differ``, such groups with more than
        one label. ``across``: for two splits the faces of the second with an ``exact`` or ``near`` copy in the first.
        ``groups``: the files of the 200 largest groups.
    """
    splits = list(faces)
    looks = [seen if isinstance(seen, Looks) else Looks.of(seen) for seen in faces.values()]
    of = np.repeat(np.arange(len(splits)), [len(seen.digests) for seen in looks])
    everything = Looks.joined(looks)
    content, label, file = np.array(everything.digests), *(np.concatenate([list(t[s]) for s in splits]) for t in (labels, files))
    group = groups_of(everything) if len(of) else np.zeros(0, np.int64)
    within: dict[str, Within] = {}
    for number, split in enumerate(splits):
        own = of == number
        pairs = {(g, name) for g, name in zip(group[own].tolist(), label[own].tolist(), strict=True)}
        named = np.bincount([g for g, _ in pairs]) if pairs else np.zeros(0, np.int64)
        n = int(own.sum())
        within[split] = {
            "faces": n,
            "exact": n - len(set(content[own].tolist())),
            "near": n - len(set(group[own].tolist())),
            "labels_differ": int((named > 1).sum()),
        }
    across: dict[str, Across] = {
        f"{splits[a]}, {splits[b]}": {
            "exact": int(np.isin(content[of == b], content[of == a]).sum()),
            "near": int(np.isin(group[of == b], group[of == a]).sum()),
        }
        for a, b in combinations(range(len(splits)), 2)
    }
    size = np.bincount(group) if len(group) else np.zeros(0, np.int64)
    largest = [g for g in np.argsort(-size, kind="stable")[:_EXAMPLES] if size[g] > 1]
    return {"near": NEAR, "within": within, "across": across, "groups": [file[group == g].tolist() for g in largest]}


def format_copies(report: Copies) -> list[str]:
    """Return the counts as lines for people."""
    lines = [
        f"{split:<11} {row['exact']:>7,} exact copies, {row['near']:,} near ones with them; {row['labels_differ']:,} groups with more than one label"
        for split, row in report["within"].items()
    ]
    for pair, row in report["across"].items():
        first, second = pair.split(", ")
        lines.append(f"{second:<11} {row['exact']:>7,} faces are exact copies of faces in {first}, {row['near']:,} near copies with them")
    return lines
