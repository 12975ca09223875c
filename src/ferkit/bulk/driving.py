"""Driving a job: hand out what is missing, learn from deaths, stop when too much is wrong."""

from __future__ import annotations

import heapq
import json
import math
import signal
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from statistics import median
from typing import Any, Protocol

from ..errors import InputError
from ..orphans import ended
from .commit import done
from .job import Job
from .local import Answer, failed, stillborn
from .opening import difference
from .options import Options
from .records import Counts, Receipt, Task, Told
from .storage import Place

__all__ = ["Drive", "Hands", "Watch"]

_TRIES = 5  # of a shard whose pictures, or whose place, cannot be reached
_SURE = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE)  # of what a process did itself
_CAREFUL = 3  # deaths after which a shard is read without reading ahead
_SLOW = 2.0  # times as long as shards take, after which a shard is handed out a second time when there is nothing else to do
_SLOW_S = 10.0  # and no earlier than that: a copy costs what it costs
_FEW = 1000  # pictures before which a share of errors says little, unless a share was asked for
_SHARE = 0.05


class Watch(Protocol):
    """Is told how a job goes."""

    def start(self, shards: int, done: int, pictures: int | None) -> None: ...

    def receipt(self, receipt: Receipt) -> None: ...

    def note(self, text: str) -> None: ...


class Hand(Protocol):
    """A worker, or a task that waits for one: what it is at, and the picture that it spoke of last."""

    task: Task | None
    at: int | None

    def give(self, task: Task) -> None: ...


class Hands(Protocol):
    """An engine: workers that are handed shards' numbers, on this machine or on many."""

    @property
    def processes(self) -> Sequence[Hand]: ...

    def room(self) -> int: ...

    def add(self) -> Hand: ...

    def next(self, wait: float) -> Answer | None: ...

    def let_go(self, process: Any) -> None: ...


