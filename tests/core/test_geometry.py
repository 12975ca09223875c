"""Boxes and transforms by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferkit import InputError
from ferkit.geometry import area, clip_boxes, intersection, iou, nms, similarity, window
from tests.helpers.boxes import coordinate, ordered, points


@given(points, st.floats(0.2, 4), st.floats(-3, 3), st.tuples(coordinate, coordinate))
def test_similarity_recovers_a_transform(source: np.ndarray, scale: float, angle: float, shift: tuple[float, float]) -> None:
    if np.ptp(source, axis=0).max() < 1:
        return
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    target = source @ turn.T + shift
    matrix = similarity(source, target)
    assert np.allclose(source @ matrix[:, :2].T + matrix[:, 2], target, atol=1e-5)


@pytest.mark.parametrize("source", [np.zeros((5, 2)), np.zeros((1, 2)), np.zeros((5, 3)), np.full((5, 2), np.nan)])
def test_similarity_refuses_what_determines_nothing(source: np.ndarray) -> None:
    with pytest.raises(InputError):
        similarity(source, np.zeros_like(source))


@given(ordered, ordered)
def test_iou_is_symmetric_and_bounded(a: tuple[float, ...], b: tuple[float, ...]) -> None:
    ab, ba = iou([a], [b])[0, 0], iou([b], [a])[0, 0]
    assert ab == pytest.approx(ba)
    assert 0 <= ab <= 1 + 1e-9
    if (a[2] - a[0]) * (a[3] - a[1]) > 1e-6:
        assert iou([a], [a])[0, 0] == pytest.approx(1)


def test_iou_by_hand() -> None:
    assert iou([[0, 0, 2, 2]], [[1, 0, 3, 2], [5, 5, 6, 6], [0, 0, 0, 0]])[0].tolist() == pytest.approx([1 / 3, 0, 0])


@given(st.lists(ordered, max_size=20), st.data())
def test_nms_keeps_the_best_and_no_overlaps(boxes: list[tuple[float, ...]], data: st.DataObject) -> None:
    scores = data.draw(st.lists(st.floats(0, 1), min_size=len(boxes), max_size=len(boxes)))
    keep = nms(boxes, scores, 0.5)
    assert len(set(keep.tolist())) == len(keep)
    if boxes:
        assert scores[keep[0]] == max(scores)
    kept = np.array(boxes).reshape(-1, 4)[keep]
    overlaps = iou(kept, kept)
    np.fill_diagonal(overlaps, 0)
    assert (overlaps <= 0.5 + 1e-9).all()


@given(ordered)
def test_clipped_boxes_stay_inside(b: tuple[float, ...]) -> None:
    x1, y1, x2, y2 = clip_boxes([b], 60, 40)[0]
    assert 0 <= x1 <= x2 <= 60
    assert 0 <= y1 <= y2 <= 40


@given(st.tuples(st.integers(1, 30), st.integers(1, 30)), st.tuples(*[st.integers(-60, 60)] * 2), st.tuples(*[st.integers(1, 70)] * 2))
def test_a_window_repeats_the_nearest_pixel(size: tuple[int, int], corner: tuple[int, int], sides: tuple[int, int]) -> None:
    pixels = np.arange(size[0] * size[1] * 3, dtype=np.uint8).reshape(*size, 3)
    (left, top), (width, height) = corner, sides
    rows, columns = np.clip(np.arange(top, top + height), 0, size[0] - 1), np.clip(np.arange(left, left + width), 0, size[1] - 1)
    for image in (pixels, pixels[..., 0]):
        found = window(image, left, top, width, height)
        assert np.array_equal(found, image[rows][:, columns])
        assert not np.shares_memory(found, image)


def test_a_window_far_larger_than_its_picture_is_sampled_coarsely() -> None:
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    found = window(pixels, -9000, 0, 9000, 9000)
    assert max(found.shape) <= 2 * 4096
    assert np.array_equal(np.unique(found), np.unique(pixels[:, 0]))


def test_areas_by_hand() -> None:
    assert area([[1, 2, 4, 8], [4, 8, 1, 2], [4, 2, 1, 8]]).tolist() == [18, 0, 0]  # inverted ones have none
    assert area([]).shape == (0,)
    assert intersection([[0, 0, 4, 4]], [[1, 2, 9, 3], [4, 0, 8, 4], [9, 9, 10, 10]]).tolist() == [[3, 0, 0]]
    assert iou([], [[0, 0, 1, 1]]).shape == (0, 1)
    assert iou([[0, 0, 0, 0]], [[0, 0, 0, 0]]).tolist() == [[0]]


def test_nms_by_hand() -> None:
    boxes = [[0, 0, 10, 10], [0, 0, 10, 5], [0, 0, 10, 4], [20, 20, 30, 30]]  # overlaps with the first: 0.5 and 0.4
    assert nms(boxes, [0.9, 0.8, 0.7, 0.95]).tolist() == [3, 0, 2]  # at the threshold a box stays
    assert nms(boxes, [0.9, 0.8, 0.7, 0.95], 0.5).tolist() == [3, 0, 1]  # the third overlaps the second by 0.8
    assert nms(boxes[:2], [0.5, 0.5]).tolist() == [0]  # of equals the first


def test_clipping_by_hand() -> None:
    assert clip_boxes([[-5, -6, 70, 50], [10, 20, 30, 39]], 60, 40).tolist() == [[0, 0, 60, 40], [10, 20, 30, 39]]


def test_windows_by_hand() -> None:
    image = np.arange(30, dtype=np.uint8).reshape(5, 6)
    assert window(image, 0, 0, 6, 5).tolist() == image.tolist()
    assert not np.shares_memory(window(image, 1, 1, 2, 2), image)
    assert window(image, 4, 3, 3, 3).tolist() == [[22, 23, 23], [28, 29, 29], [28, 29, 29]]
    assert window(image, -1, -1, 2, 2).tolist() == [[0, 0], [0, 0]]
    assert window(image, -1, 2, 3, 1).tolist() == [[12, 12, 13]]
    assert window(image, 0, 0, 7, 6).shape == (6, 7)  # from the very corner, one pixel too many
    assert window(image, 0, 0, 4096, 1).shape == (1, 4096)
    assert window(image, 0, 0, 8192, 2).shape == (1, 4096)  # twice as large: every second pixel
    assert window(image, -8190, 0, 8196, 1)[0, -3:].tolist() == [0, 2, 4]


def test_similarity_needs_two_points_alone() -> None:
    assert similarity([[0, 0], [1, 0]], [[1, 1], [1, 3]]) == pytest.approx(np.array([[0, -2, 1], [2, 0, 1]]))
    with pytest.raises(InputError, match=r"\(2, 2\) and \(3, 2\)"):
        similarity(np.eye(2), np.zeros((3, 2)))
    with pytest.raises(InputError, match="coincide"):
        similarity([[5, 5], [5, 5]], np.eye(2))
