"""Checks of arguments and of numbers that training makes: what came, what was expected."""

from __future__ import annotations

import math
from typing import Any

from ...errors import FerkitError, InputError

__all__ = ["MOST_EMA", "check_minutes", "check_number", "check_numbers", "check_pair", "check_precision", "finite"]

MOST_EMA = 0.999999  # at 1 a mean never moves: the averaged weights would be those that the run began with
_POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")


def check_number(
    name: str, value: Any, low: float = -math.inf, high: float = math.inf, *, whole: bool = False, above: bool = False
) -> None:
    """Refuse what is not a number of a range.

    Args:
        name: Of the value, in the message.
        value: Anything.
        low, high: The range, both included.
        whole: Only int.
        above: ``low`` itself is not allowed.

    Raises:
        InputError: With the value and what was expected.
    """
    kind = int if whole else (int, float)
    good = isinstance(value, kind) and not isinstance(value, bool) and math.isfinite(value) and low <= value <= high
    if good and not (above and value == low):
        return
    bounds = []
    if low > -math.inf:
        bounds.append(f"above {low:g}" if above else f"at least {low:g}")
    if high < math.inf:
        bounds.append(f"at most {high:g}")
    raise InputError(f"{name} = {value!r}; expected a {'whole ' if whole else ''}number" + (f", {', '.join(bounds)}." if bounds else "."))


def check_pair(name: str, value: Any, low: float = -math.inf, high: float = math.inf) -> None:
    """Refuse what is not two numbers of a range, the smaller first. Arguments and errors as in ``check_number``."""
    two = isinstance(value, list | tuple) and len(value) == 2
    for number in value if two else ():
        check_number(name, number, low, high)
    if not two or value[0] > value[1]:
        raise InputError(f"{name} = {value!r}; expected two numbers, the smaller first.")


def check_numbers(name: str, value: Any, count: int, low: int) -> None:
    """Refuse what is not a list of ``count`` whole numbers, each at least ``low``. Raises InputError."""
    if not isinstance(value, list | tuple) or len(value) != count:
        raise InputError(f"{name} = {value!r}; expected a list of {count} whole numbers.")
    for number in value:
        check_number(name, number, low, whole=True)


def check_precision(name: str, value: Any) -> None:
    """Refuse what is not one of Keras's dtype policies that training knows. Raises InputError."""
    if value not in _POLICIES:
        raise InputError(f"{name} = {value!r}; expected one of {', '.join(_POLICIES)}.")


def check_minutes(minutes: Any) -> None:
    """Refuse a ``max_minutes`` that is not None and no number above 0. Raises InputError."""
    if minutes is not None:
        check_number("max_minutes", minutes, 0, above=True)


def finite(loss: Any, where: str) -> None:
    """Stop a run whose loss is not a number: nothing that it learns afterwards is worth keeping.

    Args:
        loss: Of a step.
        where: The step, in words.

    Raises:
        FerkitError: The loss is NaN or infinite.
    """
    if not math.isfinite(float(loss)):
        raise FerkitError(
            f"The loss is {float(loss)} at {where}; the run stops, and its last checkpoint is from before. "
            "Try a smaller learning_rate, precision float32, or look for faulty targets."
        )
