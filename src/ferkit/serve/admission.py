"""What may be in memory at once: bytes of uploads, requests, pixels that are being decoded, and places for webcam streams."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from .problems import Problem, busy
from .settings import Settings

__all__ = ["Admission", "Arriving", "PixelBudget", "Seated", "StreamPlaces", "Ticket"]

_STREAM_IDLE_S = 10.0  # without a picture, from which a stream's place may go to another


class Seated(Protocol):
    """Who has a place: ``seen`` is the time of its last picture, on the clock of ``time.monotonic``."""

    seen: float

    def make_room(self) -> None:
        """Leave."""


class Admission:
    """Counts uploads and requests, so that both are bounded before they reach the queue. Event-loop only: no lock."""

    def __init__(self, settings: Settings) -> None:
        self._max_bytes, self._max_requests = settings.max_pending_bytes, 2 * settings.queue + 8
        self.bytes = self.requests = 0
        self._arriving: dict[Ticket, None] = {}

    @contextmanager
    def enter(self, arrival: Arriving, retry_after: int) -> Iterator[Ticket]:
        """Hold what one request takes until its answer is made."""
        ticket = Ticket(self, arrival, retry_after)
        self._arriving[ticket] = None
        try:
            yield ticket
        finally:
            self.forget(ticket)
            self.requests -= ticket.complete

    def take(self, count: int, retry_after: int) -> None:
        """Count further bytes; slow uploads make room for them. Raises Problem 503 where the service holds as many as it may."""
        while self.bytes + count > self._max_bytes and (slow := next((t for t in self._arriving if t.arrival.slow), None)) is not None:
            slow.arrival.give_up()
            self.forget(slow)
        if self.bytes + count > self._max_bytes:
            raise busy("The service holds as many uploads as it may.", retry_after)
        self.bytes += count

    def forget(self, ticket: Ticket) -> None:
        """Count a request's bytes no longer."""
        self._arriving.pop(ticket, None)
        self.bytes -= ticket.taken
        ticket.taken = 0

    def admit(self, ticket: Ticket, retry_after: int) -> None:
        """Count a request whose body is complete; those that still arrive are bounded by the connections. Raises Problem 503."""
        if self.requests >= self._max_requests:
            raise busy(f"{self.requests} requests are being answered.", retry_after)
        self.requests += 1
        self._arriving.pop(ticket, None)


class Arriving(Protocol):
    """A body on its way."""

    @property
    def slow(self) -> bool:
        """Whether it should make room."""

    def give_up(self) -> None:
        """Wait no longer for it."""


class Ticket:
    """One request's share: the bytes it has taken, and whether it is counted as complete."""

    def __init__(self, admission: Admission, arrival: Arriving, retry_after: int) -> None:
        self._admission, self.arrival, self._retry_after = admission, arrival, retry_after
        self.taken, self.complete = 0, 0

    def take(self, count: int) -> None:
        """Count bytes that arrived. Raises Problem 503."""
        self._admission.take(count, self._retry_after)
        self.taken += count

    def arrived(self) -> None:
        """The body is complete. Raises Problem 503 where too many requests are being answered."""
        self._admission.admit(self, self._retry_after)
        self.complete = 1


class PixelBudget:
    """Bounds the pixels that all lanes of a worker decode at the same time. A picture larger than the budget is decoded alone.

    Who comes after a large picture waits behind it, though a small one would fit: or a stream of small ones would keep it out for ever.
    """

    def __init__(self, pixels: int) -> None:
        self._free = self._all = pixels
        self._changed = threading.Condition()
        self._line: deque[object] = deque()

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return len(self._line)

    @contextmanager
    def hold(self, pixels: int) -> Iterator[None]:
        """Wait until whoever came before has begun and ``pixels`` fit, and hold them."""
        wanted, turn = min(pixels, self._all), object()
        with self._changed:
            self._line.append(turn)
            try:
                self._changed.wait_for(lambda: self._line[0] is turn and self._free >= wanted)
                self._free -= wanted
            finally:
                self._line.remove(turn)
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._free += wanted
                self._changed.notify_all()


def _no_place() -> Problem:
    return Problem(503, "too_many_streams", "All places for streams are taken. Try again in 5 s.", 5)


class StreamPlaces:
    """Places for webcam streams. A stream that still has to show its key waits outside, and takes no place.

    Where all places are taken, the stream that has sent no picture for longest makes room, if that is long enough.
    """

    def __init__(self, places: int, idle: float = _STREAM_IDLE_S) -> None:
        self._places, self._outside, self._idle = places, 2 * places + 8, idle
        self._seated: dict[Seated, None] = {}
        self.waiting = 0

    @property
    def taken(self) -> int:
        """How many streams have a place."""
        return len(self._seated)

    def wait_outside(self) -> None:
        """Count a connection without a place. Raises Problem 503 for too many."""
        if self.waiting >= self._outside:
            raise _no_place()
        self.waiting += 1

    def take(self, stream: Seated) -> None:
        """Give a waiting connection a place. Raises Problem 503 where none is free."""
        if len(self._seated) >= self._places:
            silent = min(self._seated, key=lambda other: other.seen)
            if time.monotonic() - silent.seen < self._idle:
                raise _no_place()
            del self._seated[silent]
            silent.make_room()
        self._seated[stream] = None

    def leave(self, stream: Seated) -> None:
        """Forget a connection."""
        self.waiting -= 1
        self._seated.pop(stream, None)
