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

from ferkit import DataError, ExpressionClassifier, Face, InputError
from ferkit.cli.main import main
from ferkit.data import read_photos
from ferkit.data.preparing import prepare
from tests.helpers.faces import write_fer_csv
from tests.helpers.layouts import tree

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


def test_a_split_without_any_face_has_empty_tables(tmp_path: Path) -> None:
    """All of its pictures are named as skipped, and the other split's faces are there."""

    class OfTheLight:
        def detect_rgb(self, pixels: np.ndarray) -> list[Face]:
            return [Face((0, 0, 48, 48))] if pixels.mean() > 128 else []

    for split, grey in (("train", 60), ("test", 200)):
        for name in "ab":
            path = tmp_path / "in" / split / "happy" / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((48, 48), grey, np.uint8)).save(path)
    report = prepare(tmp_path / "in", tmp_path / "out", detector=OfTheLight())
    assert report["splits"] == {"train": {"happy": 0}, "test": {"happy": 2}}
    assert len(report["skipped"]) == 2
    with np.load(tmp_path / "out" / "train.npz") as table:
        assert {key: value.shape for key, value in table.items()} == {
            "path": (0,), "source": (0,), "label": (0,), "box": (0, 4), "landmarks": (0, 5, 2), "score": (0,)
        }  # fmt: skip
    read_schema = pytest.importorskip("pyarrow.parquet", reason='needs the extra "batch"').read_schema
    assert read_schema(tmp_path / "out" / "train.parquet").equals(read_schema(tmp_path / "out" / "test.parquet"))


def test_data_of_the_same_name_from_elsewhere_are_refused(tmp_path: Path) -> None:
    """Their pictures have the same names too: the faces of the first would be taken for those of the second."""
    for name in ("one", "two"):
        tree(tmp_path / name / "faces", "happy/1.png", "sad/1.png")
    out = tmp_path / "out"
    prepare(tmp_path / "one" / "faces", out)
    settings = json.loads((out / "prepare.json").read_text())
    assert str(tmp_path) not in (out / "prepare.json").read_text()
    with pytest.raises(InputError, match="was prepared from data called faces that lie elsewhere; choose another out, or say moved=True"):
        prepare(tmp_path / "two" / "faces", out)
    arguments = ["prepare", "--data", str(tmp_path / "two" / "faces"), "--out", str(out)]
    refused = CliRunner().invoke(main, arguments)
    assert refused.exit_code == 2
    assert "--moved" in refused.stderr
    assert json.loads((out / "prepare.json").read_text()) == settings
    assert CliRunner().invoke(main, [*arguments, "--moved"]).exit_code == 0
    prepare(tmp_path / "two" / "faces", out)  # which is where the data are from now on
    with pytest.raises(InputError, match="from data called faces"):
        prepare(tmp_path / "one" / "faces", out)


def test_an_earlier_preparation_without_a_place_goes_on(tmp_path: Path) -> None:
    data, out = tree(tmp_path / "one" / "faces", "happy/1.png", "sad/1.png"), tmp_path / "out"
    prepare(data, out)
    settings = json.loads((out / "prepare.json").read_text())
    (out / "prepare.json").write_text(json.dumps({key: value for key, value in settings.items() if key != "place"}))
    assert prepare(data, out)["splits"]["train"] == {"happy": 1, "sad": 1}
    assert json.loads((out / "prepare.json").read_text()) == settings


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
    (out / "train" / "half.png.0a1b2c.partial").touch()  # as if it had come in the middle of a picture too
    journal = [json.loads(line)["path"] for line in (out / "train.jsonl").read_text().splitlines()[:-1]]
    assert 0 < len(journal) < 700
    report = prepare(data, out)
    assert sum(report["splits"]["train"].values()) == 700
    assert all((out / name).stat().st_mtime_ns == before[out / name] for name in journal)  # nothing done twice
    assert not list(out.rglob("*.partial"))


def test_pictures_whose_names_become_alike_are_all_there(tmp_path: Path) -> None:
    """Their paths are flattened into names, of which each is a file of its own."""
    data = tree(tmp_path / "data", *(f"happy/{name}.png" for name in ("img.1", "img_1", "a/b", "a_b", "c")), "sad/1.png")
    report = prepare(data, tmp_path / "out")
    assert report["splits"]["train"] == {"happy": 5, "sad": 1}
    names = {path.stem for path in (tmp_path / "out" / "train" / "happy").iterdir()}
    assert len(names) == 5
    assert "c_png" in names
    with np.load(tmp_path / "out" / "train.npz") as table:
        assert len(set(table["path"].tolist())) == 6


def test_a_path_that_is_too_long_for_a_name_is_shortened(tmp_path: Path) -> None:
    deep = "/".join(letter * 100 for letter in "äbc")
    data = tree(tmp_path / "data", f"happy/{deep}/1.png", f"happy/{deep}/2.png", "sad/1.png")
    assert prepare(data, tmp_path / "out")["splits"]["train"] == {"happy": 2, "sad": 1}
    names = [path.name for path in (tmp_path / "out" / "train" / "happy").iterdir()]
    assert len(names) == 2
    assert all(name.startswith("ä" * 100 + "_bbb") for name in names)


@pytest.mark.parametrize("label", ["../../elsewhere", "a/b", "a\\b", ".."])
def test_a_label_that_is_a_path_is_refused(label: str, tmp_path: Path) -> None:
    tree(tmp_path, "a.png", "b.png")
    (tmp_path / "faces.csv").write_text(f"path,label\na.png,{label}\nb.png,sad\n", encoding="utf-8")
    with pytest.raises(DataError, match="and no folder can be called so; give it another name: relabel="):
        prepare(tmp_path / "faces.csv", tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.png"))
    assert prepare(tmp_path / "faces.csv", tmp_path / "out", relabel={label: "happy"})["splits"]["train"] == {"happy": 1, "sad": 1}


class UpsideDown:
    """Finds every face upside down, in the middle of the picture."""

    name = "upside down"

    def detect_rgb(self, pixels: np.ndarray) -> list[Face]:
        height, width = pixels.shape[:2]
        return [Face((width / 4, height / 4, 3 * width / 4, 3 * height / 4), turn=180)]


@pytest.mark.parametrize("row", ["a.png,happy", "a.png,happy,10,10,30,30"], ids=["found", "boxed"])
def test_faces_are_cut_as_training_cuts_them(tmp_path: Path, row: str) -> None:
    """A face that is turned comes out upright, whether the table has its box or not."""
    Image.fromarray(np.repeat(np.linspace(0, 250, 40).astype(np.uint8)[:, None], 40, axis=1)).save(tmp_path / "a.png")  # dark above
    Image.new("L", (40, 40)).save(tmp_path / "b.png")
    boxed = row.count(",") > 1
    rows = ["path,label" + ",x1,y1,x2,y2" * boxed, row, "b.png,sad" + ",10,10,30,30" * boxed]
    (tmp_path / "faces.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    classifier = ExpressionClassifier()
    prepare(tmp_path / "faces.csv", tmp_path / "out", detector=UpsideDown(), size=48)
    with Image.open(next((tmp_path / "out" / "train" / "happy").glob("*.png"))) as face:
        prepared = np.asarray(face.convert("L"))
    read = read_photos(tmp_path / "faces.csv", classifier, UpsideDown()).faces.images[0]
    assert np.abs(prepared.astype(int) - read).max() <= 1
    assert prepared[:24].mean() > prepared[24:].mean() + 20  # dark below: it was turned upright
