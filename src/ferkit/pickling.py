"""Objects that pickle and copy as the arguments they were made with: their networks, which belong to C++, cannot."""

from __future__ import annotations

from typing import Any, TypeVar

__all__ = ["ByArguments"]

_T = TypeVar("_T", bound="ByArguments")


class ByArguments:
    """Makes a class pickle, and copy, as its arguments: what comes out is opened anew, in a worker process from its own disk."""

    _arguments: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls: type[_T], *args: Any, **kwargs: Any) -> _T:
        self = super().__new__(cls)
        self._arguments = args, kwargs
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _made, (type(self), *self._arguments)


def _made(cls: type[_T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> _T:
    return cls(*args, **kwargs)
