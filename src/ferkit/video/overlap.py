"""Stages that run at the same time, joined by queues that never grow."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

__all__ = ["latest", "overlap", "paced"]

T = TypeVar("T")
_END = object()
_TICK_S = 0.05  # how soon a waiting stage notices that the other side is gone


class _Failure:
    def __init__(self, error: BaseException) -> None:
        self.error = error


class _Stage(Generic[T]):
    """Runs an iterator in a thread of its own. With ``drop`` the queue keeps only the newest item."""

    def __init__(self, items: Iterator[T], size: int, drop: bool) -> None:
        self._items, self._drop = items, drop
        self._queue: queue.Queue[Any] = queue.Queue(size)
        self._stopped = threading.Event()
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        last: Any = _END
        try:
            for item in self._items:
                if not self._put(item, self._drop):
                    break
        except BaseException as error:
            last = _Failure(error)
        finally:
            close = getattr(self._items, "close", None)
            if close is not None:
                close()
            self._put(last, False)

    def _put(self, item: Any, drop: bool) -> bool:
        while not self._stopped.is_set():
            try:
                self._queue.put(item, block=not drop, timeout=_TICK_S)
            except queue.Full:
                if drop:
                    self._discard()
            else:
                return True
        return False

    def _discard(self) -> None:
        try:
            self._queue.get_nowait()
            self.dropped += 1
        except queue.Empty:
            pass  # the reader took it in between

    def __iter__(self) -> Iterator[T]:
        self._thread.start()
        try:
            while True:
                try:
                    item = self._queue.get(timeout=_TICK_S)
                except queue.Empty:
                    continue  # an endless wait would not hear Ctrl-C on every system
                if item is _END:
                    return
                if isinstance(item, _Failure):
                    raise item.error
                yield item
        finally:
            self._stopped.set()
            self._thread.join()


def overlap(items: Iterator[T], size: int = 8) -> Iterator[T]:
    """Yield the same items in the same order while the next ones are being made; at most ``size`` wait.

    An error of ``items`` comes out here, after the items before it. Closing this closes ``items``.
    """
    yield from _Stage(items, size, drop=False)


def latest(items: Iterator[T]) -> Iterator[T]:
    """Yield the newest item each time; those that nobody came for are dropped, never queued. For cameras."""
    yield from _Stage(items, 1, drop=True)


def paced(items: Iterator[T], clock: str = "time_s") -> Iterator[T]:
    """Yield items no sooner than their own times say: a file as a camera would give it."""
    begun: tuple[float, float] | None = None
    for item in items:
        own = float(getattr(item, clock))
        if begun is None:
            begun = (time.monotonic(), own)
        wait = begun[0] + own - begun[1] - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        yield item
