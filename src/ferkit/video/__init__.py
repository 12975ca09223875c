"""Video: frames from files, addresses and cameras; people followed over time; tables, events, plots and annotated copies."""

from __future__ import annotations

from .decode import frames as frames
from .frame import Frame as Frame

__all__ = ["Frame", "frames"]
