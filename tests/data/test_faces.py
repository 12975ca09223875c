"""Readers of labelled faces: what is accepted, and what each defect is told."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ferkit import DataError, InputError, LabelSet
from ferkit.data import read_faces, read_folder
from ferkit.data.faces import VOTE_COLUMNS, Faces, read_csv, read_ferplus, vote_distribution
from ferkit.labels import FER7
from tests.helpers.faces import write_fer_csv

GOOD = " ".join(["7"] * 2304)


def lines(path: Path, *rows: str, header: str = "emotion,pixels,Usage") -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_csv(tmp_path: Path) -> None:
    path = write_fer_csv(tmp_path / "f.csv", 14, 7)
    training, public = read_csv(path), read_csv(path, "PublicTest")
    assert training.images.shape == (14, 48, 48)
    assert training.images.dtype == np.uint8
    assert training.labels.tolist() == [*range(7), *range(7)]
    assert len(public) == 7


def test_csv_with_a_byte_order_mark_and_spaces(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_bytes(b"\xef\xbb\xbfemotion, Usage, pixels\n3, PublicTest, " + GOOD.encode() + b"\n")
    assert read_csv(path, "PublicTest").labels.tolist() == [3]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (f"0,{' '.join(['7'] * 2303)},Training", "line 2: 2303 pixels; expected 2304"),
        (f"9,{GOOD},Training", "line 2: label 9; expected 0 to 6"),
        (f"-1,{GOOD},Training", "label -1"),
        (f",{GOOD},Training", "line 2: label missing"),
        (f"0,{GOOD.replace('7', '300')},Training", "pixel values 300 to 300"),
        (f"0,{GOOD.replace('7', 'x')},Training", "whole numbers"),
        (f"0,{GOOD[:-1]}{'7' * 30},Training", "line 2: a pixel of 7.77778e\\+29; expected whole numbers"),  # two that nothing parts
        (f"0,{GOOD[:-1]}1e30,Training", "line 2: a pixel of 1e\\+30"),
        (f"0,{GOOD[:-1]}nan,Training", "line 2: a pixel of nan"),
        ("0", "no rows of split"),
        (f"0,{GOOD},Elsewhere", "no rows of split"),
    ],
)
def test_bad_rows(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_csv(lines(tmp_path / "f.csv", row))


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="lacks the column"):
        read_csv(lines(tmp_path / "f.csv", header="emotion,Usage"))
    with pytest.raises(DataError, match="lacks the column"):
        read_csv(lines(tmp_path / "f.csv", header=""))
    with pytest.raises(DataError, match="does not exist"):
        read_csv(tmp_path / "none.csv")
    for read in (read_csv, read_ferplus):
        with pytest.raises(DataError, match=r"cannot be read .*; expected Kaggle's fer2013\.csv"):
            read(tmp_path)
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00emotion")
    with pytest.raises(DataError, match="UTF-8"):
        read_csv(tmp_path / "b.csv")
    with pytest.raises(DataError, match="Unknown split"):
        read_csv(tmp_path / "f.csv", "Test")


def votes(path: Path, *rows: tuple[int, ...], usage: str = "Training") -> Path:
    return lines(path, *(f"{usage},x.png,{','.join(map(str, r))}" for r in rows), header="Usage,Image name," + ",".join(VOTE_COLUMNS))


@pytest.mark.parametrize("more", [1, 60])
def test_an_open_quote_does_not_swallow_the_file(more: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told where it began, however much follows."""
    path = lines(tmp_path / "f.csv", f"1,{GOOD},Training", f'0,"{GOOD},Training', *[f"1,{GOOD},Training"] * more)
    with pytest.raises(DataError, match=r"f\.csv, line 3: not a row of csv \(a quote that is not closed"):
        read_csv(path)
    monkeypatch.setattr("ferkit.data.faces._LONGEST", 0)
    before = csv.field_size_limit(5000)
    try:
        with pytest.raises(DataError, match=r"f\.csv, line 3: not a row of csv \(field larger"):
            read_csv(path)
    finally:
        csv.field_size_limit(before)


