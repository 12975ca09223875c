"""What stores do to requests: refuse them for a while, lack an object, die half way; and what a lock makes of its holders."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ferkit import InputError
from ferkit.bulk import listing, node, storage, work
from ferkit.bulk.columns import Rows
from ferkit.bulk.job import Job
from ferkit.bulk.listing import listed_keys
from ferkit.bulk.local import Process
from ferkit.bulk.lock import Lock
from ferkit.bulk.node import unpacked
from ferkit.bulk.plan import Unit
from ferkit.bulk.reading import items
from ferkit.bulk.storage import Place, StoreError, patiently


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits between tries, which cost nothing here."""
    slept: list[float] = []
    monkeypatch.setattr(storage.time, "sleep", slept.append)
    return slept


def refusing(times: int, error: Exception, calls: list[int]) -> Any:
    def action() -> str:
        calls.append(1)
        if len(calls) <= times:
            raise error
        return "answer"

    return action


@pytest.mark.parametrize(("refusals", "answered"), [(0, True), (4, True), (5, False)])
def test_a_request_is_made_five_times(refusals: int, answered: bool, waits: list[float]) -> None:
    calls: list[int] = []
    action = refusing(refusals, OSError("AWS Error SLOW_DOWN"), calls)
    if answered:
        assert patiently(action) == "answer"
        assert waits == sorted(waits)
    else:
        with pytest.raises(OSError, match="SLOW_DOWN"):
            patiently(action)
    assert len(calls) == min(refusals + 1, 5)


class Answered(Exception):
    """As the libraries that fsspec goes through have them: no OSError, and with a status."""

    def __init__(self, status: int | None) -> None:
        super().__init__(f"answered {status}")
        self.status = status


@pytest.mark.parametrize(("status", "tries"), [(None, 5), (500, 5), (503, 5), (429, 5), (403, 1), (410, 1)])
def test_whatever_a_store_raises_is_an_oserror_and_tried_again_if_it_may_pass(status: int | None, tries: int) -> None:
    calls: list[int] = []
    with pytest.raises(OSError, match=f"Answered: answered {status}"):
        patiently(refusing(9, Answered(status), calls))
    assert len(calls) == tries
    calls.clear()
    if tries > 1:
        assert patiently(refusing(2, Answered(status), calls)) == "answer"


def test_a_picture_that_a_web_server_refuses_costs_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec = pytest.importorskip("fsspec")
    store = fsspec.filesystem("memory")
    store.pipe({"/web/a.jpg": b"0123456789", "/web/b.jpg": b"0123456789"})
    whole = type(store)._open

    def refused(self: Any, path: str, *more: Any, **options: Any) -> Any:
        if path.endswith("b.jpg"):
            raise Answered(403)
        return whole(self, path, *more, **options)

    monkeypatch.setattr(type(store), "_open", refused)
    units = [Unit("images", f"memory:///web/{name}.jpg", 10, 0, -1, -1) for name in "aba"]
    found = list(items(units, ""))
    assert [item.kind for item in found] == [None, "io", None]
    assert "Answered: answered 403" in found[1].error


class Dropped(Exception):
    """As of aiohttp: no OSError."""


