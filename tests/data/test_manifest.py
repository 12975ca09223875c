"""Manifests: one table with pictures, labels, splits, persons, weights, boxes and soft labels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ferkit import DataError, ExpressionClassifier, FaceDetector, InputError
from ferkit.data import list_data, read_faces, read_photos
from tests.helpers.commands import ferkit
from tests.helpers.layouts import picture, prepared, tree


def table(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tree(tmp_path, *(f"img/{i}.png" for i in range(6)))


def test_path_and_label_are_enough(root: Path) -> None:
    file = table(root / "faces.csv", "path,label", *(f"img/{i}.png,{'happy' if i % 2 else 'sad'}" for i in range(6)))
    done = ferkit("evaluate", "--data", file, "--format", "json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["n"] == 6
    assert "faces.csv: one part, 6 pictures: happy 3, sad 3." in done.stderr
    assert prepared(file, root / "out") == {"train": {"happy": 3, "sad": 3}}
    assert read_faces(file).files[0] == "img/0.png"


def test_every_column(root: Path) -> None:
    file = table(
        root / "faces.csv",
        " Path ;Label;Usage;subject;weight;box;camera",
        "img/0.png;happy;train;ann;2;1 2 30 40;x",
        "img/1.png;sad;Train;ben;;5 5 20 20;x",
        "img/2.png;sad;val;ann;0.5;[3, 4, 20, 21];x",
        "img/3.png;happy;test;cy;0;;x",
    )
    listing = list_data(file)
    assert [s.split for s in listing.samples] == ["Training", "Training", "PublicTest"]
    assert [s.person for s in listing.samples] == ["ann", "ben", "ann"]
    assert [s.weight for s in listing.samples] == [2, 1, 0.5]
    assert listing.samples[0].box == (1, 2, 30, 40)
    assert listing.samples[2].box == (3, 4, 20, 21)
    told = "\n".join(listing.lines())
    for part in ("Usage as split", "subject as person", "ignored the columns camera", "1 rows weigh nothing", "2 persons"):
        assert part in told
    faces = read_faces(file)
    assert faces.weights is not None
    assert faces.weights.tolist() == [2, 1]
    assert faces.persons == ("ann", "ben")
    assert faces.targets("fer2013").sum(axis=1).tolist() == pytest.approx([4 / 3, 2 / 3])


@pytest.mark.parametrize("with_label", [False, True])
def test_soft_labels(root: Path, with_label: bool) -> None:
    head = "path,happy,sad,neutral" + (",label" if with_label else "")
    rows = [f"img/{i}.png,{3 + i},1,0{',happy' if with_label and i else ',sad' if with_label else ''}" for i in range(2)]
    rows += [f"img/2.png,0,0,5{',neutral' if with_label else ''}"]
    faces = read_faces(table(root / "faces.csv", head, *rows))
    assert faces.label_set.classes[3:] == ("happy", "sad", "surprise", "neutral")
    assert faces.soft is not None
    assert faces.soft[0].tolist() == pytest.approx([0, 0, 0, 0.75, 0.25, 0, 0])
    assert [faces.label_set[label] for label in faces.labels] == [("sad" if with_label else "happy"), "happy", "neutral"]
    assert faces.targets("fer2013", 0.1)[2].tolist() == pytest.approx([0.1 / 7] * 6 + [0.9 + 0.1 / 7])


def test_a_box_says_whose_face(tmp_path: Path, astronaut: np.ndarray) -> None:
    """Two faces in a picture: each row gets its own, with the landmarks of the detector."""
    wide = np.concatenate([astronaut, astronaut[:, ::-1]], axis=1)
    Image.fromarray(wide).save(tmp_path / "two.png")
    finder, classifier = FaceDetector(), ExpressionClassifier()
    boxes = sorted(face.box for face in finder.detect(wide)[:2])
    rows = [f"two.png,{label},{x1:.0f} {y1:.0f} {x2:.0f} {y2:.0f}" for label, (x1, y1, x2, y2) in zip(("a", "b"), boxes, strict=True)]
    photos = read_photos(table(tmp_path / "f.csv", "file,label,box", *rows), classifier, finder)
    assert len(photos) == 2
    left, right = photos.faces.images.astype(float)
    assert np.abs(left - right[:, ::-1]).mean() < 12  # the mirror image
    blind = read_photos(tmp_path / "f.csv", classifier, FaceDetector("none"))
    assert np.abs(blind.faces.images.astype(float) - photos.faces.images).mean() < 60  # cut by the box alone, not the whole picture
    assert np.abs(blind.faces.images[0].astype(float) - blind.faces.images[1][:, ::-1]).mean() < 12
    assert prepared(tmp_path / "f.csv", tmp_path / "out") == {"train": {"a": 1, "b": 1}}


def test_parquet(root: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason='needs pyarrow: pip install "ferkit[batch]"')
    import pyarrow.parquet as pq

    columns = {"path": [f"img/{i}.png" for i in range(4)], "label": [1, 2, 1, 2], "box": [[0.0, 0.0, 40.0, 40.0]] * 4}
    pq.write_table(pa.table(columns), root / "faces.parquet")
    with pytest.raises(DataError, match=r"relabel=.1=NAME,2=NAME"):
        list_data(root / "faces.parquet")
    listing = list_data(root / "faces.parquet", {"1": "zig", "2": "zag"})
    assert [s.label for s in listing.samples] == ["zig", "zag"] * 2
    assert listing.samples[0].box == (0, 0, 40, 40)
    (root / "broken.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="not a Parquet file"):
        list_data(root / "broken.parquet")


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (("img/0.png,happy,,,,1 2 3",), "line 2: box '1 2 3'; expected four numbers"),
        (("img/0.png,happy,,,,9 2 3 4",), "expected x1 y1 x2 y2 with x1 < x2"),
        (("img/0.png,happy,,,,a 2 3 4",), "line 2: box 'a'; expected a finite number"),
        (("img/0.png,happy,,,heavy,",), "line 2: weight 'heavy'"),
        (("img/0.png,happy,,,-1,",), "line 2: weight -1; expected a number, 0 or more"),
        (("img/0.png,happy,tomorrow,,,",), "line 2: split 'tomorrow'"),
        (("img/0.png,happy,train,,,", "img/1.png,sad,,,,"), "line 3: no split; expected one in every row, or in none"),
        (("img/0.png,,,,,",), "line 2: no label"),
        ((",happy,,,,",), "line 2: no path"),
        (("img/none.png,happy,,,,",), "none can be used.*line 2: .*none.png does not exist"),
        ((), "has no rows"),
    ],
)
def test_bad_rows(root: Path, rows: tuple[str, ...], told: str) -> None:
    with pytest.raises(DataError, match=told):
        list_data(table(root / "faces.csv", "path,label,split,person,weight,box", *rows))


def test_tables_as_other_programs_write_them(root: Path) -> None:
    """An index without a name is no split, person or weight; numbers of floats; backslashes."""
    indexed = table(root / "a.csv", ",path,label", "0,img/0.png,happy", "1,img/1.png,sad")
    listing = list_data(indexed)
    assert [(s.split, s.person, s.weight) for s in listing.samples] == [(None, "", 1.0)] * 2
    assert not listing.notes
    floats = list_data(table(root / "b.csv", "path,label", "img/0.png,1.0", "img/1.png,2.0"), {"1": "happy", "2": "sad"})
    assert floats.labels == ("happy", "sad")
    assert len(list_data(table(root / "c.csv", "path,label", "img\\0.png,happy", "img/1.png,sad"))) == 2


def test_entries_that_would_be_lost_are_refused(root: Path) -> None:
    with pytest.raises(DataError, match="line 2: more entries than the 2 columns"):
        list_data(table(root / "a.csv", "path,label", "img/0.png,sad, a bit", "img/1.png,sad"))
    with pytest.raises(DataError, match=r"column.s. label more than once"):
        list_data(table(root / "b.csv", "path,label,label", "img/0.png,happy,sad"))
    assert len(list_data(table(root / "c.csv", "path,label", "img/0.png,sad,,", "img/1.png,happy"))) == 2


def test_bad_tables(root: Path) -> None:
    with pytest.raises(DataError, match="lacks a column path; expected path and label, or Kaggle's"):
        list_data(table(root / "a.csv", "name,label", "x,y"))
    with pytest.raises(DataError, match="lacks a column label, and columns of classes"):
        list_data(table(root / "b.csv", "path", "img/0.png"))
    with pytest.raises(DataError, match="does not exist"):
        list_data(root / "none.csv")
    with pytest.raises(InputError, match=r"group .nobody. finds no person"):
        list_data(table(root / "c.csv", "path,label", "img/0.png,happy"), group="nobody")
    long = list_data(table(root / "e.csv", "path,label", "img/0.png,happy", f"{'x' * 300}.png,happy", "img/1.png,sad"))
    assert (len(long), len(long.skipped)) == (2, 1)
    missing = table(root / "d.csv", "path,label", "img/0.png,happy", "img/9.png,happy", "img/1.png,sad")
    done = ferkit("evaluate", "--data", missing, "--format", "json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["n"] == 2
    assert "d.csv, line 3" in done.stderr


def test_group_by_a_column_and_by_a_folder(root: Path) -> None:
    file = table(root / "faces.csv", "path,label,clip", *(f"img/{i}.png,{'ab'[i % 2]},{i // 2}" for i in range(6)))
    assert [s.person for s in list_data(file, group="clip").samples] == ["0", "0", "1", "1", "2", "2"]
    assert [s.person for s in list_data(file, group=r"/(\d)").samples] == list("012345")
    for i in range(4):
        picture(root / "people" / "ab"[i % 2] / f"p{i // 2}" / f"{i}.png")
    assert [s.person for s in list_data(root / "people", group="folder").samples] == ["p0", "p1", "p0", "p1"]
    with pytest.raises(InputError, match="not a regular expression"):
        list_data(root / "people", group="(")