def test_a_remark_of_several_lines_is_no_open_quote(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text(f'emotion,pixels,Usage,remark\n0,{GOOD},Training,"seen twice,\nby Ann"\n3,{GOOD},Training,\n', encoding="utf-8")
    assert read_csv(path).labels.tolist() == [0, 3]


@pytest.mark.parametrize("side", [200, 512])
def test_a_csv_of_large_faces(side: int, tmp_path: Path) -> None:
    """Above 180x180 a face has more characters than Python's csv takes unless it is told to."""
    face = np.full((side, side), 128, np.uint8)
    face[: side // 2] = 7
    rows = [f"{label},{' '.join(map(str, face.ravel()))},Training" for label in (0, 3)]
    faces = read_csv(lines(tmp_path / "f.csv", *rows, f'4,"{chr(10).join(" ".join(map(str, row)) for row in face)}",Training'))
    assert faces.labels.tolist() == [0, 3, 4]
    assert (faces.images[:, 0, 0].tolist(), faces.images[:, -1, 0].tolist()) == ([7] * 3, [128] * 3)


def test_votes(tmp_path: Path) -> None:
    v = read_ferplus(
        votes(tmp_path / "v.csv", (5, 0, 0, 1, 4, 0, 0, 0, 0, 0), (0, 0, 0, 0, 0, 0, 0, 0, 3, 7), (1, 1, 1, 1, 1, 1, 1, 1, 1, 1))
    )
    d = vote_distribution(v)
    assert d[0].tolist() == pytest.approx([5 / 9, 0, 0, 0, 4 / 9, 0, 0, 0])  # the single vote is dropped
    assert d[1].sum() == 0  # not a face
    assert d[2].sum() == 0  # nothing but single votes
    faces = Faces(np.zeros((3, 48, 48), np.uint8), np.zeros(3, np.int64), votes=v)
    keep, winner = faces.majority()
    assert keep.tolist() == [True, False, True]
    assert winner[0] == 0
    assert faces.targets("ferplus").shape == (3, 8)
    assert faces.targets("fer2013", 0.1)[0].tolist() == pytest.approx([0.9 + 0.1 / 7] + [0.1 / 7] * 6)


def test_agreeing_faces_are_those_that_both_label_alike() -> None:
    votes = np.zeros((4, 10), np.float32)
    votes[np.arange(4), [3, 0, 8, 7]] = 9  # sad, neutral, unknown, contempt
    faces = Faces(np.arange(4, dtype=np.uint8)[:, None, None].repeat(48, 1).repeat(48, 2), np.array([4, 0, 4, 6]), FER7, votes)
    assert faces.agreeing().tolist() == [True, False, False, False]
    agreed = faces.agreed()
    assert (agreed.images[:, 0, 0].tolist(), agreed.labels.tolist(), agreed.votes) == ([0], [4], None)
    with pytest.raises(DataError, match="No face's own label"):
        Faces(faces.images[1:], faces.labels[1:], FER7, votes[1:]).agreed()


def test_votes_must_match(tmp_path: Path) -> None:
    path = write_fer_csv(tmp_path / "f.csv", 3, 0)
    with pytest.raises(DataError, match=r"2 rows.*has 3"):
        read_faces(path, "Training", votes(tmp_path / "v.csv", (1,) * 10, (1,) * 10))
    with pytest.raises(DataError, match="number of votes"):
        read_ferplus(votes(tmp_path / "w.csv", ("x",) * 10))  # type: ignore[arg-type]
    with pytest.raises(DataError, match="need votes"):
        Faces(np.zeros((1, 48, 48), np.uint8), np.zeros(1, np.int64)).majority()


def test_folders(tmp_path: Path) -> None:
    for split, label, size in (("train", "happy", 48), ("train", "sad", 96), ("validation", "happy", 30)):
        path = tmp_path / split / label / "a.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((size, size), 50, np.uint8)).save(path)
    (tmp_path / "train" / "sad" / "bad.png").write_bytes(b"")
    training = read_folder(tmp_path, "Training")
    assert training.labels.tolist() == [3, 4]
    assert training.images.shape == (2, 48, 48)
    assert "bad.png" in training.skipped[0][0]
    assert len(read_folder(tmp_path, "PublicTest")) == 1
    assert read_faces(tmp_path, "Training").labels.tolist() == [3, 4]
    with pytest.raises(DataError, match="'test' beside train, validation"):
        read_folder(tmp_path, "PrivateTest")


def test_folders_with_other_labels(tmp_path: Path) -> None:
    for label in ("bored", "alert"):
        (tmp_path / label).mkdir()
        Image.new("L", (48, 48)).save(tmp_path / label / "x.png")
    faces = read_folder(tmp_path)
    assert faces.label_set.classes == ("alert", "bored")
    with pytest.raises(DataError, match="not labels of"):
        read_folder(tmp_path, labels=LabelSet("x", ("bored", "tired")))


def test_bad_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a folder"):
        read_folder(tmp_path / "none")
    with pytest.raises(DataError, match="one folder per label"):
        read_folder(tmp_path)
    (tmp_path / "happy").mkdir()
    (tmp_path / "sad").mkdir()
    with pytest.raises(DataError, match="no readable image"):
        read_folder(tmp_path)


@pytest.mark.shared
def test_the_real_split(fer_csv: tuple[Path, Path]) -> None:
    faces = read_faces(fer_csv[0], "PublicTest", fer_csv[1])
    assert len(faces) == 3589
    assert np.bincount(faces.labels).tolist() == [467, 56, 496, 895, 653, 415, 607]
    assert faces.majority()[0].sum() == 3553


def test_faces_are_checked() -> None:
    images, labels = np.zeros((4, 48, 48), np.uint8), np.arange(4)
    assert Faces(list(images), labels.tolist()).labels.dtype == np.int64  # type: ignore[arg-type]
    for wrong, truth, told in (
        (images / 255, labels, "dtype float64; expected uint8"),
        (images, labels[:3], "4 images with 3 labels"),
        (images, labels + 5, "Labels 5 to 8; expected 0 to 6"),
        (images, labels * 0.5, "whole numbers"),
        ([images[0], images[0, :9]], labels[:2], "different shapes"),
    ):
        with pytest.raises(InputError, match=told):
            Faces(wrong, truth)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="finite numbers"):
        Faces(images, labels, votes=np.full((4, 10), np.nan, np.float32))
