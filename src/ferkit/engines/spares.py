"""Networks for several threads: each thread that is inside has one to itself, made when none is idle, up to one for each CPU."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from .threads import available_cpus

__all__ = ["Spares"]

_T = TypeVar("_T")


class Spares(Generic[_T]):
    """Equal things that one thread at a time may use.

    Args:
        make: Makes one. The first is made at once, so that what is wrong with it is said here.
        most: How many there may be; whoever comes then waits. None is one for each CPU at hand, since more would not run.
    """

    def __init__(self, make: Callable[[], _T], most: int | None = None) -> None:
        self._make = make
        self._most = available_cpus() if most is None else most
        self._idle = [make()]
        self._made = 1
        self._changed = threading.Condition()

    @contextmanager
    def one(self) -> Iterator[_T]:
        """Lend one for as long as the block runs: the one that came back last, whose memory is still warm."""
        thing = self._taken()
        try:
            yield thing
        finally:
            with self._changed:
                self._idle.append(thing)
                self._changed.notify()

    def forget(self) -> None:
        """Drop those that are idle, and their memory; others are made when they are wanted."""
        with self._changed:
            self._made -= len(self._idle)
            self._idle.clear()
            self._changed.notify_all()

    def _taken(self) -> _T:
        with self._changed:
            while not self._idle and self._made >= self._most:
                self._changed.wait()
            if self._idle:
                return self._idle.pop()
            self._made += 1
        try:
            return self._make()
        except BaseException:
            with self._changed:
                self._made -= 1
                self._changed.notify()
            raise
