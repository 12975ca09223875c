"""A job that is stopped between any two changes of its place goes on, and one that is changed twice before it does forgets nothing."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

import ferkit
from ferkit import DataError
from ferkit.bulk import updating
from ferkit.bulk.commit import clean, compact, done, manifest, part_name, receipts
from ferkit.bulk.job import Job
from ferkit.bulk.plan import units
from ferkit.bulk.status import status
from ferkit.bulk.storage import Place

from ..helpers.jobs import QUICK, digests, rows_of
from ..helpers.jobs import receipts as stages

HOW: dict[str, Any] = {"pipeline": QUICK, "shard_images": 20, "workers": 1}


class Stopped(BaseException):
    """The process is gone."""


@pytest.fixture(scope="module")
def staged(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job of three shards whose parts are all there, and nothing else."""
    output = tmp_path_factory.mktemp("staged") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ferkit.bulk.driving.Drive._done", lambda *_: None)  # which would have the parts made into a file
        patch.setattr("ferkit.bulk.driving.Drive.groups", lambda *_: None)
        ferkit.batch(pictures / "d0", output, **HOW)
    return output


def opened(output: Path) -> tuple[Place, Job]:
    place = Place(str(output))
    job = Job.read(place)
    assert job is not None
    return place, job


def finish(output: Path) -> None:
    """Do what a driver does once no shard is missing."""
    place, job = opened(output)
    shards, groups = done(place, job)
    assert shards == set(range(job.shards))
    for number in set(range(len(job.groups))) - groups:
        compact(place, job, number)
    clean(place, job)
    manifest(place, job)


def stop(patch: pytest.MonkeyPatch, number: int) -> None:
    """Stop before the so-manieth change."""
    changes: list[str] = []
    for name in ("put", "delete"):
        method = getattr(Place, name)

        def changed(self: Place, what: str, *more: Any, method: Any = method) -> None:
            changes.append(what)
            if len(changes) == number:
                raise Stopped
            method(self, what, *more)

        patch.setattr(Place, name, changed)


def test_wherever_it_is_stopped_it_comes_to_the_same_files(staged: Path, tmp_path: Path) -> None:
    shutil.copytree(staged, tmp_path / "calm")
    finish(tmp_path / "calm")
    number = 0
    while True:
        number += 1
        output = tmp_path / str(number)
        shutil.copytree(staged, output)
        with pytest.MonkeyPatch.context() as patch:
            stop(patch, number)
            try:
                finish(output)
                break
            except Stopped:
                assert not (output / "_manifest.json").exists()
        finish(output)
        assert digests(output) == digests(tmp_path / "calm"), f"stopped before change {number}"
        assert not [path for path in (output / "_ferkit" / "parts").rglob("*") if path.is_file()]
    assert number > 7  # receipts, the file, the note, three parts, the manifest


def test_a_plan_that_is_gone_is_told_as_such(staged: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    shutil.copytree(staged, output)
    place, job = opened(output)
    (output / job.groups[0]["plan"]).unlink()
    with pytest.raises(DataError, match="is missing; the plan is damaged"):
        units(place, job.groups[0]["plan"], 0)


def test_numbers_of_shards_that_outgrow_their_names(tmp_path: Path) -> None:
    """One picture a shard, ten million of them: parts have names of seven digits, and then of eight."""
    edges = [(0, 9_999_999), (10_000_000, 10_000_002), (10_000_003, 10_000_003)]
    job = Job([], "", {}, {}, [], video=False)
    job.groups.extend({"plan": "", "first": first, "last": last, "file": f"rows-{first}.parquet"} for first, last in edges)
    assert [job.group_number(shard) for shard in (0, 9_999_999, 10_000_000, 10_000_002, 10_000_003)] == [0, 0, 1, 1, 2]
    place = Place(str(tmp_path))
    for shard in (9_999_999, 10_000_001):
        place.put(part_name(job, shard), b"")
    assert done(place, job) == ({9_999_999, 10_000_001}, set())


@pytest.fixture
def again(staged: Path, tmp_path: Path) -> Path:
    """A finished job of which one shard is noted to be done again."""
    output = tmp_path / "again"
    shutil.copytree(staged, output)
    finish(output)
    updating.again(*opened(output), [1])
    return output


def test_what_is_done_again_twice_is_done_once_more(again: Path, staged: Path) -> None:
    """And what was noted before, and not done yet, is not forgotten, nor told wrongly meanwhile."""
    place, job = opened(again)
    assert done(place, job) == ({0, 2}, set())
    assert (status(str(again))["state"], status(str(again))["done"], status(str(again))["images"]) == ("stopped", 2, 40)
    assert sorted(one["shard"] for one in receipts(place, job, set())) == [0, 2]
    updating.again(place, job, [2])
    assert done(place, job) == ({0}, set())
    for shard in (1, 2):
        name = f"_ferkit/parts/0000/part-{shard:07d}.parquet"
        place.put(name, (staged / name).read_bytes())
    before = rows_of(again)
    finish(again)
    assert rows_of(again) == before
    assert sorted(one["shard"] for one in stages(again)) == [0, 1, 2]


def test_errors_are_tried_again_while_others_wait(pictures: Path, tmp_path: Path) -> None:
    """An update that was noted and not done, and then both at once: what is gone stays as it is told, what came has its rows."""
    folder, output = tmp_path / "in", tmp_path / "out"
    shutil.copytree(pictures / "d0", folder)
    names = sorted(folder.glob("*.jpg"))
    ferkit.batch(folder, output, **HOW)
    names[0].unlink()
    shutil.copy(names[5], names[1])
    shutil.copy(names[5], folder / "new.jpg")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ferkit.bulk.driving.Drive.shards", lambda *_: None)
        patch.setattr("ferkit.bulk.driving.Drive.groups", lambda *_: None)
        assert ferkit.batch(folder, output, update=True, **HOW).state == "partial"
    report = ferkit.batch(folder, output, update=True, retry_errors=True, **HOW)
    assert (report.state, report.images, report.errors) == ("done", 61, {"not_found": 1})
    assert len({row["image"] for row in rows_of(output)}) == 61


def test_status_does_not_stumble_over_a_part_that_is_compacted_meanwhile(
    staged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    shutil.copytree(staged, output)
    plain = status(str(output))

    once = threading.Lock()

    def late(place: Place, name: str) -> Any:
        with once:  # footers are read by several threads
            if (output / name).exists():
                monkeypatch.undo()
                finish(output)
        raise FileNotFoundError(name)

    monkeypatch.setattr("ferkit.bulk.commit.footer_of", late)
    told = status(str(output))
    assert (told["state"], told["images"], told["faces"], told["done"]) == ("done", plain["images"], plain["faces"], 3)


def test_a_lock_that_its_holder_left_is_let_go_by_the_next_run(pictures: Path, staged: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    shutil.copytree(staged, output)
    finish(output)
    lock = output / "_ferkit" / "lock"
    lock.write_text('{"host": "elsewhere", "pid": 1, "beat": 0}')
    assert ferkit.batch(pictures / "d0", output, **HOW).state == "done"
    assert not lock.exists()
