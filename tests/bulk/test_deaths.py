"""What dies: a worker, the driver, everything at random; and pictures that kill, eat or hang whatever reads them."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import ferkit
from ferkit import InputError

from ..helpers.jobs import SLOW, Driver, digests, receipts, rows_of, running

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="ends processes as Linux does")

HOW = ("--pipeline", SLOW, "--shard-images", "30", "--workers", "2")
Start = Callable[..., Driver]


@pytest.fixture(scope="module")
def undisturbed(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    output = tmp_path_factory.mktemp("undisturbed") / "out"
    ferkit.batch(pictures, output, pipeline=SLOW, shard_images=30, workers=2)
    assert len({one["pid"] for one in receipts(output)}) == 2
    return digests(output)


def parts(output: Path) -> list[Path]:
    return [path for path in (output / "_ferkit" / "parts").rglob("part-*") if path.is_file()]


def whole(output: Path, undisturbed: dict[str, str]) -> None:
    """Check that a job's files are those of an undisturbed one, and that nothing is left over."""
    assert digests(output) == undisturbed
    assert Counter(row["image"] for row in rows_of(output) if row["face"] in (None, 0)).most_common(1)[0][1] == 1
    assert not parts(output)
    assert not list((output / "_ferkit").glob("lock*"))
    assert not list((output / "_ferkit").glob("tmp/*"))


def test_the_death_of_a_worker_costs_its_shard_alone(pictures: Path, undisturbed: dict[str, str], tmp_path: Path, drivers: Start) -> None:
    driver = drivers(pictures, tmp_path / "out", *HOW)
    driver.wait_for(lambda: len(parts(tmp_path / "out")) >= 2)
    victim = driver.children()[0]
    os.kill(victim, signal.SIGKILL)
    code, out, err = driver.end()
    assert (code, err.count("a worker died (SIGKILL)")) == (0, 1)
    whole(tmp_path / "out", undisturbed)
    assert out.count('"seconds": ') == 8 + 1  # a receipt a shard, and the report: nobody else's shard was done again
    assert len({one["pid"] for one in receipts(tmp_path / "out")}) == 3


def test_nothing_outlives_the_driver_and_the_next_one_goes_on(
    pictures: Path, undisturbed: dict[str, str], tmp_path: Path, drivers: Start
) -> None:
    driver = drivers(pictures, tmp_path / "out", *HOW)
    driver.wait_for(lambda: len(parts(tmp_path / "out")) >= 3)
    workers = driver.children()
    assert len(workers) == 2
    driver.process.kill()
    driver.process.wait()
    end = time.monotonic() + 3
    while any(map(running, workers)):
        assert time.monotonic() < end, "workers outlived their driver"
        time.sleep(0.02)
    kept = {path: path.stat().st_mtime_ns for path in parts(tmp_path / "out")}
    second = drivers(pictures, tmp_path / "out", *HOW)
    code, out, _ = second.end()
    assert code == 0
    assert out.count('"pid": ') == 8 - len(kept)
    whole(tmp_path / "out", undisturbed)


