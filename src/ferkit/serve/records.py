"""What processes of the service tell one another of a film: JSON whose keys and values a type checker knows.

What clients get is in ``schemas.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NotRequired, TypedDict

from ..video.events import PersonRecord

__all__ = ["FilmLimits", "FilmRequest", "JobAnswer", "JobFault", "JobState", "Opening"]


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
    rotations: Sequence[int]
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


class JobFault(TypedDict):
    """Why a film was not read: a code for programs, a sentence for people."""

    code: str
    message: str


class JobState(TypedDict):
    """``state.json``: ``state`` is ``waiting``, ``running``, ``done`` or ``failed``, and the others are there as they become known."""

    state: str
    progress: NotRequired[float | None]
    frames: NotRequired[int]
    time_s: NotRequired[float]
    people: NotRequired[list[PersonRecord]]
    cut: NotRequired[bool]
    warning: NotRequired[str | None]
    error: NotRequired[JobFault]


class JobAnswer(JobState):
    """What is known of a job: its state, what it was asked for, and which results are there."""

    id: str
    weights: str
    labels: str
    results: list[str]
