"""Video: frames from files, addresses and cameras; people followed over time; tables, events, plots and annotated copies."""

from __future__ import annotations

from .decode import Frame as Frame
from .decode import frames as frames

__all__ = ["Frame", "frames"]
