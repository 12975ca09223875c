"""The page of a measurement."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from ferkit import ExpressionClassifier, LabelSet
from ferkit.cli.main import main
from ferkit.data.faces import Faces
from ferkit.evaluation.measuring import measure
from ferkit.evaluation.report import confident_mistakes, write_report

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
pytestmark = pytest.mark.train


def test_the_page_is_self_contained(tmp_path: Path, crops: np.ndarray) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib")
    names = tuple(f"{number}\udcff.png" for number in range(len(crops)))  # as of files whose names are not UTF-8
    skipped = (("x", "<x>.png: empty"), ("y", "y\udcfe.png: empty"))
    faces = Faces(crops, np.arange(len(crops)) % 3, LabelSet("custom", ("angry", "happy", "sad")), skipped=skipped, files=names)
    measured = measure(ExpressionClassifier(), faces)
    epochs = [{"epoch": i, "loss": 1 / i, "fer2013_accuracy": 0.5, "learning_rate": 0.1} for i in (1, 2, 3)]
    page = write_report(measured, tmp_path / "report", history=epochs)
    text = page.read_text(encoding="utf-8")
    sources = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    shown = confident_mistakes(measured, 24)
    assert len(sources) == 4 + len(shown)
    assert "http" not in text
    assert "<x>" not in text
    assert "&lt;x&gt;" in text
    assert "3\\udcff.png" in text
    assert "y\\udcfe.png" in text
    confidence = measured.probabilities.max(axis=1)[shown]
    assert (np.diff(confidence) <= 0).all()
    assert all(measured.probabilities[i].argmax() != measured.truth[i] for i in shown)
    assert [p.name for p in (tmp_path / "report").iterdir()] == ["report.html"]


def test_mistakes_show_what_they_rest_on(tmp_path: Path, crops: np.ndarray) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib")
    faces = Faces(crops, np.arange(len(crops)) % 3, LabelSet("custom", ("angry", "happy", "sad")))
    measured = measure(ExpressionClassifier(), faces)
    asked = []

    def reason(face: np.ndarray, column: int) -> np.ndarray:
        asked.append((face, column))
        return np.zeros((*face.shape[:2], 3), np.uint8)

    text = write_report(measured, tmp_path, reason=reason).read_text(encoding="utf-8")
    shown = confident_mistakes(measured, 24)
    assert shown
    assert [column for _, column in asked] == [int(measured.probabilities[i].argmax()) for i in shown]
    assert text.count('alt="why ') == len(shown)
    assert "orange speaks for it" in text


def test_evaluate_command_writes_the_page(tmp_path: Path, small_csv: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib")
    done = CliRunner().invoke(main, ["evaluate", "--data", str(small_csv), "--report", str(tmp_path / "r"), "--format", "json"])
    assert done.exit_code == 0, done.output
    assert {"reliability", "coverage_risk", "aurc"} <= set(json.loads(done.stdout))
    assert (tmp_path / "r" / "report.html").stat().st_size > 50_000
