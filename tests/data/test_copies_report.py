"""The report of copies."""

from __future__ import annotations

import weakref
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from ferkit.data.copies_report import copies
from ferkit.data.near_copies import Looks

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


def test_faces_need_not_be_held() -> None:
    """They are read a few at a time, and what is compared of them says the same."""
    rng = np.random.default_rng(1)
    faces = rng.integers(0, 255, (600, 20, 20), np.uint8)
    faces[500:550] = faces[:50]
    faces[550:560] = faces[60:70, :, ::-1]
    alive, most = set[int](), 0

    def read() -> Iterator[np.ndarray]:
        nonlocal most
        for number, face in enumerate(faces):
            one = face.copy()
            alive.add(number)
            weakref.finalize(one, alive.discard, number)
            most = max(most, len(alive))
            yield one

    names = {"train": [str(number) for number in range(600)]}
    report = copies({"train": Looks.of(read())}, names, names)
    assert report == copies({"train": faces}, names, names)
    assert (report["within"]["train"]["exact"], report["within"]["train"]["near"]) == (50, 60)
    assert most <= 2 * 256  # those that are looked at, and those that come after them
