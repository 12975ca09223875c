"""A group of processes that train one network together: started, watched, and started again from the checkpoint when one dies.

JAX's processes stand or fall together: when one dies, the others wait for it until a time-out, and then abort. So the first death ends
all of them, and a new group goes on from the last checkpoint, which computes the same weights, bit for bit, as one that nobody disturbed.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO, Any, Protocol

from ...engines.threads import available_cpus, requested_threads
from ...errors import FerkitError
from ...orphans import ended, search_path
from .listeners import Listeners

__all__ = ["Ended", "Local", "Member", "free_port", "supervise"]

_LOOK_S = 0.1
_END_S = 10.0  # that one may take to end once it was killed


@dataclass(frozen=True)
class Ended:
    """How a member ended.

    Attributes:
        code: Its exit status.
        error: What it raised, if it says so: the same would happen again.
        said: The last line of its standard error.
    """

    code: int
    error: Exception | None = None
    said: str = ""


class Member(Protocol):
    """One process of a group, on this machine or another."""

    def poll(self) -> Ended | None: ...

    def lines(self) -> list[Any]: ...

    def end(self) -> None: ...


class Local:
    """A member on this machine.

    Args:
        call: ``(function, keyword arguments)``, as ``ferkit.train.common.member`` calls it.
        coordinator: ``HOST:PORT`` at which the first member listens for the others.
        count, number: How many there are, and which this one is.
        folders: The program's search path for modules.
        beside: How many of the members are on this machine; None: all.
    """

    def __init__(
        self,
        call: tuple[str, dict[str, Any]],
        coordinator: str,
        count: int,
        number: int,
        folders: Sequence[str] = (),
        beside: int | None = None,
    ) -> None:
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in end
        threads = str(_threads(beside or count))
        environment = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": os.environ.get("JAX_PLATFORMS", "cpu"), "OMP_NUM_THREADS": threads}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "ferkit.train.common.member"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=os.environ | environment | {"PYTHONPATH": search_path(folders or sys.path)},
        )
        self._said: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._error: Exception | None = None
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        assert self._process.stdin is not None
        start = {"call": call, "coordinator": coordinator, "count": count, "number": number, "parent": os.getpid()}
        try:
            pickle.dump(list(folders or sys.path), self._process.stdin)  # by itself: what the call is made of is looked for there
            pickle.dump(start, self._process.stdin)
            self._process.stdin.flush()
        except OSError:
            return  # it is gone already, which poll tells

    def _listen(self) -> None:
        assert self._process.stdout is not None
        while True:
            try:
                told = pickle.load(self._process.stdout)
            except (EOFError, pickle.UnpicklingError):
                return
            if isinstance(told, Exception):
                self._error = told
            else:
                self._said.put(told)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def poll(self) -> Ended | None:
        """Return how it ended, None while it runs."""
        code = self._process.poll()
        if code is None:
            return None
        self._listener.join()
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors.read().decode(errors="replace").splitlines() if line.strip()]
        return Ended(code, self._error, lines[-1] if lines else "")

    def lines(self) -> list[Any]:
        """Return what it had to say since it was asked last."""
        out = []
        while not self._said.empty():
            out.append(self._said.get())
        return out

    def end(self) -> None:
        """End it, and let go of its pipes. One that waits for the system, for a disk that does not answer, is left to end by itself."""
        self._process.kill()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            return
        self._listener.join()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            try:
                stream.close()
            except OSError:
                continue
        self._errors.close()


def _threads(beside: int) -> int:
    """Return how many threads one of so many members on this machine gets."""
    return requested_threads() or max(1, available_cpus() // beside)


def free_port(host: str) -> int:
    """Return a port of this machine that nobody listens at."""
    with socket.socket() as one:
        one.bind((host, 0))
        return int(one.getsockname()[1])


def supervise(start: Callable[[], Sequence[Member]], max_failures: int, told: Listeners) -> None:
    """Run a group until its work is done.

    Args:
        start: Starts all members anew; each goes on from the last checkpoint.
        max_failures: Deaths that the run may cost before it is given up.
        told: Hears what the members say, and a line for each death.

    Raises:
        FerkitError: What a member raised, or that too many died.
    """
    failures = 0
    while True:
        members = start()
        try:
            dead = _watched(members, told)
        except BaseException as error:
            told.fail(error)
            raise
        finally:
            for member in members:
                member.end()
        if dead is None:
            return
        number, death = dead
        if death.error is not None:
            told.fail(death.error)
            raise death.error
        failures += 1
        why = f"process {number + 1} of {len(members)} ended with {ended(death.code)}" + (f": {death.said}" if death.code > 0 else "")
        told.fail(FerkitError(why))
        if failures > max_failures:
            raise FerkitError(
                f"Training was given up after {failures} deaths; {why}. Look at what kills it, and go on with resume=True.",
                arguments=["resume"],
            )
        told.line(f"{why}; all start again from the last checkpoint ({failures} of {max_failures}).")


def _watched(members: Sequence[Member], told: Listeners) -> tuple[int, Ended] | None:
    """Wait until the first member is done, or one is dead: return which, and how it ended."""
    running = set(range(len(members)))
    while running:
        for number in sorted(running):
            how = members[number].poll()
            for line in members[number].lines():
                told.hear(line)
            if how is None:
                continue
            if how.code != 0 or how.error is not None:
                return _first_cause(members, number, how)
            if number == 0:  # it wrote the last file; the others end with it, and not always in peace
                return None
            running.discard(number)
        time.sleep(_LOOK_S)
    return None


def _first_cause(members: Sequence[Member], number: int, death: Ended) -> tuple[int, Ended]:
    """Return which member ended of itself.

    What a member says is a cause before all else. The others abort when they miss it, or leave with what their half of a step raises: a signal
    comes before that. Where all left with errors of their own, the one that was seen first.
    """
    found = {number: death} | {n: now for n, member in enumerate(members) if (now := member.poll()) is not None and now.code != 0}
    return min(found.items(), key=lambda one: (one[1].error is None, one[1].code == -signal.SIGABRT, one[1].code > 0))
