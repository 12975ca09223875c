"""``ferkit prepare``."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from ferkit import InputError
from ferkit.cli.main import main
from ferkit.data.preparing import prepare
from tests.helpers.faces import write_fer_csv

pytestmark = pytest.mark.train


def test_prepare_a_csv(tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = prepare(write_fer_csv(tmp_path / "f.csv", 14, 7), out)
    assert report["splits"]["train"]["happy"] == 2
    assert report["splits"]["validation"]["happy"] == 1
    assert len(list((out / "train" / "angry").glob("*.png"))) == 2
    with np.load(out / "train.npz") as table:
        assert table["box"].shape == (14, 4)
        assert np.isnan(table["landmarks"]).all()
        assert table["label"][3] == "happy"
    from ferkit.data import read_csv, read_folder

    assert sorted(f.tobytes() for f in read_folder(out, "Training").images) == sorted(
        f.tobytes() for f in read_csv(tmp_path / "f.csv").images
    )
    with pytest.raises(InputError, match="prepared with size 48"):
        prepare(tmp_path / "f.csv", out, size=64)
    with pytest.raises(InputError, match="16 to 1024"):
        prepare(tmp_path / "f.csv", out, size=4)


def test_prepare_finds_and_aligns_faces(tmp_path: Path, photo: Path, yunet_file: Path) -> None:
    (tmp_path / "data" / "happy").mkdir(parents=True)
    (tmp_path / "data" / "sad").mkdir()
    (tmp_path / "data" / "happy" / "a.jpg").write_bytes(photo.read_bytes())
    Image.new("RGB", (200, 200)).save(tmp_path / "data" / "sad" / "nobody.png")
    arguments = ["prepare", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out"), "--size", "64"]
    done = CliRunner().invoke(main, [*arguments, "--detector", "yunet", "--detector-model", str(yunet_file)])
    assert done.exit_code == 1
    assert "nobody.png: no face found by yunet" in done.stderr
    with np.load(tmp_path / "out" / "train.npz") as table:
        assert table["landmarks"].shape == (1, 5, 2)
        assert not np.isnan(table["landmarks"]).any()
    with Image.open(tmp_path / "out" / "train" / "happy" / "a_jpg.png") as face:
        assert face.size == (64, 64)
        assert face.mode == "RGB"


def test_a_killed_preparation_goes_on(tmp_path: Path) -> None:
    data = write_fer_csv(tmp_path / "f.csv", 700, 7)
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-m", "ferkit", "prepare", "--data", str(data), "--out", str(out)], stderr=subprocess.DEVNULL
    )
    while not (out / "train.jsonl").exists() or (out / "train.jsonl").stat().st_size < 2000:
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    if (out / "report.json").exists():
        pytest.skip("it had finished before the signal came")
    with (out / "train.jsonl").open("a") as file:
        file.write('{"source": "Training 00')  # as if the kill had come in the middle of a row
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*.png")}
    journal = [json.loads(line)["path"] for line in (out / "train.jsonl").read_text().splitlines()[:-1]]
    assert 0 < len(journal) < 700
    report = prepare(data, out)
    assert sum(report["splits"]["train"].values()) == 700
    assert all((out / name).stat().st_mtime_ns == before[out / name] for name in journal)  # nothing done twice
    assert not list(out.rglob("*.partial"))
