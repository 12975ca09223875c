"""YuNet, from its pinned file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ferkit import (
    FaceDetector,
    WeightsError,
)


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
