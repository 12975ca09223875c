"""A worker process: reads tasks on its standard input, a JSON object a line, and answers on its standard output.

Not a pool's process: one pipe for each, so that a death costs the shard that it was at and nobody else's; and not a fork or a
copy of the caller's ``__main__``: a script without a guard, a notebook and a service can all start it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
from typing import IO, Any

from ..errors import FerkitError, InputError
from ..orphans import die_with
from .records import Greeting, Receipt, Start
from .storage import Place, StoreError

__all__ = ["main"]


def main() -> None:
    """Work until the input ends."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what a library prints must not be taken for an answer
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the driver decides
    tasks = _Tasks(sys.stdin.buffer)
    start = json.loads(tasks.next())
    die_with(start["driver"])
    sys.path[:] = start["sys_path"]
    _limit(start["memory"])
    if start["options"]["pipeline"] is None:  # a pipeline of somebody else may need it
        sys.meta_path.insert(0, _WithoutPandas())
    from . import opening

    opening.INSTEAD.update(start["instead"])
    worker = _Worker(start, answers)
    while True:
        line = tasks.next()
        if not line:
            return
        worker.do(json.loads(line))


class _WithoutPandas:
    """Finds no pandas: pyarrow imports it, a third of a second for each worker, to see whether a list is one of its series."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:  # noqa: ARG004 - the interpreter's signature
        if name == "pandas":
            raise ModuleNotFoundError("ferkit batch's workers do without pandas", name=name)


class _Tasks:
    """The lines of the input; once it ends the driver is gone, and this process goes at once, whatever it is doing."""

    def __init__(self, file: IO[bytes]) -> None:
        import queue

        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        threading.Thread(target=self._listen, args=(file,), daemon=True).start()
        self.next = self._lines.get

    def _listen(self, file: IO[bytes]) -> None:
        for line in iter(file.readline, b""):
            self._lines.put(line)
        os._exit(0)


def _limit(memory: int | None) -> None:
    """Let this process have at most so many bytes: then it fails at the picture that wants more, instead of the machine."""
    if sys.platform != "linux":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))  # gigabytes, for a picture that kills
    if memory is None:
        return
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (memory if most == resource.RLIM_INFINITY else min(memory, most), most))


class _Worker:
    def __init__(self, start: Start, answers: IO[bytes]) -> None:
        self._start, self._answers = start, answers
        self._place = Place(start["place"])
        self._job: Any = None

    def do(self, task: dict[str, Any]) -> None:
        """Do one task and answer: with what came of it, or with the kind of what went wrong and a sentence."""
        try:
            self._answer({"done": getattr(self, f"_{task.pop('do')}")(**task)})
        except MemoryError:
            os.abort()  # whose picture it was is known from the last number said; this process is not to be trusted any more
        except StoreError as error:
            self._answer({"failed": str(error), "again": True})
        except FerkitError as error:
            self._answer({"failed": str(error), "again": False, "usage": isinstance(error, InputError)})
        except OSError as error:
            self._answer({"failed": f"{type(error).__name__}: {error}", "again": True})
        except Exception as error:
            self._answer({"failed": f"{type(error).__name__}: {error}", "again": False})

    def _answer(self, value: Any) -> None:
        self._answers.write(json.dumps(value).encode() + b"\n")

    def _say(self, number: int) -> None:
        self._answers.write(b"%d\n" % number)

    def _hello(self) -> Greeting:
        import cv2

        from . import opening

        options = self._start["options"]
        told = opening.facts(options)
        labels = list(opening.open_pipeline(options).classifier.labels)
        cv2.setNumThreads(1)  # as many workers as CPUs; more threads in each cost a sixth more
        return {"facts": told, "labels": labels}

    def _read_job(self) -> Any:
        from .job import Job

        if self._job is None:
            self._job = Job.read(self._place)
        if self._job is None:
            raise InputError(f"{self._place.address} has no job on {socket.gethostname()}; expected an OUTPUT that all machines share.")
        return self._job

    def _shard(self, shard: int, skip: dict[str, Any], ahead: bool) -> Receipt:
        from .work import work

        return work(self._place, self._read_job(), shard, skip=skip, ahead=ahead, say=self._say)

    def _compact(self, group: int) -> None:
        from .commit import compact

        compact(self._place, self._read_job(), group)


if __name__ == "__main__":
    main()
