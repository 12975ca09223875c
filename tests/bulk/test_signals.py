"""Stopping ``ferkit batch`` by a signal, whenever it comes: exit code 130, its sentence, no lock left, and the next run goes on."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import ferkit

from ..helpers.jobs import SLOW, Driver, digests

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="sends signals as Linux does")]

Start = Callable[..., Driver]


def loads_pandas(pid: int) -> bool:
    """Whether a process is in the middle of what pyarrow imports with its first array, or past it."""
    return "pandas/_libs" in Path(f"/proc/{pid}/maps").read_text()


@pytest.fixture(autouse=True)
def terminal() -> Iterator[None]:
    """Have drivers hear of a terminal that is gone, though these tests may run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture(scope="module")
def calm(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    output = tmp_path_factory.mktemp("calm") / "out"
    ferkit.batch(pictures / "d0", output, pipeline=SLOW, shard_images=30, workers=1)
    return digests(output)


@pytest.mark.parametrize(
    ("when", "name"),
    [("imports", "SIGINT"), ("imports", "SIGTERM"), ("lock", "SIGHUP"), ("plan", "SIGINT"), ("parts", "SIGTERM"), ("parts", "SIGHUP")],
)
def test_a_signal_stops_it_in_every_phase(
    when: str, name: str, pictures: Path, calm: dict[str, str], tmp_path: Path, drivers: Start
) -> None:
    output = tmp_path / "out"
    driver = drivers(pictures / "d0", output, "--pipeline", SLOW, "--shard-images", "30", "--workers", "2")
    phases: dict[str, Callable[[], object]] = {
        "imports": lambda: loads_pandas(driver.process.pid),
        "lock": (output / "_ferkit" / "lock").exists,
        "plan": (output / "_ferkit" / "plan").exists,
        "parts": (output / "_ferkit" / "parts").exists,
    }
    if when == "imports":
        pytest.importorskip("pandas", reason="nothing that pyarrow looks for is installed")
    driver.wait_for(phases[when])
    os.kill(driver.process.pid, getattr(signal, name))
    code, _, err = driver.end()
    assert code == 130, err
    assert err.rstrip().endswith("ferkit: stopped; what is done stays. Type the same command to go on."), err
    assert "Traceback" not in err
    assert not list((output / "_ferkit").glob("lock*"))
    assert ferkit.batch(pictures / "d0", output, pipeline=SLOW, shard_images=30, workers=1).state == "done"
    assert digests(output) == calm


def test_a_terminal_that_is_gone_stops_nothing_that_nohup_started(pictures: Path, tmp_path: Path, drivers: Start) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does; children inherit it
    try:
        driver = drivers(pictures / "d0", tmp_path / "out", "--pipeline", SLOW, "--workers", "1", "--shard-images", "30")
    finally:
        signal.signal(signal.SIGHUP, before)
    driver.wait_for((tmp_path / "out" / "_ferkit" / "plan").exists)
    os.killpg(driver.process.pid, signal.SIGHUP)
    time.sleep(0.1)
    assert driver.end()[0] == 0
