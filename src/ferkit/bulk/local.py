"""The local engine: processes of this machine that are handed shards' numbers, and are replaced when they die."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..errors import FerkitError, InputError
from ..orphans import ended, search_path
from .records import Start, Task, Told
from .stops import uninterrupted

__all__ = ["Answer", "Pool", "Process", "failed", "stillborn"]

_HELLO: Task = {"do": "hello"}
_START_S = 120.0  # that a process may take to start, on a machine that is busy
_END_S = 10.0  # that one may take to end once it was killed


class Worker(Protocol):
    """Whoever was at a task, and at which picture."""

    at: int | None


@dataclass
class Answer:
    """What a process said: how its task ended, or that it is gone (``code``, its exit status).

    Attributes:
        process: Which.
        task: What it was at; None if it was at nothing.
        told: The answer.
        code: Of a process that is gone.
        hung: Whether it was ended because it said nothing for too long.
    """

    process: Worker
    task: Task | None
    told: Told | None = None
    code: int | None = None
    hung: bool = False


@dataclass(eq=False)
class Process:
    """A worker process, what it is at, and the picture that it spoke of last."""

    pipe: subprocess.Popen[bytes]
    task: Task | None = None
    at: int | None = None
    heard: float = field(default_factory=time.monotonic)
    hung: bool = False
    listener: threading.Thread | None = None

    def give(self, task: Task) -> None:
        """Hand it a task; one that is gone by now is heard of soon."""
        self.task, self.at, self.heard = task, None, time.monotonic()
        self.write(task)

    def write(self, line: Task | Start) -> None:
        """Give it an object to read."""
        with contextlib.suppress(OSError):
            assert self.pipe.stdin is not None
            self.pipe.stdin.write(json.dumps(line).encode() + b"\n")
            self.pipe.stdin.flush()

    def end(self, until: float | None = None) -> int | None:
        """Wait until it is gone, let go of its pipes, and return its exit status.

        One that was killed and waits for the system, for a network's disk that does not answer, is left to end by itself: None. ``until`` is
        the moment (``time.monotonic()``) at which that is so, else a few seconds from now.
        """
        try:
            code = self.pipe.wait(_END_S if until is None else max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            return None
        if self.listener is not None:
            self.listener.join()  # it reads to the end, which has come
        for stream in (self.pipe.stdin, self.pipe.stdout):
            with contextlib.suppress(OSError):
                assert stream is not None
                stream.close()
        return code


class Pool:
    """Worker processes.

    Args:
        place: The job's place.
        options: The job's options that change rows.
        memory: Bytes that each may have, None without a limit.
        timeout: Seconds of silence after which one is ended.
        workers: How many there may be.
        instead: Folder that the options name -> folder of this machine that it is read from.
    """

    def __init__(
        self,
        place: str,
        options: dict[str, Any],
        memory: int | None,
        timeout: float,
        workers: int = 1,
        instead: dict[str, str] | None = None,
    ) -> None:
        self._start: Start = {
            "place": place,
            "options": options,
            "memory": memory,
            "driver": os.getpid(),
            "sys_path": sys.path,
            "instead": instead or {},
        }
        self._workers = workers
        self._timeout = timeout
        self._said: queue.SimpleQueue[tuple[Process, bytes]] = queue.SimpleQueue()
        self.processes: list[Process] = []

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        with uninterrupted():
            for process in self.processes:
                process.pipe.kill()
        until = time.monotonic() + _END_S
        for process in self.processes:
            process.end(until)

    def room(self) -> int:
        """Return how many processes there may be."""
        return self._workers

    def add(self) -> Process:
        """Start one more, which first says what it would answer with."""
        environment = os.environ | {"FERKIT_THREADS": "1", "OMP_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"}
        with uninterrupted():  # or a process would be there that nobody ends, or a thread that has not begun
            pipe = subprocess.Popen(
                [sys.executable, "-P", "-m", "ferkit.bulk.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment | {"PYTHONPATH": search_path(sys.path)},
            )
            process = Process(pipe)
            process.write(self._start)
            process.give(_HELLO)
            self.processes.append(process)
            process.listener = threading.Thread(target=self._listen, args=(process,), daemon=True)
            process.listener.start()
        return process

    def _listen(self, process: Process) -> None:
        assert process.pipe.stdout is not None
        for line in process.pipe.stdout:
            if not line.endswith(b"\n"):
                break  # cut by its death
            if line[:1].isdigit():
                process.at, process.heard = int(line), time.monotonic()
            else:
                self._said.put((process, line))
        self._said.put((process, b""))

    def next(self, wait: float) -> Answer | None:
        """Wait for what comes next, so many seconds at most."""
        self._end_silent()
        try:
            process, line = self._said.get(timeout=wait)
        except queue.Empty:
            return None
        if process not in self.processes:
            return None  # it was let go
        task = process.task
        if line:
            process.task, process.heard = None, time.monotonic()
            return Answer(process, task, json.loads(line))
        self.processes.remove(process)
        return Answer(process, task, code=process.end(), hung=process.hung)

    def let_go(self, process: Process) -> None:
        """End a process whose answer nobody needs any more, now and not some time."""
        process.pipe.kill()
        process.end()
        self.processes.remove(process)

    def _end_silent(self) -> None:
        for process in self.processes:
            patience = self._timeout if process.task != _HELLO else max(self._timeout, _START_S)
            if process.task is not None and time.monotonic() - process.heard > patience:
                process.hung = True
                process.pipe.kill()
                if time.monotonic() - process.heard > patience + _END_S:  # it does not end either
                    self._said.put((process, b""))


def failed(told: Told) -> FerkitError:
    """Return a worker's sentence as the error that it was."""
    return InputError(told["failed"]) if told.get("usage") else FerkitError(told["failed"])


def stillborn(answer: Answer) -> FerkitError:
    """Return what to say of processes that do not live to their first task."""
    return FerkitError(f"Worker processes end as soon as they start ({ended(answer.code)}); their own message is above.")
