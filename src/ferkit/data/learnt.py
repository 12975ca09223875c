"""Which faces some weights learnt from, so that nobody measures what was learnt and believes it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import WeightsError
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
    """Return which prepared faces ``(n, S, S)`` a classifier, or a member of it, learnt from, as far as its folder says; bool ``(n,)``.

    Raises WeightsError for a list that cannot be read: ask before the work, and not after it.
    """
    known = set().union(
        *(digests_in(member.folder) for member in getattr(classifier, "members", (classifier,)) if hasattr(member, "folder"))
    )
    if not known:
        return np.zeros(len(faces), bool)
    return np.array([digest[:_DIGITS] in known for digest in digests(faces)], bool)


def digests_in(folder: Path) -> set[str]:
    """Return the digests that lie beside some weights; none where there is no list. Raises WeightsError for one that cannot be read."""
    path = folder / LEARNT
    try:
        return set(map(str, json.loads(path.read_text(encoding="utf-8"))["faces"]))
    except (FileNotFoundError, NotADirectoryError):
        return set()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{path} cannot be read ({type(error).__name__}: {error}): it says which faces the weights learnt from, so that they are not "
            "measured on them unnoticed. Restore it, or delete it to go on without knowing."
        ) from error
