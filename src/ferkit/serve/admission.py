"""What may be in memory at once: bytes of uploads, requests, pixels that are being decoded, and places for webcam streams."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from .problems import Problem, busy
from .settings import Settings

__all__ = ["Admission", "PixelBudget", "StreamPlaces", "Ticket"]


class Admission:
    """Counts uploads and requests, so that both are bounded before they reach the queue. Event-loop only: no lock."""

    def __init__(self, settings: Settings) -> None:
        self._max_bytes, self._max_requests = settings.max_pending_bytes, 2 * settings.queue + 8
        self.bytes = self.requests = 0

    @contextmanager
    def enter(self, retry_after: int) -> Iterator[Ticket]:
        """Hold what one request takes until its answer is made."""
        ticket = Ticket(self, retry_after)
        try:
            yield ticket
        finally:
            self.bytes -= ticket.taken
            self.requests -= ticket.complete

    def take(self, count: int, retry_after: int) -> None:
        """Count further bytes. Raises Problem 503 where the service holds as many as it may."""
        if self.bytes + count > self._max_bytes:
            raise busy("The service holds as many uploads as it may.", retry_after)
        self.bytes += count

    def admit(self, retry_after: int) -> None:
        """Count a request whose body is complete; those that still arrive are bounded by the connections. Raises Problem 503."""
        if self.requests >= self._max_requests:
            raise busy(f"{self.requests} requests are being answered.", retry_after)
        self.requests += 1


class Ticket:
    """One request's share: the bytes it has taken, and whether it is counted as complete."""

    def __init__(self, admission: Admission, retry_after: int) -> None:
        self._admission, self._retry_after = admission, retry_after
        self.taken, self.complete = 0, 0

    def take(self, count: int) -> None:
        """Count bytes that arrived. Raises Problem 503."""
        self._admission.take(count, self._retry_after)
        self.taken += count

    def arrived(self) -> None:
        """The body is complete. Raises Problem 503 where too many requests are being answered."""
        self._admission.admit(self._retry_after)
        self.complete = 1


class PixelBudget:
    """Bounds the pixels that all lanes of a worker decode at the same time. A picture larger than the budget is decoded alone."""

    def __init__(self, pixels: int) -> None:
        self._free = self._all = pixels
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, pixels: int) -> Iterator[None]:
        """Wait until ``pixels`` fit, and hold them."""
        wanted = min(pixels, self._all)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= wanted)
            self._free -= wanted
        try:
            yield
        finally:
            with self._changed:
                self._free += wanted
                self._changed.notify_all()


class StreamPlaces:
    """Places for webcam streams. A stream that still has to show its key waits outside, and takes no place."""

    def __init__(self, places: int) -> None:
        self._places, self._outside = places, 2 * places + 8
        self.taken = self.waiting = 0

    def wait_outside(self) -> None:
        """Count a connection without a place. Raises Problem 503 for too many."""
        if self.waiting >= self._outside:
            raise Problem(503, "too_many_streams", "too many streams; try again later", 5)
        self.waiting += 1

    def take(self) -> None:
        """Give a waiting connection a place. Raises Problem 503 where none is free."""
        if self.taken >= self._places:
            raise Problem(503, "too_many_streams", "too many streams; try again later", 5)
        self.taken += 1

    def leave(self, *, had_place: bool) -> None:
        """Forget a connection."""
        self.waiting -= 1
        self.taken -= had_place
