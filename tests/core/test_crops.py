"""The crop: where a face is cut, whatever lies at the edge."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ferkit import InputError
from ferkit.crops import CropGeometry, crop_face
from tests.helpers.boxes import box, points

TEMPLATE = ((0.31, 0.37), (0.67, 0.39), (0.46, 0.59), (0.34, 0.77), (0.62, 0.78))
GEOMETRIES = [
    CropGeometry(),
    CropGeometry("box"),
    CropGeometry("aligned", 1.0, template=TEMPLATE),
    CropGeometry(scale=2.5, centre=(0.3, -0.4)),
]


@settings(deadline=None, max_examples=200)
@given(box=box, landmarks=st.none() | points, geometry=st.sampled_from(GEOMETRIES), colour=st.booleans())
def test_any_box_gives_a_crop_and_changes_nothing(
    box: tuple[float, ...], landmarks: np.ndarray | None, geometry: CropGeometry, colour: bool
) -> None:
    image = np.random.default_rng(0).integers(0, 255, (40, 60, 3) if colour else (40, 60)).astype(np.uint8)
    before, given_box = image.copy(), np.array(box)
    landmarks_before = None if landmarks is None else landmarks.copy()
    try:
        crop = crop_face(image, given_box, geometry, landmarks)
    except InputError as error:
        assert geometry.mode == "aligned"
        assert "coincide" in str(error)
        return
    assert crop.dtype == np.uint8
    assert crop.ndim == image.ndim
    assert min(crop.shape[:2]) >= 1
    if geometry.mode != "box":
        assert crop.shape[0] == crop.shape[1]
    assert not np.shares_memory(crop, image)
    assert np.array_equal(image, before)
    assert np.array_equal(given_box, np.array(box))
    assert landmarks is None or np.array_equal(landmarks, landmarks_before)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_boxes_that_are_not_finite(geometry: CropGeometry, bad: float) -> None:
    with pytest.raises(InputError, match="finite"):
        crop_face(np.zeros((9, 9), np.uint8), (0, 0, bad, 5), geometry)


def test_inside_crop_is_the_image_itself() -> None:
    image = np.arange(100 * 100, dtype=np.uint32).reshape(100, 100).astype(np.uint8)
    crop = crop_face(image, (20, 30, 60, 70), CropGeometry(scale=1.0))
    assert np.array_equal(crop, image[30:70, 20:60])


def test_outside_repeats_the_edge() -> None:
    image = np.full((50, 50), 77, np.uint8)
    assert (crop_face(image, (-400, -400, -300, -300), CropGeometry()) == 77).all()
    assert (crop_face(image, (-10, -10, 60, 60), CropGeometry(scale=3)) == 77).all()


def test_huge_box_needs_little_memory() -> None:
    assert crop_face(np.zeros((10, 10, 3), np.uint8), (0, 0, 1e6, 1e6), CropGeometry()).size < 3 * 8200**2


def test_aligned_crop_puts_the_landmarks_on_the_template() -> None:
    image = np.zeros((200, 200), np.uint8)
    angle = 0.4
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    landmarks = (np.array(TEMPLATE) - 0.5) @ turn.T * 96 + 100
    for x, y in landmarks:
        image[int(y) - 2 : int(y) + 3, int(x) - 2 : int(x) + 3] = 255
    crop = crop_face(image, (50, 50, 150, 150), CropGeometry("aligned", 1.0, template=TEMPLATE), landmarks)
    assert abs(len(crop) - 96) <= 1
    for x, y in np.array(TEMPLATE) * len(crop):
        assert crop[int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2].max() > 200


@pytest.mark.parametrize("options", [{"mode": "round"}, {"scale": 0}, {"scale": -1}, {"mode": "aligned"}])
def test_bad_geometry(options: dict[str, object]) -> None:
    with pytest.raises(InputError):
        CropGeometry(**options)  # type: ignore[arg-type]
