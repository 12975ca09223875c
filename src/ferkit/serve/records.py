"""What processes of the service tell one another of a film: JSON whose keys and values a type checker knows.

What clients get is in ``schemas.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

__all__ = ["FilmLimits", "FilmRequest", "Opening"]


class Opening(TypedDict):
    """What a classifier is opened with: weights by name or place, and one of their outputs or class names."""

    weights: str | None
    labels: str | Sequence[str]


class FilmLimits(TypedDict):
    """What the service's settings say of films."""

    threads: int | None
    runtime: str
    detector: str | None
    detector_model: str | None
    max_bytes: int
    max_seconds: float
    max_pixels: int


class FilmRequest(Opening, FilmLimits):
    """``request.json``: what is wanted of a film, and what the answer names. The file also has ``worker``, the process that took it."""

    copy: bool
    blur: bool
    unsure: float
    weights_name: str
    labels_name: str
