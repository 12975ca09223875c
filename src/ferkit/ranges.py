"""Ranges that arguments must lie in, checked where they are given."""

from __future__ import annotations

from numbers import Real

from .errors import InputError

__all__ = ["check_share"]


def check_share(name: str, value: float | None, what: str) -> None:
    """Raise InputError unless an argument is None or a number from 0 to 1; ``what`` the message says was expected.

    >>> check_share("min_score", 0.5, "a number")
    """
    if value is not None and (isinstance(value, bool) or not isinstance(value, Real) or not 0 <= value <= 1):
        raise InputError(f"{name}={value!r}; expected {what} from 0 to 1.", arguments=[name])
