"""The crop: where a face is cut, whatever lies at the edge."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ferkit import InputError
from ferkit.crops import CropGeometry, crop_face, picture_to_crop
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


@pytest.mark.parametrize("face", [40, 90, 200])
def test_an_aligned_crop_in_color_is_that_of_each_channel(face: int) -> None:
    """Also where it is warped in another number of channels, because it is most of the picture."""
    image = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    turned = np.array([[np.cos(0.3), np.sin(0.3)], [-np.sin(0.3), np.cos(0.3)]])
    landmarks = (np.array(TEMPLATE) - 0.5) @ turned * face + [80.3, 60.8]
    geometry = CropGeometry("aligned", 1.0, template=TEMPLATE)
    planes = [crop_face(np.ascontiguousarray(image[..., c]), (0, 0, 9, 9), geometry, landmarks) for c in range(3)]
    crop = crop_face(image, (0, 0, 9, 9), geometry, landmarks)
    assert np.abs(crop - np.stack(planes, axis=2).astype(int)).max() <= 1


@pytest.mark.parametrize("options", [{"mode": "round"}, {"scale": 0}, {"scale": -1}, {"mode": "aligned"}])
def test_bad_geometry(options: dict[str, object]) -> None:
    with pytest.raises(InputError):
        CropGeometry(**options)  # type: ignore[arg-type]


# A picture of which every pixel says where it lies: 10 of y in the first channel, 10 of x in the second.
MAP = np.stack([*np.meshgrid(np.arange(20) * 10, np.arange(20) * 10, indexing="ij"), np.zeros((20, 20), int)], axis=2).astype(np.uint8)


@pytest.mark.parametrize(
    ("geometry", "box", "rows", "columns"),
    [
        (CropGeometry(scale=1.0), (4, 6, 8, 14), (6, 14), (2, 10)),  # as high as the box, on its middle
        (CropGeometry(scale=0.5), (4, 6, 8, 14), (8, 12), (4, 8)),
        (CropGeometry(scale=1.0, centre=(0.25, -0.5)), (4, 6, 8, 14), (2, 10), (4, 12)),  # moved by 2 to the right, by 4 up
        (CropGeometry(), (4, 5, 9, 15), (5, 15), (2, 12)),  # 0.95 of 10 is rounded to a whole pixel, and so is the corner
        (CropGeometry("box"), (4.4, 6.6, 9.4, 14.6), (7, 15), (4, 9)),
        (CropGeometry("box"), (4, 6, 4, 6), (6, 7), (4, 5)),  # a point is a pixel
        (CropGeometry(scale=1.0), (8, 14, 4, 6), (6, 14), (2, 10)),  # corners the other way round
        (CropGeometry("aligned", 1.0, template=TEMPLATE), (4, 6, 8, 14), (6, 14), (2, 10)),  # no landmarks: as a square
    ],
)
def test_which_pixels_are_cut(geometry: CropGeometry, box: tuple[float, ...], rows: tuple[int, int], columns: tuple[int, int]) -> None:
    crop = crop_face(MAP, box, geometry)
    assert np.array_equal(crop, MAP[slice(*rows), slice(*columns)])
    if box[0] <= box[2]:  # and the matrix says the same
        matrix = picture_to_crop(box, geometry)
        corners = matrix @ np.array([[columns[0], rows[0], 1], [columns[1], rows[1], 1]]).T
        assert corners.T.tolist() == pytest.approx(np.array([[0, 0], [1, 1]]))


def test_landmarks_of_the_template_itself_cut_the_pixels_themselves() -> None:
    geometry, inner = CropGeometry("aligned", 1.0, template=TEMPLATE), np.array([3.0, 5.0])
    landmarks = np.array(TEMPLATE) * 10 + inner
    assert np.array_equal(crop_face(MAP, (0, 0, 5, 5), geometry, landmarks), MAP[5:15, 3:13])
    matrix = picture_to_crop((0, 0, 5, 5), geometry, landmarks)
    assert matrix == pytest.approx(np.array([[0.1, 0, -0.3], [0, 0.1, -0.5]]))
    wide = CropGeometry("aligned", 2.0, template=TEMPLATE)  # twice as much around the same face, at the same scale
    assert np.array_equal(crop_face(MAP, (0, 0, 5, 5), wide, landmarks)[5:15, 5:15], MAP[5:15, 3:13])


@pytest.mark.parametrize(("span", "side"), [(1e-3, 1), (1e5, 4096)])
def test_aligned_crops_have_a_least_and_a_largest_side(span: float, side: int) -> None:
    crop = crop_face(MAP[..., 0], (0, 0, 5, 5), CropGeometry("aligned", 1.0, template=TEMPLATE), np.array(TEMPLATE) * span)
    assert crop.shape == (side, side)


@pytest.mark.parametrize("landmarks", [np.zeros((4, 2)), np.zeros((5, 3)), np.full((5, 2), np.nan)])
def test_landmarks_that_are_not_five_finite_points(landmarks: np.ndarray) -> None:
    with pytest.raises(InputError, match="five finite points"):
        crop_face(MAP, (0, 0, 5, 5), CropGeometry("aligned", 1.0, template=TEMPLATE), landmarks)


def test_the_largest_scale_and_a_template_of_another_length() -> None:
    assert CropGeometry(scale=9.99).scale == 9.99
    with pytest.raises(InputError, match="between 0 and 10"):
        CropGeometry(scale=10)
    with pytest.raises(InputError, match="got 4"):
        CropGeometry("aligned", template=TEMPLATE[:4])
    table = CropGeometry("aligned", 1.5, (0.5, 0.25), TEMPLATE).to_dict()
    assert table == {"mode": "aligned", "scale": 1.5, "centre": [0.5, 0.25], "template": [list(point) for point in TEMPLATE]}
    assert CropGeometry.from_dict(table) == CropGeometry("aligned", 1.5, (0.5, 0.25), TEMPLATE)
    assert CropGeometry().to_dict() == {"mode": "square", "scale": 0.95, "centre": [0.0, 0.0]}


@pytest.mark.parametrize("points", [(TEMPLATE[0],) * 5, ((np.nan, 0.5), *TEMPLATE[1:]), ((np.inf, 0.5), *TEMPLATE[1:])])
def test_a_template_that_no_face_can_be_brought_onto(points: tuple[tuple[float, float], ...]) -> None:
    with pytest.raises(InputError, match="finite points that are not all the same"):
        CropGeometry("aligned", 1.0, template=points)


@pytest.mark.parametrize("count", [4, 6])
def test_an_aligned_crop_has_five_points(count: int) -> None:
    with pytest.raises(InputError, match=f"five points; got {count}"):
        CropGeometry("aligned", 1.0, template=(*TEMPLATE, TEMPLATE[0])[:count])
