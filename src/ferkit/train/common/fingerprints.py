"""What a run learns from, as its checkpoint remembers it: a digest of each part, so that other data are not taken for the same."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError

__all__ = ["PIXELS", "check_same_data", "fingerprint"]

# The part that may change, and is only told: another machine's or version's decoder or detector may cut the same faces a shade otherwise.
PIXELS = "pixels"


def fingerprint(*values: Any) -> str:
    """Return a short digest of arrays and sequences of texts; None is a value too."""
    digest = hashlib.sha256()
    for value in values:
        if value is None:
            digest.update(b"none;")
            continue
        array = np.ascontiguousarray(value if isinstance(value, np.ndarray) else np.array(value, str))
        digest.update(f"{array.dtype.str}{array.shape};".encode())
        digest.update(array.view(np.uint8).data if array.size else b"")
    return digest.hexdigest()[:16]


def check_same_data(path: Path, before: Mapping[str, str], now: Mapping[str, str], log: Callable[[str], None]) -> None:
    """Compare what a checkpoint was trained on with what it is to be trained on; what an earlier ferkit did not note is not compared.

    Args:
        path: Of the checkpoint.
        before, now: ``{part: digest}``.
        log: Called with a line if the pixels alone are others.

    Raises:
        InputError: A part is not the same.
    """
    changed = [part for part in now if before.get(part, now[part]) != now[part]]
    others = [part for part in changed if part != PIXELS]
    if others:
        raise InputError(
            f"{path} was trained on other data (not the same: {', '.join(others)}); give what it was trained on, or another out.",
            arguments=["data", "out"],
        )
    if changed:
        log(
            f"{path} was trained on other pixels of the same faces, as another machine, version or detector cuts them; the run goes on with these."
        )
