"""Detection and the whole pipeline."""

from __future__ import annotations

import csv
import io
import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from ferkit import (
    Expression,
    ExpressionClassifier,
    Face,
    FaceDetector,
    ImageError,
    InputError,
    MissingExtraError,
    Pipeline,
    Result,
    WeightsError,
)


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return Pipeline()


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


def test_unknown_detector() -> None:
    with pytest.raises(InputError, match="ferkit, haar, yunet, none"):
        FaceDetector("mtcnn")
    for options in ({"min_score": 2}, {"min_size": -1}, {"min_size": float("nan")}):
        with pytest.raises(InputError):
            FaceDetector(**options)  # type: ignore[arg-type]


def test_haar_says_what_to_do_on_opencv_5(monkeypatch: pytest.MonkeyPatch) -> None:
    import cv2

    monkeypatch.delattr(cv2, "CascadeClassifier", raising=False)
    with pytest.raises(MissingExtraError, match='pip install "opencv-python-headless<5"'):
        FaceDetector("haar")


def test_detector_files(tmp_path: Path) -> None:
    with pytest.raises(WeightsError):
        FaceDetector("yunet", model=tmp_path / "missing")
    (tmp_path / "bad").write_text("nothing")
    with pytest.raises(WeightsError, match="YuNet"):
        FaceDetector("yunet", model=tmp_path / "bad")


def test_cascade_files(tmp_path: Path) -> None:
    import cv2

    if not hasattr(cv2, "CascadeClassifier"):
        pytest.skip("this OpenCV has no cascades")
    (tmp_path / "bad").write_text("nothing")
    for name in ("missing", "bad"):
        with pytest.raises((InputError, WeightsError), match="cascade"):
            FaceDetector("haar", model=tmp_path / name)


def test_yunet_never_falls_back() -> None:
    with pytest.raises(WeightsError, match="not in the local cache"):
        FaceDetector("yunet")


@pytest.mark.shared
def test_yunet(yunet_file: Path, astronaut: np.ndarray) -> None:
    import cv2

    detector = FaceDetector("yunet", model=yunet_file)
    for scale in (1, 3):  # three times larger the face is over 300 px
        picture = np.asarray(Image.fromarray(astronaut).resize((512 * scale, 512 * scale)))
        faces = detector.detect(picture)
        assert faces, scale
        landmarks = np.array(faces[0].landmarks) / scale
        assert landmarks.shape == (5, 2)
        assert landmarks[0, 0] < landmarks[1, 0]  # the subject's right eye is left in the image
        assert (landmarks[:2, 1] < landmarks[2, 1]).all()
        assert (landmarks[2, 1] < landmarks[3:, 1]).all()
        if hasattr(cv2, "CascadeClassifier"):
            haar = FaceDetector("haar").detect(picture)[0].box
            assert np.abs(np.array(faces[0].box) - haar).max() < 0.35 * faces[0].height  # one convention of boxes
    for shape in ((1, 1, 3), (3, 900, 3), (900, 3, 3), (200, 200, 3)):
        assert detector.detect(np.zeros(shape, np.uint8)) == []


@pytest.mark.shared
def test_yunet_finds_a_close_up(yunet_file: Path, astronaut: np.ndarray) -> None:
    close = np.asarray(Image.fromarray(astronaut[30:230, 130:330]).resize((1600, 1600)))
    faces = FaceDetector("yunet", model=yunet_file).detect(close)
    assert len(faces) == 1
    assert faces[0].height > 800


@pytest.mark.shared
@pytest.mark.slow
def test_faces_are_found_in_the_photos(shared: Path, yunet_file: Path) -> None:
    with (shared / "photos" / "labels.csv").open() as file:
        names = [row["file"] for row in csv.DictReader(file)]
    detector = FaceDetector("yunet", model=yunet_file)
    found = sum(bool(detector.detect(shared / "photos" / "images" / name)) for name in names)
    assert found / len(names) >= 0.95


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


def test_a_detector_file_without_a_detector_is_refused(tmp_path: Path) -> None:
    from ferkit.cli import main

    commands = (["predict", "x.jpg", "--detector", "none"], ["evaluate", "--data", str(tmp_path)])
    for command in commands:
        answer = CliRunner().invoke(main, [*command, "--detector-model", str(tmp_path)])
        assert answer.exit_code != 0
        assert "leave model out" in answer.output