@pytest.mark.parametrize("form", ["parquet", "tar", "keys"])
@pytest.mark.parametrize("drops", [1, 99])
def test_a_store_that_breaks_off_in_a_file_is_the_stores_fault(
    form: str, drops: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    """Of those that go through fsspec; opening them is not all that may fail."""
    pa = pytest.importorskip("pyarrow")
    memory = pytest.importorskip("fsspec.implementations.memory")
    import pyarrow.parquet as pq

    pixels = random.Random(0).randbytes(200_000)
    if form == "parquet":
        pq.write_table(pa.table({"image": [pixels] * 3}), tmp_path / "file", compression="none")
    elif form == "tar":
        with tarfile.open(tmp_path / "file", "w") as tar:
            for number in range(3):
                info = tarfile.TarInfo(f"{number}.jpg")
                info.size = len(pixels)
                tar.addfile(info, io.BytesIO(pixels))
    else:
        (tmp_path / "file").write_text("\n".join(f"{number:0200d}.jpg" for number in range(3000)))
    data = (tmp_path / "file").read_bytes()
    memory.MemoryFileSystem().pipe(f"/{form}", data)
    read, left = memory.MemoryFile.read, [drops]

    def dropping(self: Any, size: int = -1) -> bytes:
        if self.tell() > 100_000 and left[0]:
            left[0] -= 1
            raise Dropped("connection lost")
        return read(self, size)

    monkeypatch.setattr(memory.MemoryFile, "read", dropping, raising=False)

    def found() -> int:
        if form == "keys":
            return len(list(listed_keys(f"memory://{form}", "images")))
        return len([item for item in items([Unit(form, f"memory://{form}", len(data), 0, -1, -1)], "", ahead=False) if item.data == pixels])

    if drops == 1:
        assert found() == (3000 if form == "keys" else 3)
        assert len(waits) == 1
    else:
        with pytest.raises(InputError if form == "keys" else OSError, match="Dropped: connection lost"):
            found()


def test_a_hub_that_does_not_answer_is_told_as_a_place_that_cannot_be_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    down = refusing(9, Answered(503), [])
    monkeypatch.setattr(listing, "_pinned", lambda _: down())
    with pytest.raises(InputError, match="hf://datasets/a/b cannot be listed: Answered: answered 503"):
        list(listing.listed(["hf://datasets/a/b"], "auto", Counter()))


def test_what_is_not_there_is_not_asked_for_again(waits: list[float]) -> None:
    calls: list[int] = []
    with pytest.raises(FileNotFoundError):
        patiently(refusing(9, FileNotFoundError("no key"), calls))
    assert (len(calls), waits) == (1, [])


def test_a_put_that_dies_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(str(tmp_path))
    place.put("a/b", b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage.os, "fsync", full)
    with pytest.raises(StoreError, match=r"a/b cannot be written: .*No space left"):
        place.put("a/b", b"new and longer")
    with pytest.raises(StoreError, match=r"a/c cannot be written: .*No space left"):
        place.put_new("a/c", b"new")
    assert place.read("a/b") == b"old"
    assert place.list("_ferkit/tmp") == []


def test_an_object_that_is_deleted_while_they_are_listed_costs_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(str(tmp_path))
    for name in "abc":
        place.put(name, b"")
    scan = os.scandir

    class Gone:
        """A folder of which the first entry is gone before it is looked at."""

        def __init__(self, folder: Path) -> None:
            self._entries = sorted(scan(folder), key=lambda entry: entry.name)

        def __enter__(self) -> list[os.DirEntry[str]]:
            place.delete(self._entries[1].name)  # the first is the folder _ferkit
            return self._entries

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(storage.os, "scandir", Gone)
    assert [found.name for found in place.list()] == ["b", "c"]


def test_only_one_of_two_puts_a_new_object(tmp_path: Path) -> None:
    place = Place(str(tmp_path))
    assert [place.put_new("x", data) for data in (b"first", b"second")] == [True, False]
    assert place.read("x") == b"first"
    assert place.list("_ferkit/tmp") == []


def test_ten_unreachable_pictures_in_a_row_are_the_stores_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def down(key: str, base: str) -> tuple[bytes, int]:
        raise OSError("AWS Error NETWORK_CONNECTION")

    monkeypatch.setattr("ferkit.bulk.reading.read", down)
    units = [Unit("images", f"s3://bucket/{n}.jpg", 10, 0, -1, -1) for n in range(20)]
    with pytest.raises(StoreError, match="And so were the 9 before it"):
        list(items(units, "", ahead=False))


def test_one_unreachable_picture_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def flaky(key: str, base: str) -> tuple[bytes, int]:
        if key.endswith("3.jpg"):
            raise OSError("AWS Error INTERNAL_FAILURE")
        return b"0123456789", 0

    monkeypatch.setattr("ferkit.bulk.reading.read", flaky)
    units = [Unit("images", f"s3://bucket/{n}.jpg", 10, 0, -1, -1) for n in range(20)]
    assert [item.kind for item in items(units, "")] == [None] * 3 + ["io"] + [None] * 9 + ["io"] + [None] * 6


@pytest.mark.parametrize(("there", "kind"), [(False, "io"), (True, "damaged")])
def test_a_film_that_the_store_does_not_give_is_not_damaged(
    there: bool, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else nobody would try it again: --retry-errors does what could not be reached, and leaves what is damaged."""

    def down(key: str, base: str) -> Any:
        raise OSError("AWS Error NETWORK_CONNECTION")

    monkeypatch.setattr(work, "open_input", down)
    monkeypatch.setattr(work, "read_whole", lambda key, base: there)
    rows = Rows(("happy",), 0, video=True)
    job = Job([], str(tmp_path), {"fps": None, "every": None}, {}, ["happy"], video=True)
    work._film(rows, Unit("video", "s3://bucket/a.mp4", 10, 0, -1, -1), job, None, {}, lambda _: None)  # type: ignore[arg-type]
    assert rows.errors == {kind: 1}


def test_a_film_of_an_address_that_there_is_not_is_a_row(tmp_path: Path) -> None:
    """As of pictures: else its shard failed with every run, and the job never came to an end."""
    pytest.importorskip("fsspec")
    rows = Rows(("happy",), 0, video=True)
    job = Job([], str(tmp_path), {"fps": None, "every": None}, {}, ["happy"], video=True)
    work._film(rows, Unit("video", "nowhere://bucket/a.mp4", 10, 0, -1, -1), job, None, {}, lambda _: None)  # type: ignore[arg-type]
    assert rows.errors == {"not_found": 1}
    assert rows.table()["error"].to_pylist()[0].startswith("nowhere://bucket/a.mp4: nowhere://: ")


def test_a_fault_of_the_pipeline_is_a_films_row_too(tmp_path: Path) -> None:
    class Faulty:
        def video(self, path: str, **_: object) -> Any:
            raise ZeroDivisionError("a fault of the pipeline")

    rows = Rows(("happy",), 0, video=True)
    job = Job([], str(tmp_path), {"fps": None, "every": None}, {}, ["happy"], video=True)
    work._film(rows, Unit("video", "a.mp4", 10, 0, -1, -1), job, Faulty(), {}, lambda _: None)  # type: ignore[arg-type]
    assert rows.errors == {"crash": 1}
    assert rows.table()["error"].to_pylist() == ["a.mp4: ZeroDivisionError: a fault of the pipeline"]


def hold(place: Place, host: str, pid: int, age: float) -> None:
    place.put("_ferkit/lock", json.dumps({"host": host, "pid": pid, "beat": time.time() - age}).encode())


def test_a_lock_is_held_by_the_living(tmp_path: Path) -> None:
    place = Place(str(tmp_path))
    for host, pid, age in ((socket.gethostname(), os.getpid(), 1e6), ("elsewhere", 1, 30)):
        hold(place, host, pid, age)
        with pytest.raises(InputError, match=f"worked on by process {pid} on {host}"), Lock(place):
            pass
        with Lock(place, steal=True):
            pass
    for host, pid, age in ((socket.gethostname(), 2**22 + 1, 0), ("elsewhere", 1, 100)):
        hold(place, host, pid, age)
        with Lock(place):
            assert place.read("_ferkit/lock")
        assert place.read("_ferkit/lock") is None


def test_parts_run_beside_one_another_each_once(tmp_path: Path) -> None:
    place = Place(str(tmp_path))
    with Lock(place, (1, 3)), Lock(place, (2, 3)):
        for part in ((1, 3), None):
            with pytest.raises(InputError, match="worked on"), Lock(place, part):
                pass


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no signals, and Ray's nodes are no Windows")
def test_a_node_ends_the_workers_of_an_earlier_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "_POOLS", {})
    start = {"place": "", "options": {}, "memory": None, "timeout": 300, "instead": {}}
    first = node._pool(json.dumps(start))
    assert node._pool(json.dumps(start)) is first
    pipe = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    first.processes.append(Process(pipe))
    assert node._pool(json.dumps({**start, "timeout": 4})) is not first
    assert pipe.returncode == -signal.SIGKILL
    assert len(node._POOLS) == 1


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="needs users as POSIX has them")
@pytest.mark.parametrize("there", ["nothing", "open", "another's", "link", "file"])
def test_weights_are_unpacked_where_nobody_else_can_write(there: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    guessed = tmp_path / f"ferkit-{os.getuid()}-abc"
    if there in ("open", "another's"):
        guessed.mkdir()
        guessed.chmod(0o777)
    elif there == "link":
        (tmp_path / "theirs").mkdir()
        guessed.symlink_to(tmp_path / "theirs")
    elif there == "file":
        guessed.write_text("")
    if there == "another's":
        uid = os.getuid()
        monkeypatch.setattr("ferkit.bulk.node.os.getuid", lambda: uid + 1)
        guessed = guessed.rename(tmp_path / f"ferkit-{uid + 1}-abc")
    folder = Path(unpacked("abc", {"sub/a": b"1", "b": b"2"}))
    assert (folder == guessed) == (there in ("nothing", "open"))
    assert folder.stat().st_mode & 0o777 == 0o700
    assert ((folder / "sub" / "a").read_bytes(), (folder / "b").read_bytes()) == (b"1", b"2")
    assert not (tmp_path / "theirs").exists() or not list((tmp_path / "theirs").iterdir())
