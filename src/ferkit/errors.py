"""The exceptions that ferkit raises.

Every error is a ``FerkitError`` and also the built-in that a caller would expect, so both
``except FerkitError`` and ``except ValueError`` work. Messages say what came, what was expected
and what to do next, in the words of Python; the command line adds the flags of the ``arguments`` that an error names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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
    """Root of every error that ferkit raises on purpose. All of them pickle, so that they pass from a worker process.

    Attributes:
        arguments: Names of the Python arguments that the cure in the message is about, so that nobody needs to parse it.
    """

    def __init__(self, *args: object, arguments: Sequence[str] = ()) -> None:
        super().__init__(*args)
        self.arguments = tuple(arguments)


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
        self.package, self.extra, self.purpose = package, extra, purpose
        what = f"ferkit[{extra}]" if extra else package
        super().__init__(f'{purpose} needs the package {package!r}, which is not installed. Run: pip install "{what}"')

    def __reduce__(self) -> tuple[Any, ...]:  # by default an error is made anew from its message alone
        return type(self), (self.package, self.extra, self.purpose), vars(self)
