"""Where the lines of a run go."""

from __future__ import annotations

import sys

__all__ = ["to_stderr"]


def to_stderr(line: str) -> None:
    """Print a line at once, beside the results."""
    print(line, file=sys.stderr, flush=True)
