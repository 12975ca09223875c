"""Maps of evidence: where they lie, what they say of networks whose reasons are known, and that the check tells good from bad."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ferkit import Ensemble, InputError, LabelSet, Pipeline
from ferkit.crops import CropGeometry, crop_face, picture_to_crop
from ferkit.explain import curves, explain, grad_cam, occlusion, overlay, sheet
from ferkit.explain.occluding import patches
from tests.helpers.commands import ferkit


class Corner:
    """Says "light" for faces whose upper left quarter varies, and nothing else counts."""

    name, labels, crop = "corner", LabelSet("custom", ("light", "dark")), CropGeometry()

    def prepare(self, crops: list[np.ndarray]) -> np.ndarray:
        return np.stack(list(crops))

    def predict_proba(self, crops: np.ndarray) -> np.ndarray:
        part = np.asarray(crops, np.float64)[:, :24, :24].reshape(len(crops), -1).std(axis=1) / 128
        light = np.clip(part, 0.01, 0.99)
        return np.stack([light, 1 - light], axis=1).astype(np.float32)


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (48, 48), np.uint8)


def test_occlusion_finds_what_counts(noise: np.ndarray) -> None:
    light, dark = occlusion(Corner(), noise)
    assert light.shape == (48, 48)
    assert light.dtype == np.float32
    assert light[:20, :20].min() > 0
    assert np.abs(light[32:, 32:]).max() == 0
    assert dark[:20, :20].max() < 0  # what speaks for one label speaks against the other


def test_patches_cover_every_pixel_evenly() -> None:
    for side in (44, 48, 112, 7):
        covered = patches(side).sum(axis=0)
        assert covered.shape == (side, side)
        assert covered.min() >= 1
    assert np.ptp(patches(48).sum(axis=0)) == 0


def test_the_check_tells_a_good_map_from_a_bad_one(noise: np.ndarray) -> None:
    heat = occlusion(Corner(), noise)[0]
    good, bad = curves(Corner(), noise, heat, "light"), curves(Corner(), noise, -heat, "light")
    assert good.deletion_auc < bad.deletion_auc - 0.1
    assert good.insertion_auc > bad.insertion_auc + 0.1
    assert good.deletion[0] == pytest.approx(good.insertion[-1])  # the whole face, at both ends
    assert len(good.deletion) == len(good.insertion) == 25


def test_the_check_refuses_what_it_cannot_follow(noise: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"A map of shape \(3, 3\); expected \(48, 48\)"):
        curves(Corner(), noise, np.zeros((3, 3), np.float32), "light")
    with pytest.raises(InputError, match="steps=0; expected at least 1"):
        curves(Corner(), noise, np.zeros((48, 48), np.float32), "light", steps=0)
    with pytest.raises(InputError):
        curves(Corner(), noise, np.zeros((48, 48), np.float32), "grey")


@pytest.mark.parametrize("mode", ["square", "aligned", "box"])
def test_the_matrix_says_where_a_crop_comes_from(mode: str) -> None:
    """A gradual picture tells by its values where each pixel of the crop was."""
    template = ((0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.75), (0.65, 0.75))
    geometry = CropGeometry(mode, 1.1, (0.02, -0.03), template if mode == "aligned" else ())  # type: ignore[arg-type]
    box, points = (60.2, 40.7, 120.4, 121.9), [(75, 70), (104, 76), (88, 90), (76, 101), (98, 106)]
    matrix = picture_to_crop(box, geometry, points)
    for axis in (0, 1):
        values = np.arange(200, dtype=np.uint8)
        picture = np.tile(values[None, :, None] if axis == 0 else values[:, None, None], (200, 1, 3) if axis == 0 else (1, 200, 3))
        crop = crop_face(np.ascontiguousarray(picture), box, geometry, points)
        for x, y in ((0.3, 0.4), (0.6, 0.7)):
            row, column = int(y * crop.shape[0]), int(x * crop.shape[1])
            edge = np.array([(column + 0.5) / crop.shape[1], (row + 0.5) / crop.shape[0]])
            place = np.linalg.solve(matrix[:, :2], edge - matrix[:, 2]) - 0.5
            assert abs(float(crop[row, column, 0]) - place[axis]) < 1.0


def test_a_smile_is_read_from_the_mouth(astronaut: np.ndarray) -> None:
    (found,) = explain(Pipeline(classifier="fer2013-n-v6"), astronaut)
    assert found.face.expression is not None
    assert found.ranked()[0] == found.face.expression.label == "happy"
    heat = found.on_photo(512, 512)
    assert heat.shape == (512, 512)
    y, x = np.unravel_index(int(heat.argmax()), heat.shape)
    assert found.face.landmarks is not None
    corners = np.array(found.face.landmarks[3:])
    mouth = corners.mean(axis=0)
    assert np.hypot(*(mouth - (x, y))) < np.ptp(corners[:, 0])  # no farther than the mouth is wide
    x1, y1, x2, y2 = found.face.box
    far = heat.copy()
    far[int(y1 - 40) : int(y2 + 40), int(x1 - 40) : int(x2 + 40)] = 0
    assert not far.any()


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_maps_turn_with_the_face(astronaut: np.ndarray, turn: int) -> None:
    plain = Pipeline(classifier="fer2013-n-v6")
    turned = Pipeline(classifier="fer2013-n-v6", rotations=(0, 90, 180, 270))
    picture = np.ascontiguousarray(np.rot90(astronaut[:, :400], -turn // 90))
    (a,) = (found for found in explain(plain, np.ascontiguousarray(astronaut[:, :400])) if found.ranked()[0] == "happy")
    (b,) = (found for found in explain(turned, picture) if found.ranked()[0] == "happy")  # beside what is not a face
    heat = np.rot90(a.on_photo(400, 512, "happy"), -turn // 90)
    other = b.on_photo(picture.shape[1], picture.shape[0], "happy")
    assert other.shape == heat.shape
    peaks = [np.array(np.unravel_index(int(one.argmax()), one.shape)) for one in (heat, other)]
    assert np.hypot(*(peaks[0] - peaks[1])) < 6


def test_a_whole_picture_is_a_face_too(photo: Path) -> None:
    (found,) = explain(Pipeline("none", "fer2013-n-v6"), np.full((60, 90, 3), 128, np.uint8))
    assert found.on_photo(90, 60).shape == (60, 90)


def test_unknown_names(astronaut: np.ndarray) -> None:
    pipeline = Pipeline("none", "fer2013-n-v6")
    with pytest.raises(InputError, match="expected one of occlusion, grad-cam"):
        explain(pipeline, astronaut, method="tea")  # type: ignore[arg-type]
    (found,) = explain(pipeline, astronaut)
    with pytest.raises(InputError, match="No map for 'joyful'; expected one of angry"):
        found.map("joyful")


def test_colors_for_and_against() -> None:
    grey = np.full((2, 2), 100, np.uint8)
    drawn = overlay(grey, np.array([[1, 0], [-1, 0]], np.float32))
    assert drawn.shape == (2, 2, 3)
    assert drawn[0, 0, 0] > drawn[0, 0, 2]  # orange
    assert drawn[1, 0, 2] > drawn[1, 0, 0]  # blue
    assert (drawn[:, 1] == 100).all()
    assert (overlay(grey, np.zeros((4, 4), np.float32)) == 100).all()


def test_a_sheet_without_faces_is_the_photo() -> None:
    page = sheet(np.full((40, 60, 3), 7, np.uint8), [])
    assert page.getpixel((20, 20)) == (7, 7, 7)


def test_command(photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "why.png"
    done = ferkit("explain", photo, "--out", out, "--weights", "fer2013-n-v6")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)[0]["faces"][0]["label"] == "happy"
    assert "Wrote" in done.stderr
    with Image.open(out) as page:
        assert page.width > 600
    one = ferkit("explain", photo, "--out", tmp_path / "one.png", "--label", "sad", "--weights", "fer2013-n-v6")
    assert one.exit_code == 0, one.stderr
    for wrong, said in ((["--label", "joyful"], "joyful"), (["--out", "why.txt"], "expected .png or .jpg")):
        refused = ferkit("explain", photo, "--out", out, *wrong)
        assert refused.exit_code == 2
        assert said in refused.stderr
    nowhere = ferkit("explain", photo, "--out", tmp_path / "no" / "why.png", "--weights", "fer2013-n-v6")
    assert nowhere.exit_code == 1
    assert "cannot be written" in nowhere.stderr


def test_grad_cam_needs_a_keras_network(noise: np.ndarray) -> None:
    with pytest.raises(InputError, match="corner has no Keras network"):
        grad_cam(Corner(), noise)


@pytest.mark.train
@pytest.mark.slow
def test_grad_cam_is_the_class_activation_map(astronaut: np.ndarray) -> None:
    """These networks average their last maps and end in a linear layer, so a label's map is the maps weighted by its row of it."""
    if not importlib.util.find_spec("keras"):
        pytest.skip('needs the train extra: pip install "ferkit[train]"')
    pipeline = Pipeline(classifier="fer2013-n-v6")
    (found,) = explain(pipeline, astronaut, method="grad-cam")
    happy = found.map("happy")
    assert happy.shape == (48, 48)
    assert happy.min() >= 0
    assert happy[24:, :].sum() > happy[:24, :].sum()  # the lower half of a smiling face
    pair = Ensemble(["fer2013-n-v6", "fer2013-s-v6"], weights=[1, 0])
    assert grad_cam(pair, found.crop) == pytest.approx(found.maps, abs=1e-5)


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_the_corners_are_where_the_map_lies_in_the_photo(turn: int) -> None:
    from ferkit import Face
    from ferkit.explain import Explanation

    width, height = 200, 120
    across = width if turn in (0, 180) else height
    matrix = np.array([[0.018, 0.006, -0.6 if across == width else -0.4], [-0.006, 0.018, -0.3 if across == width else 0.1]])
    found = Explanation(
        Face((0, 0, 1, 1), turn=turn or None), np.zeros((48, 48), np.uint8), ("a",), np.ones((1, 48, 48), np.float32), matrix
    )
    corners = found.corners(width, height)
    y, x = np.nonzero(found.on_photo(width, height) > 0.5)
    assert [x.mean() + 0.5, y.mean() + 0.5] == pytest.approx(corners.mean(axis=0).tolist(), abs=0.5)
    assert [x.min(), y.min(), x.max() + 1, y.max() + 1] == pytest.approx([*corners.min(axis=0), *corners.max(axis=0)], abs=1.5)
    ramp = np.linspace(0, 1, 48, dtype=np.float32)[None, :].repeat(48, axis=0)[None]
    lying = Explanation(found.face, found.crop, ("a",), ramp, matrix).on_photo(width, height)
    middle = lambda a, b: tuple(np.round(0.9 * corners[[a, b]].mean(axis=0) + 0.1 * corners.mean(axis=0)).astype(int))  # noqa: E731
    (left_x, left_y), (right_x, right_y) = middle(0, 3), middle(1, 2)
    assert lying[right_y, right_x] - lying[left_y, left_x] > 0.7, "the first corner is the crop's upper left one"
