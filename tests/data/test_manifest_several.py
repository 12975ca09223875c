"""Columns of a manifest as several labels at once, or as values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ferkit import DataError, InputError, LabelSet
from ferkit.data.folders import list_data
from ferkit.data.reading import read_faces

LABELS = LabelSet("labels", ("smiling", "glasses"), kind="labels")
VALUES = LabelSet("values", ("valence", "arousal"), kind="values")


def table(root: Path, text: str) -> Path:
    for name in "abc":
        Image.fromarray(np.full((48, 48), 90, np.uint8)).save(root / f"{name}.png")
    path = root / "faces.csv"
    path.write_text(text)
    return path


def test_values_of_any_sign_and_unknown_ones(tmp_path: Path) -> None:
    path = table(tmp_path, "path,valence,arousal,person\na.png,-0.5,1e2,ann\nb.png,,0.25,ben\nc.png,,,ben\n")
    faces = read_faces(path, labels=VALUES, detector="none")
    assert faces.soft is not None
    assert faces.label_set == VALUES
    assert len(faces) == 2
    np.testing.assert_array_equal(faces.soft, np.array([[-0.5, 100], [np.nan, 0.25]], np.float32))
    assert faces.persons == ("ann", "ben")
    assert any("say nothing" in note for note in faces.notes)


def test_what_was_read_is_told(tmp_path: Path) -> None:
    path = table(tmp_path, "path,split,smiling,glasses,note\na.png,train,1,0,x\nb.png,train,0.5,,y\nc.png,test,1,1,z\n")
    lines = list_data(path, wanted=LABELS).lines()
    assert lines[0] == "faces.csv: train, 2 pictures: smiling 1 of 2, glasses 0 of 1."
    assert lines[1] == "faces.csv: test, 1 pictures: smiling 1 of 1, glasses 1 of 1."
    assert lines[2] == "faces.csv: ignored the columns note."


def test_a_column_may_be_called_as_others_are(tmp_path: Path) -> None:
    """A label called ``weight``, or a column ``label`` beside the values, is what was asked for."""
    path = table(tmp_path, "path,label,weight,arousal\na.png,happy,80,1\nb.png,sad,60,0\n")
    faces = read_faces(path, labels=LabelSet("values", ("weight", "arousal"), kind="values"), detector="none")
    assert faces.soft is not None
    assert faces.soft[:, 0].tolist() == [80, 60]
    assert faces.weights is None


@pytest.mark.parametrize(
    ("text", "wanted", "message"),
    [
        ("path,smiling\na.png,1\n", LABELS, "lacks the column.s. glasses"),
        ("path,smiling,glasses\na.png,1,2\n", LABELS, "line 2: glasses is 2; expected 1 where"),
        ("path,smiling,glasses\na.png,1,-1\n", LABELS, "glasses is -1"),
        ("path,valence,arousal\na.png,high,1\n", VALUES, "valence 'high'; expected a finite number"),
        ("path,valence,arousal\na.png,inf,1\n", VALUES, "expected a finite number"),
        ("valence,arousal\n1,1\n", VALUES, "lacks a column path"),
        ("path,valence,arousal\na.png,,\n", VALUES, "none can be used"),
    ],
)
def test_faulty_tables_are_refused(tmp_path: Path, text: str, wanted: LabelSet, message: str) -> None:
    with pytest.raises(DataError, match=message):
        list_data(table(tmp_path, text), wanted=wanted)


def test_folders_and_new_names_are_refused(tmp_path: Path) -> None:
    (tmp_path / "happy").mkdir()
    with pytest.raises(DataError, match="is not a table"):
        list_data(tmp_path, wanted=VALUES)
    with pytest.raises(InputError, match="named by their columns"):
        list_data(table(tmp_path, "path,valence,arousal\na.png,1,2\n"), {"1": "2"}, wanted=VALUES)
