"""Detectors by name: what opens, what is refused and how."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from ferkit import (
    FaceDetector,
    InputError,
    MissingExtraError,
    WeightsError,
)
from ferkit.detectors.face_detector import BACKENDS, open_detector


def test_unknown_detector() -> None:
    with pytest.raises(InputError, match="ferkit, haar, yunet, none"):
        FaceDetector("mtcnn")
    for options in ({"min_score": 2}, {"min_size": -1}, {"min_size": float("nan")}):
        with pytest.raises(InputError):
            FaceDetector(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", BACKENDS)
def test_every_detector(name: str, astronaut: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is a row of the table finds the one face, says how sure it is, leaves the picture as it is, and takes an empty one."""
    monkeypatch.setenv("FERKIT_OFFLINE", "1")
    try:
        detector = FaceDetector(name)
    except (MissingExtraError, WeightsError) as error:
        pytest.skip(f"{name} cannot be opened here: {error}")
    before = astronaut.copy()
    faces = detector.detect(astronaut)
    assert np.array_equal(before, astronaut)
    assert faces
    assert all(face.score > 0 for face in faces)
    areas = [face.width * face.height for face in faces]
    assert areas == sorted(areas, reverse=True)
    x1, y1, x2, y2 = faces[0].box
    assert x1 < 225 < x2
    assert y1 < 115 < y2
    assert all(len(face.landmarks) == 5 for face in faces if face.landmarks is not None)


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


@pytest.mark.shared
@pytest.mark.slow
def test_faces_are_found_in_the_photos(shared: Path, yunet_file: Path) -> None:
    with (shared / "photos" / "labels.csv").open() as file:
        names = [row["file"] for row in csv.DictReader(file)]
    detector = FaceDetector("yunet", model=yunet_file)
    found = sum(bool(detector.detect(shared / "photos" / "images" / name)) for name in names)
    assert found / len(names) >= 0.95


@pytest.mark.parametrize("name", ["none", "yunet"])
def test_threads_of_detectors_that_opencv_runs(name: str, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue("yunet_file") if name == "yunet" else None
    before = cv2.getNumThreads()
    try:
        for opened in (FaceDetector, open_detector):
            cv2.setNumThreads(1)
            opened(name, model=model, threads=2)
            assert cv2.getNumThreads() == 2
            with pytest.raises(InputError, match="threads=0; expected a whole number"):
                opened(name, model=model, threads=0)
    finally:
        cv2.setNumThreads(before)
