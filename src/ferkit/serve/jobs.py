"""Films: jobs that take longer than a request, one after the other, each in a process of its own.

A job is a folder below one that all workers share. The worker that took the upload runs it; the others answer for it from
``state.json`` and the results in the folder. Its owner is told to stop by a file. A worker that dies loses its own jobs only.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..image_files import expanded
from ..orphans import search_path
from ..processes import is_running
from .admission import Arriving
from .film import COPY, EVENTS, FILM, REQUEST, ROWS, STATE, read_state, write_state
from .folders import remove_folder
from .logs import log
from .problems import Problem, busy
from .records import FilmRequest, JobAnswer
from .settings import Settings

__all__ = ["RESULTS", "Jobs"]

RESULTS = {"rows": (ROWS, "text/csv; charset=utf-8"), "events": (EVENTS, "application/json"), "copy": (COPY, "video/mp4")}
_STOP = "stop"  # a file that says: end this job, and remove it
_ID = re.compile(r"[A-Za-z0-9_-]{22}")
_LOOK_S, _SWEEP_S = 0.2, 20.0
_FINAL = ("done", "failed")
_KILLED = getattr(signal, "SIGKILL", 9)
_INTERNAL = "ferkit failed on this film; the service's log says why."


@dataclass
class _Mine:
    """What this worker knows of a job of its own."""

    folder: Path
    arrival: Arriving | None  # None once it is here
    started: float = field(default_factory=time.monotonic)
    finished: bool = False
    task: asyncio.Task[None] | None = None  # waits for its turn, and reads it


class Jobs:
    """The films of one worker, and a view of everybody's."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._own = settings.jobs_folder is None
        self._root = expanded(settings.jobs_folder or tempfile.mkdtemp(prefix="ferkit-jobs-"))
        self._mine: dict[str, _Mine] = {}
        self._turn = asyncio.Semaphore(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self.can_start = True  # processes, that is; known once the event loop runs

    def start(self) -> None:
        """Look whether films can be read here, and begin to remove what has expired."""
        # uvicorn's several workers share their port, which on Windows only this kind of loop can: a port belongs to one completion port.
        # It starts no processes.
        self.can_start = not (os.name == "nt" and isinstance(asyncio.get_running_loop(), asyncio.SelectorEventLoop))
        self._keep(self._sweep())

    async def stop(self) -> None:
        """End the jobs of this worker and remove them."""
        mine = [task for task in self._tasks if task.get_loop() is asyncio.get_running_loop()]
        for task in mine:
            task.cancel()
        await asyncio.gather(*mine, return_exceptions=True)
        for job in self._mine.values():
            remove_folder(job.folder)
        if self._own:
            remove_folder(self._root)

    async def place(self, arrival: Arriving) -> tuple[str, Path]:
        """Make room for a film and return its id and its folder. Raises Problem 503 where as many as may are at work.

        The oldest film that is read makes room, else an upload that hardly moves.
        """
        if len(self._mine) >= self._settings.max_jobs:
            done = [name for name, job in self._mine.items() if job.finished]
            slow = [name for name, job in self._mine.items() if job.arrival is not None and job.arrival.slow]
            if not done and not slow:
                raise busy(f"{len(self._mine)} films are waiting or being read.", 30)
            oldest = self._mine.pop(min(done or slow, key=lambda name: self._mine[name].started))
            if oldest.arrival is not None:
                oldest.arrival.give_up()
            removed: tuple[Path, ...] = (oldest.folder,)
        else:
            removed = ()
        name = secrets.token_urlsafe(16)
        folder = self._root / name
        self._mine[name] = _Mine(folder, arrival)  # before anything is waited for, or others would have the place too
        try:
            await asyncio.to_thread(self._make, folder, removed)
        except BaseException:
            self.give_up(name)
            raise
        return name, folder

    def _make(self, folder: Path, removed: tuple[Path, ...]) -> None:
        for other in removed:
            remove_folder(other)
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)  # a system tidies its temporary folder up
        folder.mkdir(mode=0o700)

    def give_up(self, name: str) -> None:
        """Forget a place whose upload did not arrive, and what is left of it though it made room for another: Windows keeps what is open."""
        self._mine.pop(name, None)
        remove_folder(self._root / name)

    async def submit(self, name: str, request: FilmRequest) -> None:
        """Queue a film that has arrived as ``film`` in its folder. Raises Problem 503 where it made room for another at the last moment."""
        job = self._mine.get(name)
        if job is None:
            raise busy("The film came so slowly that it made room for another.", 30)
        job.arrival = None  # from now on it makes no room for others
        await asyncio.to_thread(_write_request, job.folder, request)
        job.task = self._keep(self._run(name))

    def state(self, name: str) -> JobAnswer:
        """Return what is known of a job of any worker. Raises Problem 404."""
        folder = self._folder(name)
        try:
            request = json.loads((folder / REQUEST).read_text(encoding="utf-8"))
            state = read_state(folder)
        except (OSError, ValueError):
            raise _unknown() from None
        if state["state"] not in _FINAL and not is_running(request["worker"]):
            lost = "The worker process that read this film has stopped; send the film again."
            state = {"state": "failed", "error": {"code": "worker_lost", "message": lost}}
        files = [kind for kind, (file, _) in RESULTS.items() if (folder / file).is_file()] if state["state"] == "done" else []
        return {**state, "id": name, "weights": request["weights_name"], "labels": request["labels_name"], "results": files}

    def result(self, name: str, kind: str) -> tuple[Path, str]:
        """Return the file of a result and its media type. Raises Problem 404, or 409 while there is none."""
        state = self.state(name)
        if kind not in RESULTS:
            raise Problem(404, "no_such_result", f"No result of a film has that name; expected one of {', '.join(RESULTS)}.")
        if kind not in state["results"]:
            if state["state"] == "done":
                why = "it was sent with copy=0, or its copy was left out, and the job's warning says why."
                raise Problem(404, "no_such_result", f"This film has no {kind}: {why}")
            if state["state"] == "failed":
                raise Problem(409, "not_ready", f"The film could not be read ({state['error']['code']}): {state['error']['message']}")
            raise Problem(409, "not_ready", f"The film is {state['state']}; ask again when its state is done.")
        file, media_type = RESULTS[kind]
        return self._folder(name) / file, media_type

    async def remove(self, name: str) -> None:
        """Stop a job of any worker, and remove all that belongs to it. Raises Problem 404."""
        folder, final = await asyncio.to_thread(self._stop, name)
        if final or name in self._mine:  # else its worker does, as soon as it looks
            await self._end(folder)

    async def _end(self, folder: Path) -> None:
        """Stop a job if it is of this worker, and remove it."""
        job = self._mine.pop(folder.name, None)
        if job is not None and job.task is not None:
            job.task.cancel()
            await asyncio.gather(job.task, return_exceptions=True)
        await asyncio.to_thread(remove_folder, folder)

    def _stop(self, name: str) -> tuple[Path, bool]:
        """Tell whoever has a job to end it; return its folder, and whether it has ended already. Raises Problem 404."""
        final = self.state(name)["state"] in _FINAL
        folder = self._folder(name)
        try:
            (folder / _STOP).touch()
        except FileNotFoundError:  # somebody else was quicker
            raise _unknown() from None
        with suppress(OSError):  # at once: at another worker its turn may come late
            (folder / FILM).unlink()
        return folder, final

    def _folder(self, name: str) -> Path:
        folder = self._root / name
        if not _ID.fullmatch(name) or not folder.is_dir() or (folder / _STOP).exists():
            raise _unknown()
        return folder

    def _keep(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _run(self, name: str) -> None:
        """Read one film when its turn comes, and see to it that the folder says how it ended."""
        folder = self._mine[name].folder
        try:
            async with self._turn:
                if not await asyncio.to_thread((folder / _STOP).exists):
                    await self._read(folder)
        except Exception:  # above all of the system: no more processes, no room
            if folder.is_dir():  # else it was removed as soon as it was done
                log.exception("a film could not be read")
                with suppress(OSError):  # of a full disk; then it stays as it was until it makes room
                    write_state(folder, {"state": "failed", "error": {"code": "internal", "message": _INTERNAL}})
        if await asyncio.to_thread(_tidied, folder):
            self._mine.pop(name, None)
        elif name in self._mine:
            self._mine[name].finished = True

    async def _read(self, folder: Path) -> None:
        with (folder / "log").open("wb") as said:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "ferkit.serve.film", str(folder)),
                env=os.environ | {"PYTHONPATH": search_path(sys.path)},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )
        until, ended = time.monotonic() + self._settings.job_seconds, False
        try:
            while True:
                with suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), _LOOK_S)
                    ended = True
                    break
                if await asyncio.to_thread((folder / _STOP).exists) or time.monotonic() > until:
                    break
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if (folder / _STOP).exists() or read_state(folder)["state"] in _FINAL:
            return
        if ended and process.returncode == -_KILLED:  # not by us
            code, why = "out_of_memory", "The system ended the reading, most likely for want of memory; send a film of fewer pixels."
        elif time.monotonic() > until:
            code, why = "too_long", f"Reading took longer than {self._settings.job_seconds:g} s; send a shorter film."
        else:
            code, why = "internal", _INTERNAL
            log.error("a film failed: %s", (folder / "log").read_text("utf-8", "replace")[-2000:])
        write_state(folder, {"state": "failed", "error": {"code": code, "message": why}})

    async def _sweep(self) -> None:
        """Remove what is older than it may be, of this worker and of those that died, and what others were asked to remove."""
        while True:
            await asyncio.sleep(_SWEEP_S)
            for folder in await asyncio.to_thread(self._expired):
                await self._end(folder)
            for folder in await asyncio.to_thread(_stopped, [job.folder for job in self._mine.values()]):
                await self._end(folder)

    def _expired(self) -> list[Path]:
        oldest = time.time() - self._settings.keep_job_seconds
        found = []
        with suppress(OSError):  # of all films: the system tidied its temporary folder up
            for folder in self._root.iterdir():
                with suppress(Problem, OSError):
                    if self.state(folder.name)["state"] in _FINAL and (folder / STATE).stat().st_mtime < oldest:
                        found.append(folder)
        return found


def _write_request(folder: Path, request: FilmRequest) -> None:
    (folder / REQUEST).write_text(json.dumps({**request, "worker": os.getpid()}), encoding="utf-8")
    write_state(folder, {"state": "waiting"})


def _stopped(folders: list[Path]) -> list[Path]:
    """Return the folders of jobs that were told to end."""
    return [folder for folder in folders if (folder / _STOP).exists()]


def _tidied(folder: Path) -> bool:
    """Remove a film that was read, or all of its job where that was told to end, which is returned."""
    with suppress(OSError):
        (folder / FILM).unlink()
    if not (folder / _STOP).exists():
        return False
    remove_folder(folder)
    return True


def _unknown() -> Problem:
    what = "No such job: it was removed, its time is over, or the service was started anew. Send the film again."
    return Problem(404, "no_such_job", what)
