"""Objects that pickle and copy as the arguments they were made with: their networks, which belong to C++, cannot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, TypeVar

__all__ = ["ByArguments"]

_T = TypeVar("_T", bound="ByArguments")


class ByArguments:
    """Makes a class pickle, and copy, as its arguments: what comes out is opened anew, in a worker process from its own disk."""

    _arguments: tuple[tuple[Any, ...], dict[str, Any]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            setattr(cls, "__init__", _remembering(vars(cls)["__init__"]))  # noqa: B010 - the only form that type checkers take

    def __reduce__(self) -> tuple[Any, ...]:
        return _made, (type(self), *self._arguments)


def _remembering(make: Callable[..., None]) -> Callable[..., None]:
    """Let an ``__init__`` note its arguments first; what can be read only once, or changed later, is copied before."""

    @wraps(make)
    def init(self: ByArguments, *args: Any, **kwargs: Any) -> None:
        if "_arguments" not in vars(self):  # else a subclass has noted its own
            args, kwargs = tuple(map(_lasting, args)), {name: _lasting(value) for name, value in kwargs.items()}
            self._arguments = args, kwargs
        make(self, *args, **kwargs)

    return init


def _lasting(value: Any) -> Any:
    return list(value) if isinstance(value, (list, Iterator)) else value


def _made(cls: type[_T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> _T:
    return cls(*args, **kwargs)
