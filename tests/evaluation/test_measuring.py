"""Measuring what users run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ferkit import ExpressionClassifier, FaceDetector, InputError, LabelSet, WeightsError
from ferkit.crops import CropGeometry
from ferkit.data.faces import Faces
from ferkit.evaluation.measuring import evaluate

pytestmark = pytest.mark.train


def test_aliases_count_as_their_label(tmp_path: Path, crops: np.ndarray) -> None:
    for label in ("anger", "happiness"):
        (tmp_path / label).mkdir()
        Image.fromarray(crops[len(label)]).save(tmp_path / label / "a.png")
    assert evaluate(ExpressionClassifier(), tmp_path)["per_label"]["happy"]["n"] == 1


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_answers_that_are_not_numbers_are_not_measured(number: float, crops: np.ndarray) -> None:
    """A report of them would be no JSON."""

    class Blind:
        name, labels, crop = "blind", LabelSet("custom", ("angry", "happy", "sad")), CropGeometry()

        def predict_proba(self, crops: Any) -> Any:
            return np.concatenate([np.full((len(crops) - 1, 3), 1 / 3, np.float32), np.full((1, 3), number, np.float32)])

    faces = Faces(crops[:5], np.arange(5) % 3, Blind.labels)
    with pytest.raises(WeightsError, match=f"blind answers {number} for 1 of 5 faces; expected finite numbers"):
        evaluate(Blind(), faces)


def test_evaluate_finds_faces_in_photos(tmp_path: Path, photo: Path) -> None:
    (tmp_path / "happy").mkdir()
    (tmp_path / "happy" / "a.jpg").write_bytes(photo.read_bytes())
    report = evaluate(ExpressionClassifier(), tmp_path, detector=FaceDetector())
    assert (report["n"], report["accuracy"]) == (1, 1.0)


@pytest.mark.shared
@pytest.mark.slow
def test_the_shipped_accuracy(fer_csv: tuple[Path, Path]) -> None:
    """The card's figures come out again, and they are above the floors of the first release."""
    from ferkit.train import evaluate

    fer = evaluate(ExpressionClassifier(labels="fer2013"), fer_csv[0])
    plus = evaluate(ExpressionClassifier(labels="ferplus"), fer_csv[0], ferplus=fer_csv[1])
    assert fer["n"] == 3589
    assert plus["n"] == 3553
    assert fer["accuracy"] >= 0.685
    assert plus["accuracy"] >= 0.83  # the aim was 0.84; ten-crop reaches it
    metrics = {(m["labels"], m["tta"]): m for m in ExpressionClassifier().spec.metrics}
    assert metrics["fer2013", "none"]["accuracy"] == pytest.approx(fer["accuracy"], abs=5e-4)
    assert metrics["ferplus", "none"]["accuracy"] == pytest.approx(plus["accuracy"], abs=5e-4)
    assert fer["ece"] < 0.05


def test_a_limit_that_is_none() -> None:
    faces = Faces(np.zeros((2, 48, 48), np.uint8), np.arange(2))
    for limit in (0, -1, 1.5):
        with pytest.raises(InputError, match=r"limit=.*at least 1"):
            evaluate("fer2013-n-v6", faces, limit=limit)  # type: ignore[arg-type]
