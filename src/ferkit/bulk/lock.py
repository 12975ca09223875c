"""One run at a time in one place. Two would do no harm, since they write the same bytes, but the same work twice."""

from __future__ import annotations

import json
import os
import socket
import threading
import time

from ..errors import InputError
from ..processes import is_running
from .records import Holder
from .stops import uninterrupted
from .storage import Place, StoreError

__all__ = ["Lock", "alive", "locks", "sweep"]

_BEAT_S = 15.0
_STALE_S = 90.0


def alive(place: Place, name: str) -> Holder | None:
    """Return who holds a lock, None if nobody does that still lives."""
    try:
        held: Holder | None = json.loads(place.read(name) or b"null")
    except ValueError:
        return None
    if not held:
        return None
    if held["host"] == socket.gethostname():
        return held if is_running(held["pid"]) else None
    return held if time.time() - held["beat"] < _STALE_S else None


def locks(place: Place) -> list[str]:
    """Return the names of a place's locks."""
    return [f"_ferkit/{found.name}" for found in place.list("_ferkit") if found.name.startswith("lock")]


def sweep(place: Place) -> None:
    """Let go of the locks of whoever died with one."""
    for name in locks(place):
        if alive(place, name) is None:
            place.delete(name)


class Lock:
    """Holds a place for as long as it is open. A holder that died is not waited for: on this host at once, elsewhere after 90 s.

    Args:
        place: The job's place.
        part: Parts of a job run beside one another, each once.
        steal: Take it from whoever holds it.
    """

    def __init__(self, place: Place, part: tuple[int, int] | None = None, steal: bool = False) -> None:
        self._place, self._part, self._steal = place, part, steal
        self.name = "_ferkit/lock" + ("" if part is None else f"-{part[0]}-of-{part[1]}")
        self._end = threading.Event()
        self._heart = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Lock:
        try:
            with uninterrupted():
                self._take()
        except KeyboardInterrupt:  # which waited until the lock was whole, or came before it
            if self._heart.is_alive():
                self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with uninterrupted():
            self._end.set()
            self._heart.join()  # else its last beat might come after the lock is gone
            self._place.delete(self.name)

    def _take(self) -> None:
        if not self._steal:
            self._refuse_others()
        elif self._part is None:
            for name in locks(self._place):
                self._place.delete(name)
        self._place.delete(self.name)
        if not self._place.put_new(self.name, self._told()):
            self._refuse_others()
        self._heart.start()

    def _refuse_others(self) -> None:
        for name in locks(self._place):
            together = self._part is not None and name not in (self.name, "_ferkit/lock")
            held = None if together else alive(self._place, name)
            if held is not None:
                raise InputError(
                    f"{self._place.address} is being worked on by process {held['pid']} on {held['host']}; wait for it, "
                    "or take it over with steal=True if that process is gone.",
                    arguments=["steal"],
                )

    def _told(self) -> bytes:
        return json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "beat": time.time()}).encode()

    def _beat(self) -> None:
        while not self._end.wait(_BEAT_S):
            try:
                self._place.put(self.name, self._told())
            except StoreError:  # the next beat may come through; else the lock goes stale, which does no harm
                continue
