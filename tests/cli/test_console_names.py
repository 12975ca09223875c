"""Names that a console, a code page or UTF-8 cannot hold cost nothing: the answer comes, and the name can be told from it."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from ferkit import Result
from ferkit.cli.main import main
from ferkit.text import ESCAPES, encodable

NAMES = ["日本.jpg", "gesicht-\N{GRINNING FACE}.jpg", "žluťoučký кот.jpg", "control-\x81-\x9f.jpg"]


def run(folder: Path, encoding: str, *arguments: str | bytes) -> subprocess.CompletedProcess[bytes]:
    env = {**os.environ, "PYTHONUTF8": "0", "PYTHONIOENCODING": encoding}
    return subprocess.run(
        [sys.executable, "-m", "ferkit", "predict", "--detector", "none", *arguments], cwd=folder, env=env, capture_output=True, check=False
    )


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("named")
    for name in NAMES:
        Image.new("RGB", (48, 48), (90, 90, 90)).save(folder / name)
    return folder


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "cp932", "utf-8"])
def test_json_on_any_code_page(named: Path, encoding: str) -> None:
    done = run(named, encoding, *NAMES, "no-日本.jpg")
    assert done.returncode == 1, done.stderr
    assert [row["image"] for row in json.loads(done.stdout.decode("utf-8" if encoding == "ascii" else encoding))] == NAMES
    assert b"no-" in done.stderr
    assert b"does not exist" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_csv_on_any_code_page(named: Path, encoding: str) -> None:
    done = run(named, encoding, *NAMES, "--format", "csv")
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout.decode("utf-8" if encoding == "ascii" else encoding))))
    found = [row["image"].encode(encoding, ESCAPES).decode(encoding) for row in rows]
    assert found == [encodable(name, encoding) for name in NAMES]
    assert all(row["label"] for row in rows)


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are Unicode there")
@pytest.mark.parametrize("format_", ["json", "csv"])
def test_a_name_that_is_not_utf8(tmp_path: Path, format_: str) -> None:
    raw = b"caf\xe9.jpg"
    Image.new("RGB", (48, 48)).save(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").rename(tmp_path / os.fsdecode(raw))
    for arguments in ([raw], ["."]):
        done = run(tmp_path, "utf-8", *arguments, "--format", format_)
        assert done.returncode == 0, done.stderr
        text = done.stdout.decode("utf-8")
        if format_ == "csv":
            assert "caf\\udce9.jpg" in text
        else:
            row = json.loads(text)
            assert os.fsencode(Path((row[0] if format_ == "json" else row)["image"]).name) == raw


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are Unicode there")
def test_prepare_and_evaluate_take_names_that_are_not_utf8(tmp_path: Path, crops: np.ndarray) -> None:
    for number, label in enumerate(("happy", "sad")):
        folder = tmp_path / "faces" / label
        folder.mkdir(parents=True)
        Image.fromarray(crops[number]).save(folder / "a.png")
        (folder / "a.png").rename(folder / os.fsdecode(b"caf\xe9.png"))
        (folder / os.fsdecode(b"bad\xe9.png")).write_bytes(b"no picture")
    out = tmp_path / "out"
    for command in (["prepare", "--out", str(out)], ["evaluate", "--split", "Training"]):
        done = CliRunner().invoke(main, [*command, "--data", str(tmp_path / "faces"), "--format", "json"])
        assert done.exit_code == 1, done.output
        report = json.loads(done.stdout)
        assert len(report["skipped"]) == 2
    assert json.loads((out / "report.json").read_text(encoding="utf-8"))["splits"]["train"] == {"happy": 1, "sad": 1}


def test_results_are_texts_that_a_file_can_hold(tmp_path: Path) -> None:
    result = Result((), 8, 8, image="caf\udce9.jpg")
    (tmp_path / "a.json").write_text(result.to_json(), encoding="utf-8")
    (tmp_path / "a.csv").write_text(result.to_csv(), encoding="utf-8")
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["image"] == result.image


@pytest.mark.parametrize("text", ["日本", "\N{GRINNING FACE}", "\x81", "\udcff", "ä€"])
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_escapes_are_json(text: str, encoding: str) -> None:
    assert json.loads(f'"{encodable(text, encoding)}"') == text