def test_a_worker_that_hangs_does_not_outlive_the_driver_either(
    pictures: Path, tmp_path: Path, drivers: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that says nothing never notices that nobody listens."""
    poison = min(pictures.rglob("*.jpg"))
    monkeypatch.setenv("FERKIT_TEST_POISON", f"{hashlib.sha256(poison.read_bytes()).hexdigest()} sleep")
    options = ("--pipeline", "tests.bulk.models:Poisoned", "--shard-images", "60", "--workers", "2")
    driver = drivers(pictures, tmp_path / "out", *options)
    driver.wait_for(lambda: len(parts(tmp_path / "out")) >= 3)  # all but the one that hangs
    workers = driver.children()
    driver.process.kill()
    driver.process.wait()
    end = time.monotonic() + 3
    while any(map(running, workers)):
        assert time.monotonic() < end, "a worker outlived its driver"
        time.sleep(0.02)


def test_the_end_of_the_input_ends_a_worker_too(pictures: Path, tmp_path: Path, drivers: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel does not end it: a worker told that its driver is another process believes it gone."""
    from ferkit.bulk.local import Pool
    from ferkit.bulk.options import Options

    with Pool(str(tmp_path / "out"), Options(pipeline=SLOW).identity(), None, 60) as pool:
        process = pool.add()
        assert pool.next(wait=60) is not None
        assert process.pipe.stdin is not None
        process.pipe.stdin.close()
        assert process.pipe.wait(timeout=10) == 0


@pytest.mark.slow
def test_random_deaths_for_a_while(pictures: Path, undisturbed: dict[str, str], tmp_path: Path, drivers: Start) -> None:
    """Of workers, the driver and the whole group, until it is done; then the bytes are those of an undisturbed run."""
    chance, deaths = random.Random(4), Counter()
    end = time.monotonic() + 60
    driver = drivers(pictures, tmp_path / "out", *HOW)
    while driver.process.poll() is None:
        time.sleep(2 + chance.random() * 3)
        if driver.process.poll() is not None or time.monotonic() > end:
            break
        what = chance.choice(["worker", "worker", "driver", "group"])
        deaths[what] += 1
        if what == "worker":
            for victim in driver.children()[:1]:
                os.kill(victim, signal.SIGKILL)
        else:
            (os.killpg if what == "group" else os.kill)(driver.process.pid, signal.SIGKILL)
            driver.process.communicate()
            driver = drivers(pictures, tmp_path / "out", *HOW)
    code, _, err = driver.end()
    assert (code, deaths.total() > 0) == (0, True), (err, deaths)
    whole(tmp_path / "out", undisturbed)


@pytest.mark.parametrize(
    ("how", "kind", "said"),
    [
        ("segfault", "crash", "SIGSEGV"),
        ("abort", "crash", "SIGABRT"),
        ("eat", "crash", "SIGSEGV"),
        ("ask", "crash", "SIGABRT"),
        ("sleep", "timeout", "within 4 s"),
    ],
)
def test_a_picture_that_kills_is_one_row(
    how: str, kind: str, said: str, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison = sorted(pictures.rglob("*.jpg"))[100]
    monkeypatch.setenv("FERKIT_TEST_POISON", f"{hashlib.sha256(poison.read_bytes()).hexdigest()} {how}")
    options = {"pipeline": "tests.bulk.models:Poisoned", "shard_images": 60, "workers": 2, "timeout": 4, "memory": 2}
    report = ferkit.batch(pictures, tmp_path / "out", **options)
    rows = rows_of(tmp_path / "out")
    assert len({row["image"] for row in rows}) == 240
    (wrong,) = [row for row in rows if row["error_kind"]]
    assert (wrong["image"], wrong["error_kind"]) == (str(poison), kind)
    assert said in wrong["error"]
    assert (report.state, report.errors, report.exit_code) == ("done", {kind: 1}, 1)
    assert not (tmp_path / "out" / "_ferkit" / "failed").exists()


def test_a_picture_that_a_killed_process_was_at_is_not_blamed(
    pictures: Path, undisturbed: dict[str, str], tmp_path: Path, drivers: Start
) -> None:
    """Two outside kills, at whatever pictures: no row says crash."""
    driver = drivers(pictures, tmp_path / "out", *HOW)
    for wanted in (1, 3):
        driver.wait_for(lambda wanted=wanted: len(parts(tmp_path / "out")) >= wanted)
        os.kill(driver.children()[0], signal.SIGKILL)
    assert driver.end()[0] == 0
    whole(tmp_path / "out", undisturbed)


def test_a_slow_shard_is_handed_out_twice_and_counts_once(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its worker hangs, long before its time is up: an idle one does the shard too, the first answer counts, and the other one ends."""
    folder = tmp_path / "in"
    shutil.copytree(pictures / "d0", folder)
    Image.new("RGB", (11, 9)).save(folder / "0010x.jpg")
    monkeypatch.setenv("FERKIT_TEST_STUCK", str(tmp_path / "stuck"))
    monkeypatch.setattr("ferkit.bulk.driving._SLOW_S", 0.5)
    notes: list[str] = []
    told: list[dict[str, Any]] = []
    monkeypatch.setattr("ferkit.bulk.running.Quiet.note", lambda _, text: notes.append(text))
    monkeypatch.setattr("ferkit.bulk.running.Quiet.receipt", lambda _, receipt: told.append(receipt))
    report = ferkit.batch(folder, tmp_path / "out", pipeline="tests.bulk.models:Stuck", shard_images=10, workers=2)
    assert (report.state, report.images, report.errors, len(told)) == ("done", 61, {}, 7)
    assert notes == ["shard 0 takes long; another worker does it too"]
    assert {one["pid"] for one in told} == {one["pid"] for one in receipts(tmp_path / "out")}
    assert len({one["pid"] for one in told}) == 1, "the one that hangs put a part"
    undisturbed = ferkit.batch(folder, tmp_path / "calm", pipeline="tests.bulk.models:Stuck", shard_images=10, workers=1)
    assert digests(tmp_path / "out") == digests(tmp_path / "calm")
    assert undisturbed.images == 61
    assert not parts(tmp_path / "out")


def test_a_second_run_in_the_same_place_is_refused(pictures: Path, tmp_path: Path, drivers: Start) -> None:
    driver = drivers(pictures, tmp_path / "out", *HOW)
    driver.wait_for(lambda: len(parts(tmp_path / "out")) >= 1)
    with pytest.raises(InputError, match=f"worked on by process {driver.process.pid}"):
        ferkit.batch(pictures, tmp_path / "out", pipeline=SLOW, shard_images=30)
    driver.process.kill()
    driver.process.wait()
    report = ferkit.batch(pictures, tmp_path / "out", pipeline=SLOW, shard_images=30)  # a dead holder holds nothing
    assert report.state == "done", report


def test_control_c_keeps_what_is_done(pictures: Path, undisturbed: dict[str, str], tmp_path: Path, drivers: Start) -> None:
    driver = drivers(pictures, tmp_path / "out", *HOW)
    driver.wait_for(lambda: len(parts(tmp_path / "out")) >= 2)
    driver.process.send_signal(signal.SIGINT)
    code, _, err = driver.end()
    assert code == 130
    assert "to go on" in err
    assert drivers(pictures, tmp_path / "out", *HOW).end()[0] == 0
    whole(tmp_path / "out", undisturbed)
