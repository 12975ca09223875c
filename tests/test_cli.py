"""The command: results on stdout, messages on stderr, exit codes 0, 1 and 2, and nothing lost to one bad file."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from ferkit.cli import main
from ferkit.weights import DEFAULT_WEIGHTS, bundled_folder, load_spec, resolve


def ferkit(*arguments: object, stdin: bytes | None = None) -> Result:
    done = CliRunner().invoke(main, [str(a) for a in arguments], input=stdin)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


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


def test_weights_commands(tmp_path: Path) -> None:
    listed = ferkit("weights", "list")
    assert listed.exit_code == 0
    assert f"* {DEFAULT_WEIGHTS}" in listed.stdout
    rows = json.loads(ferkit("weights", "list", "--format", "json").stdout)
    assert [r["name"] for r in rows if r["default"]] == [DEFAULT_WEIGHTS, "ferkit-face-v2"]
    for row in (r for r in rows if r["bundled"]):
        assert row["size"] > 1e6
        assert 0 < row["ms"] < 10_000
        assert f"{row['parameters']:,}" in listed.stdout
        if row["kind"] == "classifier":
            assert 0.6 < row["accuracy"] < 0.8
            assert f"{row['accuracy']:.1%}" in listed.stdout
    assert Path(ferkit("weights", "path").stdout.strip()) == resolve()
    assert Path(ferkit("weights", "fetch", DEFAULT_WEIGHTS).stdout.strip()) == resolve()
    checked = [line.split()[-1] for line in ferkit("weights", "verify").stdout.splitlines()]
    files = [(row["name"], file) for row in rows if row["bundled"] for file in load_spec(bundled_folder() / row["name"]).files]
    assert checked == [f"{name}/{file}" for name, file in files]  # and those of an ensemble's members not twice
    assert ferkit("weights", "verify", "ferkit-face-v2").stdout.count("ok  ") == 2
    assert Path(ferkit("weights", "path", "ferkit-face-v2").stdout.strip()).is_dir()
    copy = Path(shutil.copytree(resolve(), tmp_path / "copy"))
    (copy / "model.keras").write_bytes(b"")
    damaged = ferkit("weights", "verify", copy)
    assert damaged.exit_code == 1
    assert "damaged" in damaged.stderr


def test_evaluate_json(small_csv: Path) -> None:
    done = ferkit("evaluate", "--data", small_csv, "--format", "json", "--labels", "fer2013", "--tta", "2")
    assert done.exit_code == 0
    report = json.loads(done.stdout)
    assert {"accuracy", "n", "ci95", "macro_f1", "ece", "per_label", "confusion", "weights", "split", "tta"} <= set(report)
    assert report["n"] == 12
    assert report["split"] == "PublicTest"
    assert np.array(report["confusion"]["rows"]).sum() == 12
    assert "accuracy" in ferkit("evaluate", "--data", small_csv).stdout


def test_evaluate_errors(small_csv: Path, tmp_path: Path) -> None:
    for arguments in (
        ["--data", tmp_path / "no.csv"],
        ["--data", small_csv, "--split", "PrivateTest"],
        ["--data", small_csv, "--split", "Test"],
    ):
        done = ferkit("evaluate", *arguments)
        assert done.exit_code == 1
        assert "expected" in done.stderr


def test_version() -> None:
    import ferkit as package

    assert package.__version__ in ferkit("--version").stdout
