"""Whole photos are told from ready crops, whoever reads them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from ferkit import ExpressionClassifier, FaceDetector
from ferkit.cli.main import main
from ferkit.data.reading import Unmade, read_cut_faces
from ferkit.data.recognising import are_photos, detector_for
from ferkit.protocols import cut, prepared


@pytest.fixture
def photos(astronaut: np.ndarray, tmp_path: Path) -> Path:
    for label, shift in (("happy", 0), ("sad", 6)):
        folder = tmp_path / "photos" / label
        folder.mkdir(parents=True)
        for number in range(2):
            Image.fromarray(astronaut[: 400 + 40 * number, shift : 420 + shift]).save(folder / f"{number}.png")
    return tmp_path / "photos"


def test_photos_are_told_from_crops(photos: Path, tmp_path: Path, astronaut: np.ndarray, capsys: pytest.CaptureFixture[str]) -> None:
    finder = FaceDetector()
    assert are_photos(sorted(photos.rglob("*.png")), finder)
    assert not getattr(detector_for(photos, "PublicTest"), "whole", False)
    assert "holds whole photos" in capsys.readouterr().err
    face = finder.detect(astronaut)[0]
    x1, y1, x2, y2 = (round(v) for v in face.box)
    middle, side = (x1 + x2) // 2, round(0.55 * (y2 - y1))
    crops = tmp_path / "crops" / "happy"
    crops.mkdir(parents=True)
    crop = astronaut[y1 - 5 : y1 - 5 + 2 * side, middle - side : middle + side]
    Image.fromarray(crop).resize((224, 224)).save(crops / "large.png")
    Image.fromarray(crop).resize((48, 48)).save(crops / "small.png")
    assert not are_photos(sorted(crops.glob("*.png")), finder)
    assert not are_photos([], finder)


def test_faces_of_photos_are_the_pipelines(photos: Path) -> None:
    classifier, finder = ExpressionClassifier(), FaceDetector()
    read = read_cut_faces(photos, "PublicTest", Unmade(classifier.crop))
    pixels = np.asarray(Image.open(photos / "happy" / "0.png"))
    wanted = prepared(classifier, cut(pixels, finder.detect(pixels)[0], finder, classifier.crop))
    assert np.array_equal(read.images[0], wanted)
    squashed = read_cut_faces(photos, "PublicTest", Unmade(classifier.crop), detector=FaceDetector("none"))
    assert not np.array_equal(read.images, squashed.images)


def test_evaluate_finds_the_faces(photos: Path) -> None:
    def measured(*more: str) -> dict[str, float]:
        done = CliRunner().invoke(main, ["evaluate", "--data", str(photos), "--format", "json", *more])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)  # type: ignore[no-any-return]

    found = measured()
    assert found["confusion"] == measured("--detector", "ferkit")["confusion"]
    assert found["ece"] != measured("--detector", "none")["ece"]
