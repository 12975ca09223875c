"""One where many are expected is an error, never hundreds of empty answers; what is plainly many is taken, whatever it is made of."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ferkit import Ensemble, ExpressionClassifier, FaceDetector, InputError, Pipeline
from tests.helpers.tensors import Arrayish, Interface, Tensor, TorchTensor

GREY = np.random.default_rng(0).integers(0, 256, (48, 48), dtype=np.uint8)
RGB = np.repeat(GREY[:, :, None], 3, axis=2)
ONE: dict[str, Callable[[], Any]] = {
    "grey array": lambda: GREY,
    "grey array with an axis for it": lambda: GREY[:, :, None],
    "RGB array": lambda: RGB,
    "RGBA array": lambda: np.dstack([RGB, GREY]),
    "float array": lambda: RGB / 255,
    "number": lambda: np.float32(3),
    "grey tensor": lambda: Tensor(GREY),
    "RGB tensor": lambda: Tensor(RGB),
    "torch tensor": lambda: TorchTensor(RGB),
    "torch tensor, channels first": lambda: TorchTensor(RGB.transpose(2, 0, 1)),
    "array protocol": lambda: Arrayish(RGB),
    "array interface": lambda: Interface(GREY),
    "PIL image": lambda: Image.fromarray(RGB),
    "bytes": lambda: b"\xff\xd8\xff",
    "bytearray": lambda: bytearray(b"\xff\xd8\xff"),
    "memoryview": lambda: memoryview(b"\xff\xd8\xff"),
    "file": lambda: io.BytesIO(b"\xff\xd8\xff"),
    "name": lambda: "photo.jpg",
    "path": lambda: Path("photo.jpg"),
    "None": lambda: None,
    "int": lambda: 3,
}


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return Pipeline(FaceDetector("none"), ExpressionClassifier("fer2013-n-v6"))


@pytest.fixture(scope="module", params=["classifier", "ensemble"])
def classifier(request: pytest.FixtureRequest) -> ExpressionClassifier | Ensemble:
    one = ExpressionClassifier("fer2013-n-v6")
    return one if request.param == "classifier" else Ensemble([one, ExpressionClassifier("fer2013-s-v6")])


@pytest.mark.parametrize("name", ONE)
def test_one_image_is_not_many(pipeline: Pipeline, name: str) -> None:
    with pytest.raises(InputError, match=r"many images.*\[image\]"):
        pipeline.predict(ONE[name]())


@pytest.mark.parametrize("name", ONE)
@pytest.mark.parametrize("method", ["predict", "predict_proba", "logits", "prepare"])
def test_one_crop_is_not_many(classifier: ExpressionClassifier | Ensemble, name: str, method: str) -> None:
    with pytest.raises(InputError, match=r"expected \(n, H, W\).*crop\[None\]"):
        getattr(classifier, method)(ONE[name]())


MANY: dict[str, Callable[[], Any]] = {
    "list": lambda: [GREY, RGB],
    "tuple": lambda: (RGB, GREY),
    "generator": lambda: (picture for picture in (GREY, RGB)),
    "grey batch": lambda: np.stack([GREY, GREY]),
    "grey batch with an axis for it": lambda: np.stack([GREY, GREY])[..., None],
    "RGB batch": lambda: np.stack([RGB, RGB]),
    "tensor": lambda: Tensor(np.stack([RGB, RGB])),
    "torch batch": lambda: TorchTensor(np.stack([RGB, RGB]).transpose(0, 3, 1, 2)),
    "tensors": lambda: [Tensor(RGB), TorchTensor(RGB.transpose(2, 0, 1))],
    "array protocol": lambda: Arrayish(np.stack([RGB, RGB])),
    "array interface": lambda: Interface(np.stack([GREY, GREY])),
    "several by protocols": lambda: [Arrayish(RGB), Interface(GREY)],
    "PIL images": lambda: [Image.fromarray(GREY), Image.fromarray(RGB)],
}


@pytest.mark.parametrize("name", MANY)
def test_many_are_many(pipeline: Pipeline, classifier: ExpressionClassifier | Ensemble, name: str) -> None:
    wanted = classifier.predict_proba([GREY])[0]
    assert classifier.prepare(MANY[name]()).shape == (2, 48, 48)
    for row in classifier.predict_proba(MANY[name]()):
        assert row == pytest.approx(wanted, abs=1e-6)
    assert len(classifier.predict(MANY[name]())) == 2
    results = pipeline.predict(MANY[name]())
    assert [len(result) for result in results] == [1, 1]


def test_nothing_is_nothing(pipeline: Pipeline, classifier: ExpressionClassifier | Ensemble) -> None:
    assert classifier.predict([]) == []
    assert classifier.predict(iter([])) == []
    assert classifier.predict_proba(np.zeros((0, 48, 48), np.uint8)).shape == (0, len(classifier.labels))
    assert pipeline.predict([]) == pipeline.predict(iter([])) == []


def test_files_and_names_among_the_many(pipeline: Pipeline, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(RGB).save(path)
    with path.open("rb") as file:
        results = pipeline.predict([path, str(path), path.read_bytes(), file, io.BytesIO(path.read_bytes())])
    assert len({result.faces for result in results}) == 1
    assert [result.image for result in results] == [str(path), str(path), None, None, None]
