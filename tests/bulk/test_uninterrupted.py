"""What must be whole is not interrupted by a signal that stops a run: it waits."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

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
