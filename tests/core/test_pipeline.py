"""Images in, results out."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from ferkit import (
    ExpressionClassifier,
    FaceDetector,
    FerkitError,
    ImageError,
    InputError,
    LabelSet,
    Pipeline,
    Result,
    WeightsError,
)
from ferkit.crops import CropGeometry
from tests.helpers.broken import blind_to


def test_a_portrait(pipeline: Pipeline, photo: Path) -> None:
    result = pipeline(photo)
    assert (result.width, result.height) == (512, 512)
    assert result.image == str(photo)
    assert len(result.faces) == 1
    face = result.faces[0]
    assert face.expression is not None
    x1, y1, x2, y2 = face.box
    assert x1 < 225 < x2
    assert y1 < 115 < y2
    assert 80 < face.height < 220


def test_json_has_the_schema_to_the_letter(pipeline: Pipeline, photo: Path) -> None:
    table = json.loads(pipeline(photo).to_json())
    assert list(table) == ["schema", "image", "width", "height", "weights", "faces"]
    assert table["schema"] == 1
    assert list(table["faces"][0]) == ["box", "score", "landmarks", "label", "confidence", "probabilities"]
    assert sum(table["faces"][0]["probabilities"].values()) == pytest.approx(1, abs=1e-5)


def test_sources_agree(pipeline: Pipeline, photo: Path) -> None:
    pixels = np.asarray(Image.open(photo))
    expected = pipeline(photo).faces
    for image in (str(photo), photo.read_bytes(), Image.open(photo), pixels):
        assert pipeline(image).faces == expected
    assert pipeline(pixels[:, :, ::-1], color="bgr").faces == expected


def test_no_face_is_an_empty_result(pipeline: Pipeline) -> None:
    for shape in ((1, 1, 3), (5, 400, 3), (400, 5, 3), (300, 300, 3)):
        result = pipeline(np.zeros(shape, np.uint8))
        assert result.faces == ()
        assert len(result) == 0
        assert json.loads(result.to_json())["faces"] == []


def test_a_face_and_its_crop_get_the_same_answer(pipeline: Pipeline, photo: Path) -> None:
    result = pipeline(photo)
    assert result.pixels is not None
    crop = pipeline.crop(result.pixels, result.faces[0])
    assert pipeline.classifier.predict(crop[None])[0] == result.faces[0].expression


def test_many_images_equal_one_by_one(pipeline: Pipeline, astronaut: np.ndarray) -> None:
    pipeline = Pipeline(FaceDetector(min_score=0.7), pipeline.classifier)  # by default the patch on her suit just passes for a face
    images = [astronaut, np.zeros((40, 40, 3), np.uint8), astronaut[:, ::-1].copy(), np.tile(astronaut, (1, 2, 1))]
    for batch_size in (1, 3, 32):
        many = pipeline.predict(images, batch_size)
        assert [len(r.faces) for r in many] == [1, 0, 1, 2]
        for result, image in zip(many, images, strict=True):
            alone = pipeline(image)
            assert [f.box for f in result.faces] == [f.box for f in alone.faces]
            for a, b in zip(result.faces, alone.faces, strict=True):
                assert a.expression is not None
                assert b.expression is not None
                assert a.expression.probabilities == pytest.approx(dict(b.expression.probabilities), abs=1e-5)
    assert pipeline.predict([]) == []
    assert len(pipeline.predict(iter(images[:2]))) == 2


@pytest.mark.parametrize("own", [False, True])
def test_one_answer_that_is_not_a_number_costs_one_image(own: bool, crops: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither of a network, nor of a classifier of one's own, whose faces are classified together with others'."""
    blank = np.full((48, 48, 3), 200, np.uint8)
    pipeline = Pipeline("none", Blind() if own else None)
    if not own:
        blind_to(monkeypatch, (200, 200, 200))
    images = [crops[0], blank, crops[1], blank]
    said = "nan" if own else "fer2013-s-v6 answers nan for 1 of 1 faces; expected finite numbers"
    found = list(pipeline.stream(images, on_error="yield"))
    assert [type(one) for one in found] == [Result, InputError if own else WeightsError] * 2
    assert said in str(found[1])
    heard: list[tuple[object, FerkitError]] = []
    assert len(list(pipeline.stream(images, on_error=lambda image, error: heard.append((image, error))))) == 2
    assert [image is blank for image, _ in heard] == [True, True]
    stream = pipeline.stream(images)
    assert len(next(stream)) == 1
    with pytest.raises(FerkitError, match=said):
        next(stream)


