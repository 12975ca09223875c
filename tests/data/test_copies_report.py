"""The report of copies."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from ferkit.data.copies_report import copies

pytestmark = pytest.mark.train


def test_copies_by_hand() -> None:
    rng = np.random.default_rng(0)
    faces = np.stack([np.asarray(Image.fromarray(rng.integers(0, 255, (9, 9), np.uint8)).resize((48, 48))) for _ in range(6)])
    darker = (faces[1] * 0.6).astype(np.uint8)
    report = copies(
        {"train": np.stack([*faces[:4], faces[0], darker]), "test": np.stack([faces[5], faces[2], faces[1]])},
        {"train": ["a", "b", "a", "b", "b", "b"], "test": ["a", "a", "b"]},
        {"train": list("012345"), "test": list("678")},
    )
    assert report["within"]["train"] == {"faces": 6, "exact": 1, "near": 2, "labels_differ": 1}
    assert report["within"]["test"] == {"faces": 3, "exact": 0, "near": 0, "labels_differ": 0}
    assert report["across"]["train, test"] == {"exact": 2, "near": 2}
    assert ["1", "5", "8"] in report["groups"]
