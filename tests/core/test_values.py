"""Results as values: sequences, arrays, tables, hashes, copies, and how they show themselves."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
import sys
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from ferkit import (
    Ensemble,
    Expression,
    ExpressionClassifier,
    Face,
    FaceDetector,
    InputError,
    LabelSet,
    MissingExtraError,
    Pipeline,
    Result,
)
from ferkit.faces import as_expression


def face(box: tuple[float, float, float, float], label: str | None = "a", reason: str | None = None) -> Face:
    return Face(box, 0.75, expression=Expression(label, 0.6, {"a": 0.6, "b": 0.4}, reason))


NOT_A_NUMBER = [float("nan"), float("inf"), float("-inf")]


@pytest.mark.parametrize("number", NOT_A_NUMBER)
@pytest.mark.parametrize(
    "values",
    [
        lambda number: Face((0, 0, number, 9)),
        lambda number: Face((0, 0, 9, 9), number),
        lambda number: Face((0, 0, 9, 9), landmarks=((1, 2), (1, 2), (1, number), (1, 2), (1, 2))),
        lambda number: Face((0, 0, 9, 9), features=np.array([1, number], np.float32)),
        lambda number: Expression("a", 0.6, {"a": number, "b": 0.4}),
        lambda number: Expression("a", number, {"a": 0.6, "b": 0.4}),
        lambda number: Expression("a", 0.6, {"a": 0.6, "b": 0.4}, disagreement=number),
        lambda number: Expression(None, 0.0, {}, values={"valence": number}),
        lambda number: as_expression(np.array([0.9, number], np.float32), LabelSet("own", ("a", "b"), kind="labels"), None),
        lambda number: as_expression(np.array([0.9, number], np.float32), LabelSet("own", ("a", "b"), kind="values"), None),
    ],
)
def test_what_is_not_a_finite_number_is_no_answer(values: Callable[[float], object], number: float) -> None:
    """JSON has no such numbers, and who reads them in a table takes them for "not there"."""
    with pytest.raises(InputError, match="finite number"):
        values(number)


@pytest.fixture
def result() -> Result:
    faces = (face((0, 0, 9, 9)), face((0, 0, 20, 30), None, "unsure"), Face((1, 2, 3, 4)))
    return Result(faces, 40, 30, pixels=np.zeros((30, 40, 3), np.uint8))


def test_a_result_is_a_sequence_of_its_faces(result: Result) -> None:
    assert list(result) == list(result.faces)
    assert result[0] is result.faces[0]
    assert result[-1] is result.faces[-1]
    assert isinstance(result[1:], Result)
    assert result[1:].faces == result.faces[1:]
    assert (result[1:].width, result[1:].pixels is result.pixels) == (40, True)
    assert result[0] in result
    with pytest.raises(IndexError):
        result[3]


def test_arrays(result: Result) -> None:
    assert result.boxes.dtype == np.float64
    assert result.boxes.tolist() == [[0, 0, 9, 9], [0, 0, 20, 30], [1, 2, 3, 4]]
    assert result.scores.tolist() == [0.75, 0.75, 1]
    assert result.labels.tolist() == ["a", None, None]
    assert (result.labels == "a").tolist() == [True, False, False]
    assert result.largest is result.faces[1]
    nobody = Result((), 5, 5)
    assert (nobody.boxes.shape, nobody.scores.shape, nobody.labels.shape, nobody.largest) == ((0, 4), (0,), (0,), None)


def test_a_table_of_pandas(result: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    pandas = pytest.importorskip("pandas")
    table = result.to_dataframe()
    assert list(table.columns) == result.to_csv().splitlines()[0].split(",")
    assert table["label"].isna().tolist() == [False, True, True]
    assert table["a"].tolist()[0] == 0.6
    assert table["a"].isna().tolist() == [False, False, True]
    assert len(Result((), 5, 5).to_dataframe()) == 0
    assert isinstance(table, pandas.DataFrame)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match="pip install"):
        result.to_dataframe()


def test_values_hash_and_equal_values_alike(result: Result) -> None:
    again = face((0, 0, 9, 9))
    assert again == result[0]
    assert hash(again) == hash(result[0])
    assert len({*result.faces, again}) == 3
    assert hash(result) == hash(Result(result.faces, 40, 30))
    assert hash(result[0].expression) == hash(again.expression)


def test_values_turn_into_dicts_and_copies(result: Result) -> None:
    table = dataclasses.asdict(result[0])
    assert table["expression"]["probabilities"] == {"a": 0.6, "b": 0.4}
    json.dumps(table)
    table["expression"]["probabilities"]["a"] = 1.0  # a copy of one's own
    whole = dataclasses.asdict(result)
    assert [f["box"] for f in whole["faces"]] == [f.box for f in result]
    for other in (copy.deepcopy(result), copy.copy(result), pickle.loads(pickle.dumps(result)), dataclasses.replace(result)):
        assert other == result
        assert hash(other) == hash(result)
        with pytest.raises(TypeError):
            other[0].expression.probabilities["a"] = 1.0


def test_a_notebook_shows_picture_and_table(result: Result) -> None:
    html = result._repr_html_()
    assert html.count("<tr>") == 4
    assert 'src="data:image/png;base64,' in html
    assert "unsure" in html
    png = result._repr_png_()
    assert png is not None
    assert png.startswith(b"\x89PNG")
    evil = Result((Face((0, 0, 5, 5), expression=Expression("<b>", 0.6, {"<b>": 0.6, "c": 0.4})),), 9, 9, image="<script>x.jpg")
    assert evil._repr_png_() is None  # no pixels, no file: there is still the table
    assert "<script>" not in evil._repr_html_()
    assert "<b>" not in evil._repr_html_()


def test_a_large_photo_is_shown_small() -> None:
    import io

    png = Result((), 3000, 2000, pixels=np.zeros((2000, 3000, 3), np.uint8))._repr_png_()
    assert png is not None
    with Image.open(io.BytesIO(png)) as picture:
        assert picture.size == (800, 533)


@pytest.mark.parametrize(
    ("kind", "classes", "told"), [("classes", ("a",), "1 classes; at least two are"), ("labels", (), "0 labels; at least one is")]
)
def test_a_label_set_says_how_many_names_its_kind_needs(kind: str, classes: tuple[str, ...], told: str) -> None:
    with pytest.raises(InputError, match=f"has {told} needed"):
        LabelSet("x", classes, kind=kind)
    assert len(LabelSet("x", ("a",), kind="values")) == 1
    with pytest.raises(InputError, match="with the names 'sad'; expected several"):
        LabelSet("x", "sad")  # type: ignore[arg-type]


def test_parts_say_what_they_are() -> None:
    classifier = ExpressionClassifier("fer2013-n-v6", labels="ferplus", tta="flip", min_confidence=0.3)
    shown = repr(classifier)
    assert shown == "ExpressionClassifier('fer2013-n-v6', labels='ferplus', runtime='opencv', tta='flip', min_confidence=0.3)"
    assert repr(FaceDetector("none")) == "FaceDetector('none')"
    assert "min_size=20" in repr(FaceDetector("none", min_size=20))
    assert repr(Pipeline(FaceDetector("none"), classifier)) == f"Pipeline(FaceDetector('none'), {shown})"
    other = ExpressionClassifier("fer2013-s-v6", labels="ferplus", tta="flip")
    ensemble = Ensemble([classifier, other], weights=[1, 3])
    assert repr(ensemble).startswith("Ensemble('fer2013-n-v6+fer2013-s-v6', ")
    assert "weights=[0.25, 0.75]" in repr(ensemble)
    own = ExpressionClassifier("fer2013-n-v6", labels=("happy", "sad"))
    assert "labels=('happy', 'sad')" in repr(own)