class Blind:
    """A classifier of one's own, which has no numbers for a blank picture."""

    name, labels, crop = "blind", LabelSet("own", ("a", "b"), kind="labels"), CropGeometry()

    def predict_proba(self, crops: Any) -> Any:
        return np.array([[0.5, np.nan if np.ptp(crop) == 0 else 0.5] for crop in crops], np.float32)


def test_predict_refuses_one_image(pipeline: Pipeline, photo: Path) -> None:
    for image in (photo, str(photo), photo.read_bytes()):
        with pytest.raises(InputError, match=r"predict\(\[image\]\)"):
            pipeline.predict(image)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="batch_size"):
        pipeline.predict([photo], batch_size=0)
    with pytest.raises(ImageError):
        pipeline.predict([photo, photo.parent / "missing.jpg"])


@pytest.mark.slow
def test_threads_share_a_pipeline(astronaut: np.ndarray) -> None:
    """An OpenCV network shared without a lock answers wrong numbers silently: 8 threads x 200 must equal one thread."""
    pipeline = Pipeline()
    face = astronaut[20:220, 120:320]
    images = [np.roll(face, shift, axis=1).copy() for shift in range(0, 20, 2)]
    images = [np.ascontiguousarray(image[::2, ::2]) if i % 2 else image for i, image in enumerate(images)]
    expected = [pipeline(image).to_dict() for image in images]
    assert any(e["faces"] for e in expected)

    def work(seed: int) -> list[bool]:
        order = np.random.default_rng(seed).integers(0, len(images), 200)
        return [pipeline(images[i]).to_dict() == expected[i] for i in order]

    with ThreadPoolExecutor(8) as pool:
        assert all(all(rows) for rows in pool.map(work, range(8)))


def test_unknown_parts() -> None:
    with pytest.raises(InputError, match="expected one of ferkit"):
        Pipeline("hare")


def test_the_whole_image_as_a_face(photo: Path, crops: np.ndarray) -> None:
    pipeline = Pipeline(FaceDetector("none"))
    result = pipeline(crops[0])
    assert result.faces[0].box == (0, 0, 48, 48)
    assert result.faces[0].expression == pipeline.classifier.predict(crops[:1])[0]


def test_classifier_can_be_chosen(photo: Path) -> None:
    result = Pipeline(classifier=ExpressionClassifier(labels="ferplus"))(photo)
    assert result.faces[0].expression is not None
    assert "contempt" in result.faces[0].expression.probabilities


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"model": "x.onnx"}, "leave model out"),
        ({"min_score": 0.5}, "leave min_score out"),
        ({"model": "x", "min_score": 0.0}, "model and min_score"),
    ],
)
def test_no_detection_takes_nothing_that_it_would_ignore(given: dict[str, object], named: str) -> None:
    with pytest.raises(InputError, match=named):
        FaceDetector("none", **given)  # type: ignore[arg-type]


def test_a_detector_file_is_never_ignored(tmp_path: Path) -> None:
    """Where no detector looks it is refused; where none is named, the default one opens it, and says what it misses."""
    from ferkit.cli.main import main

    commands = {
        ("predict", "x.jpg", "--detector", "none"): "leave model out",
        ("evaluate", "--data", str(tmp_path)): "has no spec.json",
    }
    for command, said in commands.items():
        answer = CliRunner().invoke(main, [*command, "--detector-model", str(tmp_path)])
        assert answer.exit_code != 0
        assert said in answer.output
