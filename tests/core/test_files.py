"""Files that are whole or not there at all: what a full disk, a fault of the program and a second writer leave."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from ferkit import ImageError, WeightsError
from ferkit.files import clear_partials, replacing, replacing_path, write_arrays, write_bytes


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_two_that_write_one_path_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "spec.json"
    with replacing(path) as first:
        first.write(b"first, half ")
        with replacing(path) as second:
            second.write(b"second")
        assert path.read_bytes() == b"second"
        first.write(b"and whole")
    assert path.read_bytes() == b"first, half and whole"
    assert names(tmp_path) == ["spec.json"]


def test_a_path_has_the_ending_that_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    with replacing_path(path) as partial:
        assert partial.suffix == ".keras"
        partial.write_bytes(b"network")
        assert not path.exists()
    assert path.read_bytes() == b"network"
    assert names(tmp_path) == ["model.keras"]


@pytest.mark.skipif(os.name == "nt", reason="Windows may take 260 characters for the whole path")
@pytest.mark.parametrize("name", ["x" * 251 + ".png", "\u7b11" * 83 + ".keras"])
def test_a_name_as_long_as_a_disk_takes_is_written(name: str, tmp_path: Path) -> None:
    """What is written meanwhile has a longer ending, and must not have a longer name."""
    assert len(os.fsencode(name)) == 255
    write_bytes(tmp_path / name, b"whole")
    with replacing_path(tmp_path / name) as partial:
        partial.write_bytes(b"whole too")
    assert (names(tmp_path), (tmp_path / name).read_bytes()) == ([name], b"whole too")


def half(path: Path, error: BaseException) -> None:
    with replacing(path) as file:
        file.write(b"half")
        raise error


@pytest.mark.parametrize(
    "error", [ImageError("photo.jpg cannot be read"), ConnectionResetError(104, "reset"), TimeoutError("too late"), ValueError("no number")]
)
def test_an_error_of_what_is_written_is_not_the_disks(error: Exception, tmp_path: Path) -> None:
    path = write_bytes(tmp_path / "a.json", b"old")
    with pytest.raises(type(error)) as told:
        half(path, error)
    assert told.value is error
    assert (path.read_bytes(), names(tmp_path)) == (b"old", ["a.json"])


def test_another_file_that_is_not_there_is_not_the_disks(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"photo\.jpg"), replacing_path(tmp_path / "a.json") as partial:
        partial.write_bytes((tmp_path / "photo.jpg").read_bytes())
    assert names(tmp_path) == []


@pytest.mark.parametrize("folder", ["not-there", "a-file"])
def test_a_place_that_cannot_be_written_is_told(folder: str, tmp_path: Path) -> None:
    (tmp_path / "a-file").touch()
    with pytest.raises(WeightsError, match=r"a\.json cannot be written \(.*\); what was there before is kept"):
        write_bytes(tmp_path / folder / "a.json", b"{}")


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for write in (replacing, replacing_path):
        with pytest.raises(WeightsError, match="No space left"), write(tmp_path / "a.json") as to:
            (to if isinstance(to, Path) else Path(to.name)).write_bytes(b"half")
    assert names(tmp_path) == []


def test_an_interrupt_leaves_no_half_file(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        half(tmp_path / "a.json", KeyboardInterrupt())
    assert names(tmp_path) == []


def test_what_a_kill_left_is_cleared_away_and_nothing_else(tmp_path: Path) -> None:
    kept = ["a.json", "mine.partial", "face.partial.png", "notes.partial.txt"]
    inner = tmp_path / "train" / "happy"
    inner.mkdir(parents=True)
    for name in kept:
        (inner / name).touch()
    for writing in (replacing, replacing_path):  # as a kill leaves it: never left in order
        to = writing(inner / "a.png").__enter__()
        (to if isinstance(to, Path) else Path(to.name)).touch()
    assert len(names(inner)) == len(kept) + 2
    clear_partials(tmp_path)
    assert names(inner) == sorted(kept)


@pytest.mark.parametrize("compress", [True, False])
def test_arrays_are_those_that_were_given_whatever_numpys_version(compress: bool, tmp_path: Path) -> None:
    write_arrays(tmp_path / "a.npz", {"one": np.arange(3), "names": np.array(["ä", "b"])}, compress)
    with np.load(tmp_path / "a.npz") as kept:
        assert {name: kept[name].tolist() for name in kept.files} == {"one": [0, 1, 2], "names": ["ä", "b"]}
    with pytest.raises(AssertionError):
        write_arrays(tmp_path / "b.npz", {"objects": np.array([{}])}, compress)
    assert not (tmp_path / "b.npz").exists()
