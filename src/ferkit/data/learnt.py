"""Which faces some weights learnt from, so that nobody measures what was learnt and believes it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..files import write_json
from .near_copies import digests

__all__ = ["LEARNT", "learnt_before", "write_learnt"]

LEARNT = "learnt.json"  # beside the weights; never published with them
_DIGITS = 16  # of each face's SHA-256: enough to tell billions apart


def write_learnt(folder: Path, faces: NDArray[np.uint8], more: Iterable[str] = ()) -> None:
    """Write the digests of prepared faces ``(n, S, S)`` beside the weights that learnt from them.

    Args:
        folder: Of the weights.
        faces: As the network gets them.
        more: Digests of faces that the weights' forerunner learnt from.
    """
    write_json(folder / LEARNT, {"faces": sorted({*(digest[:_DIGITS] for digest in digests(faces)), *more})})


def learnt_before(classifier: Any, faces: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return which prepared faces ``(n, S, S)`` a classifier, or a member of it, learnt from, as far as its folder says; bool ``(n,)``."""
    known = set().union(
        *(digests_in(member.folder) for member in getattr(classifier, "members", (classifier,)) if hasattr(member, "folder"))
    )
    if not known:
        return np.zeros(len(faces), bool)
    return np.array([digest[:_DIGITS] in known for digest in digests(faces)], bool)


def digests_in(folder: Path) -> set[str]:
    """Return the digests that lie beside some weights; none where there is no list, or it cannot be read."""
    try:
        return set(json.loads((folder / LEARNT).read_text(encoding="utf-8"))["faces"])
    except (OSError, ValueError, KeyError, TypeError):
        return set()