class Drive:
    """One run over a job's shards.

    Args:
        place, job, options: As everywhere.
        pool: The workers.
        watch: Is told of every receipt.
        before: Pictures, faces and errors of what was done before.
    """

    def __init__(self, place: Place, job: Job, options: Options, pool: Hands, watch: Watch, before: Counts) -> None:
        self._place, self._job, self._options, self._pool, self._watch = place, job, options, pool, watch
        self.images, self.faces, self.errors = before["images"], before["faces"], Counter(before["errors"])
        self.failed: dict[int, str] = {}
        self.stopped = False
        self._todo: list[tuple[float, int, Task]] = []  # not before, order, task
        self._left: dict[int, int] = {}  # group -> its shards that this run has yet to do
        self._deaths: dict[int, list[tuple[int | None, int, bool]]] = {}
        self._tries: Counter[int] = Counter()
        self._stillborn = 0
        self._rank = 0
        self._given: dict[int, float] = {}  # shard that is being done -> when it was handed out
        self._took: list[float] = []  # seconds from handing out to the answer

    def shards(self, numbers: Iterable[int]) -> None:
        """Do shards, and make a group's file as soon as its last part is there."""
        for shard in numbers:
            self._add(self._task(shard))
            group = self._job.group_number(shard)
            self._left[group] = self._left.get(group, 0) + 1
        if self._options.part is not None:
            self._left = {}
        self._run()

    def groups(self) -> None:
        """Make the files of all groups whose shards are all done."""
        shards, finished = done(self._place, self._job)
        for number, group in enumerate(self._job.groups):
            if number not in finished and all(shard in shards for shard in range(group["first"], group["last"] + 1)):
                self._add({"do": "compact", "group": number})
        self._run()

    def _add(self, task: Task, wait: float = 0.0) -> None:
        self._rank += 1
        heapq.heappush(self._todo, (time.monotonic() + wait if wait else 0.0, self._rank, task))

    def _task(self, shard: int) -> Task:
        known = (self._place.read_json(self._note(shard)) or {}) if self._noted(shard) else {}
        return {"do": "shard", "shard": shard, "skip": known, "ahead": len(self._deaths.get(shard, ())) < _CAREFUL}

    def _note(self, shard: int) -> str:
        return f"_ferkit/failed/{shard:07d}.json"

    def _noted(self, shard: int) -> bool:
        return f"{shard:07d}.json" in self._notes

    @cached_property
    def _notes(self) -> set[str]:
        return {found.name for found in self._place.list("_ferkit/failed")}

    def _run(self) -> None:
        while self._busy() or (self._todo and not self.stopped):
            self._hand_out()
            answer = self._pool.next(wait=0.5)
            if answer is not None:
                self._hear(answer)

    def _busy(self) -> bool:
        return any(process.task is not None for process in self._pool.processes)

    def _hand_out(self) -> None:
        if self.stopped:
            return
        while len(self._pool.processes) < min(self._pool.room(), len(self._todo) + self._working()):
            self._pool.add()
        for process in self._pool.processes:
            if process.task is None and self._todo and self._todo[0][0] <= time.monotonic():
                task = heapq.heappop(self._todo)[2]
                if "shard" in task:
                    self._given[task["shard"]] = time.monotonic()
                process.give(task)
        if not self._todo:
            self._hand_out_again()

    def _hand_out_again(self) -> None:
        """Give idle hands a copy of the slowest shard: its worker's disk, network or machine may be at fault. The first answer counts."""
        at = Counter(process.task["shard"] for process in self._pool.processes if process.task is not None and "shard" in process.task)
        patience = max(_SLOW_S, _SLOW * median(self._took)) if self._took else math.inf
        slow = [shard for shard, hands in at.items() if hands == 1 and time.monotonic() - self._given[shard] > patience]
        idle = [process for process in self._pool.processes if process.task is None]
        for shard, process in zip(sorted(slow, key=self._given.__getitem__), idle, strict=False):
            self._watch.note(f"shard {shard} takes long; another worker does it too")
            process.give(self._task(shard))

    def _others(self, shard: int) -> list[Hand]:
        """Return who else is at a shard: a copy of it."""
        return [process for process in self._pool.processes if process.task is not None and process.task.get("shard") == shard]

    def _working(self) -> int:
        return sum(process.task is not None and process.task.get("do") != "hello" for process in self._pool.processes)

    def _hear(self, answer: Answer) -> None:
        task = answer.task
        if task is None:
            return  # it was at nothing
        if answer.told is None:
            self._died(answer, task)
        elif task["do"] == "hello":
            self._greeted(answer.told)
        elif "failed" in answer.told:
            self._failed(answer.told, task)
        elif task["do"] == "shard":
            self._done(answer.told["done"], task["shard"])

    def _greeted(self, told: Told) -> None:
        if "failed" in told:
            raise failed(told)
        self._stillborn = 0
        other = difference(self._job.facts, told["done"]["facts"])
        if other:
            raise InputError(f"A worker differs from the job: {'; '.join(other)}. Install what the job was planned with on every machine.")

    def _done(self, receipt: Receipt, shard: int) -> None:
        self._took.append(time.monotonic() - self._given.pop(shard))
        for process in self._others(shard):
            self._pool.let_go(process)  # which must not put its part any more once the group's file is there
        self.images += receipt["images"]
        self.faces += receipt["faces"]
        self.errors.update(receipt["errors"])
        self._watch.receipt(receipt)
        share = self._options.max_error_rate
        few = min(_FEW, sum(one["pictures"] for one in self._job.generations)) if share is not None else _FEW
        wrong = sum(self.errors.values())
        if self.images >= few and wrong > self.images * (_SHARE if share is None else share):
            self.stopped = True
            self._watch.note(
                f"{wrong} of {self.images} pictures could not be read, more than the {_SHARE if share is None else share:g} allowed: stopped. "
                "What is done stays; look at its error rows, and run it again with a higher max_error_rate."
            )
        group = self._job.group_number(shard)
        if group in self._left:
            self._left[group] -= 1
            if self._left[group] == 0:
                self._add({"do": "compact", "group": group})

    def _failed(self, told: Told, task: Task) -> None:
        if told.get("usage"):
            raise failed(told)
        what = task.get("shard", -1 - task.get("group", 0))
        if self._others(what):
            return  # the other copy may come through
        self._tries[what] += 1
        if told["again"] and self._tries[what] < _TRIES:
            self._add(task, wait=min(30.0, 0.5 * 2 ** self._tries[what]))
        else:
            self.failed[what] = told["failed"]
            self._watch.note(f"{'shard ' + str(what) if what >= 0 else 'group ' + str(-1 - what)}: {told['failed']}")

    def _died(self, answer: Answer, task: Task) -> None:
        if task["do"] == "hello":
            self._stillborn += 1
            if self._stillborn >= _CAREFUL:
                raise stillborn(answer)
        elif task["do"] == "compact":
            self._failed({"failed": f"the process died ({ended(answer.code)})", "again": True}, task)
        elif "shard" in task:
            shard = task["shard"]
            self._watch.note(f"a worker died ({'it hung' if answer.hung else ended(answer.code)}); its shard {shard} is done again")
            deaths = self._deaths.setdefault(shard, [])
            deaths.append((answer.process.at, answer.code or 0, answer.hung))
            self._judge(shard, deaths)
            if self._others(shard):
                return
            # A death that no picture explains is an outside kill or a lost machine: tried again for ever, ever more slowly.
            self._add(self._task(shard), wait=min(60.0, 0.1 * 2 ** len(deaths)) if len(deaths) > 1 else 0.0)

    def _judge(self, shard: int, deaths: list[tuple[int | None, int, bool]]) -> None:
        """Leave a picture out at which processes died again and again; one death, or an outside kill, is no proof."""
        at, code, hung = deaths[-1]
        same = sum(1 for other, _, _ in deaths if other == at)
        if at is None or same < (2 if hung or -code in _SURE else 3):
            return
        said = (
            ("timeout", f"no answer within {self._options.timeout:g} s, each time.")
            if hung
            else ("crash", f"the process died of it ({ended(code)}), each time.")
        )
        known = self._task(shard)["skip"] | {str(at): said}
        self._place.put(self._note(shard), json.dumps(known).encode())
        self._notes.add(f"{shard:07d}.json")
