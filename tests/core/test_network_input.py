"""From crops to a network's input, by hand: size, colors, middle and scale."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from ferkit import InputError
from ferkit.crops import Scale, centre, checked, in_channels, normalised, resized, squares
from ferkit.resizing import resized_to

RAMP = (np.arange(64, dtype=np.uint8) * 4).reshape(8, 8)


def test_shrinking_averages_areas_and_growing_interpolates() -> None:
    assert resized(RAMP, 4).tolist() == RAMP.reshape(4, 2, 4, 2).mean(axis=(1, 3)).tolist()
    assert resized(RAMP, 8) is RAMP
    grown = resized(np.array([[0, 100], [0, 100]], np.uint8), 4)
    assert grown.tolist() == [[0, 25, 75, 100]] * 4
    assert resized(RAMP[:, :4], 4).tolist() == RAMP[:, :4].reshape(4, 2, 4).mean(axis=1).tolist()  # one side has the size already
    color = np.stack([RAMP] * 3, axis=2)
    assert resized(color, 4).shape == (4, 4, 3)


def test_resized_pixels_keep_type_and_channels() -> None:
    heat = np.array([[0.0, 1.0], [0.0, 1.0]], np.float32)
    assert resized_to(heat, 4, 2).tolist() == [[0, 0.25, 0.75, 1]] * 2
    assert resized_to(heat, 4, 2).dtype == np.float32
    assert resized_to(RAMP[:, :, None], 4, 2).shape == (2, 4, 1)
    assert resized_to(RAMP, 4, 2).tolist() == RAMP.reshape(2, 4, 4, 2).mean(axis=(1, 3)).tolist()
    line = np.zeros((8, 8), np.uint8)
    line[:, 0] = 200  # of four columns the first, which a sample in the middle does not see
    assert resized_to(line, 2, 2).tolist() == [[50, 0]] * 2
    assert resized_to(line, 2, 2, sampled=True).tolist() == [[0, 0]] * 2
    assert resized_to(RAMP, 2, 16).tolist() == resized_to(RAMP, 2, 16, sampled=True).tolist()  # what grows on one side is sampled


@pytest.mark.parametrize(
    ("shape", "side", "first", "last"), [((8, 8), 4, (2, 2), (5, 5)), ((9, 7), 4, (2, 1), (5, 4)), ((8, 8), 8, (0, 0), (7, 7))]
)
def test_the_middle(shape: tuple[int, int], side: int, first: tuple[int, int], last: tuple[int, int]) -> None:
    faces = np.arange(2 * shape[0] * shape[1], dtype=np.uint8).reshape(2, *shape)
    seen = centre(faces, side)
    assert seen.shape == (2, side, side)
    assert [seen[1, 0, 0], seen[1, -1, -1]] == [faces[(1, *first)], faces[(1, *last)]]
    assert np.shares_memory(seen, faces)


def test_colors_and_grey() -> None:
    red = np.zeros((2, 2, 3), np.uint8)
    red[..., 0] = 255
    assert in_channels(red, 1).tolist() == [[76, 76]] * 2  # 0.299 of it
    assert in_channels(red, 3) is red
    assert in_channels(RAMP, 1) is RAMP
    assert in_channels(RAMP, 3).tolist() == np.stack([RAMP] * 3, axis=2).tolist()


def test_squares_of_nothing_and_of_several_sizes() -> None:
    assert squares([], 8, 1).shape == (0, 8, 8)
    assert squares([], 8, 3).shape == (0, 8, 8, 3)
    made = squares([RAMP, RAMP[:4, :4]], 4, 3)
    assert made.shape == (2, 4, 4, 3)
    assert made.dtype == np.uint8
    assert made[1, ..., 0].tolist() == RAMP[:4, :4].tolist()


@pytest.mark.parametrize(
    ("settings", "pixels", "wanted"),
    [
        ({"mean": 0.5, "std": 0.25}, [[[0, 51]]], [[[-2, -1.2]]]),
        ({"mean": 0, "std": 1, "standardise": True}, [[[0, 255]]], [[[-1, 1]]]),
        ({"mean": 1, "std": 2, "standardise": True}, [[[0, 255]]], [[[-1, 0]]]),
        ({"mean": 0, "std": 1, "standardise": True}, [[[7, 7]]], [[[0, 0]]]),  # a face of one grey
        ({"mean": 0, "std": 1, "standardise": True}, [[[0, 1]]], [[[-0.5, 0.5]]]),  # hardly more: a grey level divides, not its half
        ({"mean": [0, 0.2, 0.4], "std": [1, 0.5, 0.2]}, [[[51, 51, 51]]], [[[0.2, 0, -1]]]),
    ],
)
def test_the_scale(settings: Scale, pixels: list[Any], wanted: list[Any]) -> None:
    given = np.array(pixels, np.uint8)
    found = normalised(given, settings)
    assert found.dtype == np.float32
    assert found == pytest.approx(np.array(wanted), abs=1e-6)
    assert given.tolist() == pixels


def test_every_face_has_its_own_standard() -> None:
    faces = np.array([[[0, 255]], [[100, 110]]], np.uint8)
    assert normalised(faces, {"mean": 0, "std": 1, "standardise": True}) == pytest.approx(np.array([[[-1, 1]], [[-1, 1]]]), abs=1e-5)


def test_crops_as_people_have_them() -> None:
    color = np.stack([RAMP] * 3, axis=2)
    assert [crop.shape for crop in checked([RAMP, color, RAMP[:, :, None]])] == [(8, 8), (8, 8, 3), (8, 8)]
    assert [crop.shape for crop in checked(np.stack([RAMP] * 2))] == [(8, 8)] * 2
    assert [crop.shape for crop in checked(np.stack([color] * 2))] == [(8, 8, 3)] * 2
    assert checked(iter([RAMP]))[0] is RAMP
    assert checked([Image.fromarray(RAMP)])[0].shape == (8, 8, 3)
    assert checked([]) == []
    ragged = np.empty(2, object)
    ragged[:] = [RAMP, color]
    assert [crop.ndim for crop in checked(ragged)] == [2, 3]


@pytest.mark.parametrize(
    ("crops", "told"),
    [
        (RAMP, "shape (8, 8)"),
        (np.zeros((8, 8, 3), np.uint8), "shape (8, 8, 3)"),
        (np.zeros((1, 8, 8, 3, 1), np.uint8), "shape (1, 8, 8, 3, 1)"),
        ("a.jpg", "str"),
        (5, "int"),
        ([RAMP, RAMP / 255], "Crop 1 has dtype float64"),
        ([np.zeros((8, 8, 4), np.uint8)], "Crop 0 has shape (8, 8, 4)"),
        ([np.zeros(8, np.uint8)], "Crop 0 has shape (8,)"),
        ([np.zeros((0, 8), np.uint8)], "Crop 0 has shape (0, 8)"),
        ([np.zeros((8, 0, 3), np.uint8)], "Crop 0 has shape (8, 0, 3)"),
    ],
)
def test_crops_that_are_none(crops: Any, told: str) -> None:
    with pytest.raises(InputError) as caught:
        checked(crops)
    assert told in str(caught.value)
