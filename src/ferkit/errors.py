"""The exceptions that ferkit raises.

Every error is a :class:`FerkitError` and also the built-in that a caller would expect, so both
``except FerkitError`` and ``except ValueError`` work. Messages say what came, what was expected
and what to do next.
"""

from __future__ import annotations

__all__ = [
    "DataError",
    "FerkitError",
    "ImageError",
    "ImageNotFoundError",
    "InputError",
    "MissingExtraError",
    "WeightsError",
]


class FerkitError(Exception):
    """Root of every error that ferkit raises on purpose."""


class InputError(FerkitError, ValueError):
    """An argument has the wrong shape, dtype, range or name."""


class ImageError(FerkitError, OSError):
    """An image cannot be found, read or decoded, or is too large to decode safely."""


class ImageNotFoundError(ImageError, FileNotFoundError):
    """An image file does not exist."""


class DataError(FerkitError, ValueError):
    """A training or evaluation data set is malformed."""


class WeightsError(FerkitError, OSError):
    """Weights cannot be found, fetched or verified."""


class MissingExtraError(FerkitError, ImportError):
    """An optional dependency is needed for what was asked: the package of an extra, or one by its own name."""

    def __init__(self, package: str, extra: str | None, purpose: str) -> None:
        what = f"ferkit[{extra}]" if extra else package
        super().__init__(f'{purpose} needs the package {package!r}, which is not installed. Type: pip install "{what}"')
