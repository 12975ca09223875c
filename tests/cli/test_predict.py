"""``ferkit predict``."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ferkit.weights.releases import DEFAULT_WEIGHTS
from ferkit.weights.store import resolve
from tests.helpers.commands import ferkit


@pytest.fixture
def folder(photo: Path, tmp_path: Path) -> Path:
    """A folder as users have them: good pictures, damaged ones, other files, and a folder within."""
    root = tmp_path / "pictures"
    (root / "within").mkdir(parents=True)
    shutil.copy(photo, root / "a.jpg")
    shutil.copy(photo, root / "within" / "ünïcode 顔.JPG")
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(root / "b-no-face.png")
    (root / "c-empty.jpg").write_bytes(b"")
    (root / "d-text.jpg").write_text("not an image")
    (root / "e-cut.jpg").write_bytes(photo.read_bytes()[:5000])
    (root / "notes.txt").write_text("ignored")
    return root


def test_one_photo(photo: Path) -> None:
    done = ferkit("predict", photo)
    assert done.exit_code == 0
    assert done.stderr == ""
    table = json.loads(done.stdout)
    assert len(table) == 1
    assert list(table[0]) == ["schema", "image", "width", "height", "weights", "faces"]
    assert table[0]["image"] == str(photo)
    assert table[0]["weights"] == DEFAULT_WEIGHTS
    assert len(table[0]["faces"]) == 1


def test_a_folder_with_bad_files_loses_nothing(folder: Path) -> None:
    done = ferkit("predict", folder)
    assert done.exit_code == 1
    names = [Path(row["image"]).name for row in json.loads(done.stdout)]
    assert names == ["a.jpg", "b-no-face.png", "ünïcode 顔.JPG"]
    for bad in ("c-empty.jpg", "d-text.jpg", "e-cut.jpg"):
        assert bad in done.stderr
    assert "notes.txt" not in done.stderr
    assert "image" in done.stderr  # the progress bar
    assert "Traceback" not in done.stderr


def test_jsonl_and_csv(folder: Path) -> None:
    lines = ferkit("predict", folder, "--format", "jsonl").stdout.splitlines()
    assert [len(json.loads(line)["faces"]) for line in lines] == [1, 0, 1]
    rows = list(csv.DictReader(io.StringIO(ferkit("predict", folder, "--format", "csv").stdout)))
    assert len(rows) == 3  # the picture without a face keeps its row
    assert rows[1]["label"] == ""
    assert float(rows[0]["confidence"]) <= 1


def test_globs_and_many_files(folder: Path, photo: Path) -> None:
    done = ferkit("predict", folder / "*.png", photo, folder / "**" / "*.JPG")
    assert done.exit_code == 0
    assert len(json.loads(done.stdout)) == 3
    missing = ferkit("predict", folder / "*.nothing", photo)
    assert missing.exit_code == 1
    assert "nothing matches" in missing.stderr
    assert len(json.loads(missing.stdout)) == 1


def test_stdin(photo: Path) -> None:
    done = ferkit("predict", "-", stdin=photo.read_bytes())
    assert done.exit_code == 0
    row = json.loads(done.stdout)[0]
    assert row["image"] == "-"
    assert len(row["faces"]) == 1
    empty = ferkit("predict", "-", stdin=b"")
    assert empty.exit_code == 1
    assert json.loads(empty.stdout) == []


def test_missing_file_and_empty_folder(tmp_path: Path) -> None:
    done = ferkit("predict", tmp_path / "none.jpg")
    assert done.exit_code == 1
    assert json.loads(done.stdout) == []
    assert "does not exist" in done.stderr
    done = ferkit("predict", tmp_path)
    assert done.exit_code == 1
    assert "no images in this folder" in done.stderr


def test_draw(photo: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    assert ferkit("predict", photo, "--draw", out).exit_code == 0
    with Image.open(out) as drawn:
        assert drawn.size == (512, 512)
    many = tmp_path / "new" / "drawn"
    done = ferkit("predict", folder / "a.jpg", photo, folder / "b-no-face.png", photo, "--draw", many)
    assert done.exit_code == 0
    assert sorted(p.name for p in many.iterdir()) == ["a.png", "b-no-face.png", "photo-2.png", "photo.png"]
    wrong = ferkit("predict", photo, "--draw", tmp_path / "out.unknown")
    assert wrong.exit_code == 1
    assert len(json.loads(wrong.stdout)) == 1
    assert "cannot be written" in wrong.stderr
    assert ferkit("predict", photo, photo, "--draw", out).exit_code == 2
    before = photo.read_bytes()
    itself = ferkit("predict", photo, "--draw", photo)
    assert itself.exit_code == 2
    assert "overwritten" in itself.stderr
    assert photo.read_bytes() == before


def test_draw_into_a_read_only_folder(photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locked = tmp_path / "locked"
    locked.mkdir()
    real = os.access
    # root may write anywhere, so the permission itself cannot be taken away here
    monkeypatch.setattr(os, "access", lambda path, mode: False if Path(path) == locked else real(path, mode))
    done = ferkit("predict", photo, "--draw", locked / "out.png")
    assert done.exit_code == 1
    assert "read-only" in done.stderr
    (tmp_path / "file").write_text("")
    blocked = ferkit("predict", photo, "--draw", tmp_path / "file" / "out.png")
    assert blocked.exit_code == 1
    assert "cannot be written" in blocked.stderr


def test_options(photo: Path, crops: np.ndarray, tmp_path: Path) -> None:
    row = json.loads(ferkit("predict", photo, "--labels", "ferplus", "--tta", "flip").stdout)[0]["faces"][0]
    assert "contempt" in row["probabilities"]
    row = json.loads(ferkit("predict", photo, "--min-confidence", "1").stdout)[0]["faces"][0]
    assert row["label"] is None
    assert "below" in row["reason"]
    Image.fromarray(crops[0]).save(tmp_path / "crop.png")
    row = json.loads(ferkit("predict", tmp_path / "crop.png", "--detector", "none").stdout)[0]["faces"][0]
    assert row["box"] == [0, 0, 48, 48]
    row = json.loads(ferkit("predict", photo, "--weights", resolve()).stdout)[0]
    assert row["weights"] == DEFAULT_WEIGHTS


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict"],
        ["predict", "x.jpg", "--format", "xml"],
        ["predict", "x.jpg", "--detector", "mtcnn"],
        ["predict", "x.jpg", "--labels", "klingon"],
        ["predict", "x.jpg", "--tta", "lots"],
        ["predict", "x.jpg", "--runtime", "abacus"],
        ["predict", "x.jpg", "--min-confidence", "2"],
        ["nonsense"],
        ["evaluate"],
    ],
)
def test_wrong_usage_is_2(arguments: list[str]) -> None:
    done = ferkit(*arguments)
    assert done.exit_code == 2
    assert done.stdout == ""


def test_wrong_weights_are_1(photo: Path) -> None:
    done = ferkit("predict", photo, "--weights", "fer2013-s-v99")
    assert done.exit_code == 1
    assert DEFAULT_WEIGHTS in done.stderr
