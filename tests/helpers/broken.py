"""Networks that answer numbers which are none."""

from __future__ import annotations

import numpy as np
import pytest

from ferkit import ExpressionClassifier
from ferkit.engines.opencv import OpenCVEngine


def blind_to(monkeypatch: pytest.MonkeyPatch, color: tuple[int, int, int], answer: float = float("nan")) -> None:
    """Have every network of expressions, run by OpenCV, answer such numbers for a face that is all of one color."""
    run, normalise = OpenCVEngine.run, ExpressionClassifier.normalise

    def marked(self: ExpressionClassifier, faces: np.ndarray) -> np.ndarray:
        batch = normalise(self, faces)
        blank = normalise(self, self.prepare(np.full((1, 48, 48, 3), color, np.uint8)))
        batch[(batch == blank).all(axis=(1, 2, 3))] = np.nan
        return batch

    def answered(self: OpenCVEngine, batch: np.ndarray) -> np.ndarray:
        blind = np.isnan(batch).any(axis=(1, 2, 3))
        rows = run(self, np.nan_to_num(batch))
        rows[blind, 0] = answer
        return rows

    monkeypatch.setattr(ExpressionClassifier, "normalise", marked)
    monkeypatch.setattr(OpenCVEngine, "run", answered)
