"""Results check themselves, pickle, become CSV and are drawn."""

from __future__ import annotations

import csv
import io
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ferkit import (
    Expression,
    Face,
    InputError,
    Pipeline,
    Result,
)
from ferkit.results import csv_header, csv_rows


def test_values_check_themselves() -> None:
    with pytest.raises(InputError):
        Face((0, 0, -1, 5))
    with pytest.raises(InputError):
        Face((0, 0, float("nan"), 5))
    with pytest.raises(InputError):
        Face((0, 0, 1, 1), landmarks=((0.0, 0.0),))
    with pytest.raises(InputError):
        Expression("happy", 0.9, {"happy": 0.9, "sad": 0.9})
    with pytest.raises(InputError):
        Expression("bored", 0.9, {"happy": 0.9, "sad": 0.1})


def test_values_are_immutable_and_pickle(pipeline: Pipeline, photo: Path) -> None:
    result = pipeline(photo)
    face = result.faces[0]
    assert face.expression is not None
    with pytest.raises(AttributeError):
        face.score = 0  # type: ignore[misc]
    with pytest.raises(TypeError):
        face.expression.probabilities["happy"] = 1  # type: ignore[index]
    copy = pickle.loads(pickle.dumps(result))
    assert copy.to_dict() == result.to_dict()


def test_csv(pipeline: Pipeline, photo: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(pipeline(photo).to_csv())))
    assert len(rows) == 1
    assert sum(float(rows[0][label]) for label in pipeline.classifier.labels) == pytest.approx(1, abs=1e-5)
    empty = list(csv.DictReader(io.StringIO(pipeline(np.zeros((30, 30), np.uint8)).to_csv())))
    assert len(empty) == 1
    assert empty[0]["x1"] == ""


def test_draw_leaves_the_image_alone(pipeline: Pipeline, photo: Path) -> None:
    result = pipeline(photo)
    assert result.pixels is not None
    before = result.pixels.copy()
    drawn = result.draw()
    assert drawn.size == (512, 512)
    assert np.array_equal(result.pixels, before)
    assert not np.array_equal(np.asarray(drawn), before)
    again = pipeline(photo, keep_pixels=False)
    assert again.pixels is None
    assert np.array_equal(np.asarray(again.draw()), np.asarray(drawn))
    with pytest.raises(InputError, match="keep_pixels"):
        pipeline.predict([before])[0].draw()


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (40, 30), (3000, 20)])
def test_draw_any_size_and_box(size: tuple[int, int]) -> None:
    e = Expression("happy", 0.7, {"happy": 0.7, "sad": 0.3})
    unsure = Expression(None, 0.6, {"a": 0.6, "b": 0.4}, "low")
    faces = (Face((-50, -50, 20, 20), 0.5, expression=e), Face((5, 5, 5, 5), expression=unsure), Face((0, 0, 4000, 4000)))
    result = Result(faces, *size, pixels=np.zeros((size[1], size[0], 3), np.uint8))
    assert result.draw().size == size


def seen(label: str | None, box: tuple[float, float, float, float]) -> Face:
    return Face(box, 0.5, None, Expression(label, 0.75, {"höchst": 0.75, "sad": 0.25}, None if label else "unsure"))


def test_arrays_and_tables_of_no_face_one_and_two() -> None:
    faces = (seen("höchst", (0, 0, 40, 50)), Face((60, 10, 70, 30), 0.25), seen(None, (5, 5, 9, 9)))
    for count in range(4):
        result = Result(faces[:count], 80, 60, "a.png", "w")
        assert result.boxes.tolist() == [list(face.box) for face in faces[:count]]
        assert result.boxes.shape == (count, 4)
        assert result.scores.tolist() == [face.score for face in faces[:count]]
        assert result.labels.tolist() == ["höchst", None, None][:count]
        for features in (0, 3):
            rows = csv_rows(result, ["höchst", "sad"], features)
            assert {len(row) for row in rows} == {len(csv_header(["höchst", "sad"], features))}
            assert len(rows) == max(1, count)
    assert "höchst" in result.to_json()
    assert csv_rows(result, ["höchst", "sad"])[0][4:] == [0, 0.0, 0.0, 40.0, 50.0, 0.5, "höchst", 0.75, 0.75, 0.25]
    assert csv_rows(result, ["höchst", "sad"])[1][10:] == ["", "", "", ""]


def test_faces_are_drawn_where_they_are_in_pixels_of_another_scale() -> None:
    """Read at half the width and a third of the height: boxes are in pixels of the picture as it is."""
    pixels = np.zeros((100, 200, 3), np.uint8)
    face = Face((100, 60, 200, 180), 0.9)
    drawn = np.asarray(Result((face,), 400, 300, pixels=pixels).draw()).max(axis=2) > 0
    rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
    assert abs(columns.min() - 50) <= 3
    assert abs(rows.max() - 60) <= 3


def test_the_largest_face_is_the_one_with_the_largest_box() -> None:
    high, wide = Face((0, 0, 3, 7)), Face((0, 0, 11, 2))  # 21 and 22 pixels
    assert Result((high, wide), 20, 20).largest is wide
    assert Result((wide, high), 20, 20).largest is wide
    assert Result((), 20, 20).largest is None


def test_a_face_that_was_not_classified_has_a_row_as_wide_as_the_others() -> None:
    known = Expression("happy", 0.75, {"happy": 0.75, "sad": 0.125, "angry": 0.125})
    result = Result((Face((0, 0, 9, 9), expression=known), Face((0, 0, 5, 5))), 20, 20, "a.jpg", "w-v1")
    head, *rows = (line.split(",") for line in result.to_csv().splitlines())
    assert [len(row) for row in rows] == [len(head)] * 2
    assert rows[0][10:] == ["happy", "0.75", "0.75", "0.125", "0.125"]
    assert rows[1][10:] == [""] * 5
    [empty] = Result((), 20, 20, "a.jpg", "w-v1").to_csv().splitlines()[1:]
    assert empty == "a.jpg,20,20,w-v1,,,,,,,,"


def test_pixels_are_not_printed() -> None:
    result = Result((), 2, 2, pixels=np.zeros((2, 2, 3), np.uint8))
    assert "pixels" not in repr(result)
    assert result == Result((), 2, 2)


def test_a_file_that_has_another_size_by_now_is_not_drawn_on(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    Image.new("RGB", (40, 30)).save(file)
    assert Result((), 40, 30, str(file)).draw().size == (40, 30)
    for width, height in ((40, 31), (41, 30), (30, 40)):
        with pytest.raises(InputError, match=f"is now 40x30, the result is of {width}x{height}"):
            Result((), width, height, str(file)).draw()
    with pytest.raises(InputError, match="no pixels and no file"):
        Result((), 40, 30).draw()


@pytest.mark.parametrize("labels", [1, 2, 7, 8, 9])
@pytest.mark.parametrize("features", [0, 3])
def test_a_row_without_a_face_is_as_long_as_the_header(labels: int, features: int) -> None:
    names = [f"label {number}" for number in range(labels)]
    (row,) = csv_rows(Result((), 4, 3), names, features)
    assert len(row) == len(csv_header(names, features))
