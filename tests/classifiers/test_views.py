"""Test-time augmentation."""

from __future__ import annotations

import numpy as np
import pytest

from ferkit import ExpressionClassifier, InputError
from ferkit.classifiers.views import View, random_views, views


def test_views() -> None:
    assert views(1) == [View(0.0, 0.0, False)]
    assert views(2) == [View(0.0, 0.0, False), View(0.0, 0.0, True)]
    ten = views(10)
    assert len(ten) == len(set(ten)) == 10
    assert {abs(view.x) for view in ten} == {0.0, 2.0}
    for count in (3, 7, 11, 20, 33, 100):
        assert len(set(views(count))) == count
        assert views(count)[:3] == views(3)


def test_random_views_are_drawn_once_for_all(crops: np.ndarray) -> None:
    assert random_views(10) == random_views(10) == ExpressionClassifier(tta="random:10")._views
    assert random_views(10, 1) != random_views(10)
    assert random_views(10)[:3] == random_views(3)
    many = random_views(100)
    assert max(abs(v.x) for v in many) <= 4.8
    assert max(abs(v.angle) for v in many) <= 10
    assert 0.9 <= min(v.zoom for v in many) < max(v.zoom for v in many) <= 1.1
    assert 30 < sum(v.mirrored for v in many) < 70
    ten = ExpressionClassifier(tta="random:10")
    assert ten.tta == "random:10"
    p = ten.predict_proba(crops)
    assert np.array_equal(p, ExpressionClassifier(tta="random:10").predict_proba(crops))
    assert np.abs(ten.predict_proba(crops[5:7]) - p[5:7]).max() < 1e-5  # whoever comes with a face
    assert not np.allclose(p, ExpressionClassifier(tta="random:10:7").predict_proba(crops), atol=1e-4)
    assert ExpressionClassifier(tta="ten-crop").tta == 10


def test_a_view_moves_turns_and_enlarges() -> None:
    from ferkit.classifiers.views import seen

    face = np.zeros((1, 48, 48), np.uint8)
    face[0, 10:14, 22:26] = 200  # a spot above the middle
    spot = lambda view: np.argwhere(seen(face, view)[0] > 100).mean(axis=0).tolist()  # noqa: E731
    assert spot(View(0, 0, False)) == [11.5, 23.5]
    assert spot(View(3, 2, False)) == [13.5, 26.5]
    assert spot(View(0, 0, False, 0, 1.5)) == pytest.approx([5.5, 23.5], abs=0.6)
    turned = spot(View(0, 0, False, 90))
    assert turned == pytest.approx([23.5, 11.5], abs=0.6)  # counterclockwise: from above to the left


@pytest.mark.parametrize("tta", [0, -1, 101, "many", 1.5j, [2], "random:0", "random:101", "random:", "random:3:x"])
def test_bad_tta(tta: object) -> None:
    with pytest.raises(InputError, match="tta"):
        ExpressionClassifier(tta=tta)  # type: ignore[arg-type]


def test_flip_averages_the_face_and_its_mirror(classifier: ExpressionClassifier, crops: np.ndarray) -> None:
    both = (classifier.predict_proba(crops) + classifier.predict_proba(crops[:, :, ::-1])) / 2
    for tta in ("flip", 2, "2"):
        assert np.abs(ExpressionClassifier(tta=tta).predict_proba(crops) - both).max() < 1e-5
    mirrored = ExpressionClassifier(tta="flip").predict_proba(crops[:, :, ::-1])
    assert np.abs(mirrored - both).max() < 1e-5
