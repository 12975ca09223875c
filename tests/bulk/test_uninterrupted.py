"""What must be whole is not interrupted by a signal that stops a run: it waits."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ferkit.bulk.local import Pool, Process
from ferkit.bulk.lock import Lock, locks
from ferkit.bulk.stops import uninterrupted
from ferkit.bulk.storage import Place

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sends signals as POSIX does")


@pytest.fixture(autouse=True)
def interrupts_as_at_a_terminal() -> Iterator[None]:
    """A shell starts what runs behind it with SIGINT ignored, and Python leaves it so; the tests are about a run that can be stopped."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("blocks", [1, 2])
def test_a_signal_waits_for_the_end_of_the_outermost_block(blocks: int) -> None:
    done = []

    def work(inner: int) -> None:
        with uninterrupted():
            if inner:
                work(inner - 1)
            else:
                signal.raise_signal(signal.SIGINT)
            done.append("whole")

    with pytest.raises(KeyboardInterrupt):
        work(blocks - 1)
    assert done == ["whole"] * blocks
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_another_thread_has_nothing_to_wait_for() -> None:
    done = []

    def work() -> None:
        with uninterrupted():
            done.append("whole")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == ["whole"]


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pool]:
    """A pool of a worker that does not end when it is killed, as while it waits for a network's disk that is gone."""
    pool = Pool("", {}, None, 300)
    pipe = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    kill = pipe.kill
    monkeypatch.setattr(pipe, "kill", lambda: None)
    pool.processes.append(Process(pipe))
    yield pool
    monkeypatch.undo()
    kill()
    assert Process(pipe).end() == -signal.SIGKILL


def test_a_worker_that_does_not_end_is_not_waited_for(stuck: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ferkit.bulk.local._END_S", 0.1)
    with stuck:
        pass
    stuck.let_go(stuck.processes[0])
    assert not stuck.processes


def test_waiting_for_a_worker_to_end_can_be_stopped(stuck: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ferkit.bulk.local._END_S", 60.0)
    timer = threading.Timer(0.2, signal.raise_signal, [signal.SIGINT])
    with pytest.raises(KeyboardInterrupt), stuck:
        timer.start()
    timer.join()


def test_a_worker_that_hangs_and_does_not_end_loses_its_task(stuck: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ferkit.bulk.local._END_S", 0.1)
    monkeypatch.setattr(stuck, "_timeout", 0.1)
    process = stuck.processes[0]
    process.task, process.heard = {"do": "shard", "shard": 3}, time.monotonic()
    while (answer := stuck.next(0.05)) is None:
        assert time.monotonic() - process.heard < 60
    assert (answer.task, answer.hung, answer.code) == ({"do": "shard", "shard": 3}, True, None)
    assert not stuck.processes


def test_a_lock_that_a_signal_meets_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(str(tmp_path))
    put_new = Place.put_new

    def met(self: Place, name: str, data: bytes) -> bool:
        made = put_new(self, name, data)
        signal.raise_signal(signal.SIGINT)
        return made

    monkeypatch.setattr(Place, "put_new", met)
    with pytest.raises(KeyboardInterrupt):
        Lock(place).__enter__()
    assert not locks(place)
