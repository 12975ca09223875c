"""A bar on standard error while pictures are read."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TypeVar

__all__ = ["bar"]

_T = TypeVar("_T")


def bar(items: Iterable[_T], title: str | None, shown: bool) -> Iterable[_T]:
    """Return pictures that count themselves, under a title, if that is to be shown."""
    from tqdm import tqdm

    counted: Iterable[_T] = tqdm(items, desc=title, unit="image", file=sys.stderr, disable=not shown)
    return counted
