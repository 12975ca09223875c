"""Training of the face detector: labels that follow the pixels, costs that ask for the right thing, runs that resume."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("keras", reason="training needs the extra train")

import cv2
import keras

from ferkit import DataError, Face, FaceDetector, InputError, WeightsError
from ferkit.detectors.ferkit_face import FerkitFace
from ferkit.detectors.ferkit_face_format import MIRRORED, POINTS_SIZE, soft_argmax
from ferkit.evaluation.detection import AnnotatedPhoto, read_annotated, score_detections
from ferkit.train.detector.landmark_crops import PointAugmentation, cut_faces, point_batch, steady_landmarks
from ferkit.train.detector.landmark_loop import SoftArgmax, fit_points, stored_crops
from ferkit.train.detector.loop import DetectorData, fit_detector
from ferkit.train.detector.networks import COLUMNS, STRIDES, build_detector, build_points
from ferkit.train.detector.photos import Augmentation, LabelledPhoto, PhotoPool, _cut, _moved, read_photos, sample
from ferkit.train.detector.recipe import DetectorRecipe, PointRecipe, Stage, load_detector_recipe
from ferkit.train.detector.starting import start_from
from ferkit.train.detector.targets import TARGET_COLUMNS, cell_targets, detection_loss
from ferkit.train.detector.to_onnx import to_onnx
from ferkit.train.detector.training import _about, train_detector
from ferkit.train.release.network_facts import multiply_adds

pytestmark = pytest.mark.train

COLOURS = np.array([(250, 40, 40), (40, 250, 40), (40, 40, 250), (250, 250, 40), (250, 40, 250)], np.uint8)


def face_photo(seed: int, size: int = 200, side: int = 80) -> LabelledPhoto:
    """A grey picture with one square face whose five points are coloured discs."""
    rng = np.random.default_rng(seed)
    x, y = rng.integers(20, size - side - 20, 2)
    pixels = np.full((size, size, 3), 128, np.uint8)
    pixels[y : y + side, x : x + side] = 90
    points = np.array([(0.3, 0.35), (0.7, 0.35), (0.5, 0.55), (0.35, 0.8), (0.65, 0.8)]) * side + [x, y]
    for colour, point in zip(COLOURS, points, strict=True):
        cv2.circle(pixels, [int(v) for v in point], side // 12, colour.tolist(), -1)
    box = np.array([[x, y, x + side, y + side]], np.float32)
    return LabelledPhoto(pixels, box, points[None].astype(np.float32), np.array([False]))


PLAIN = Augmentation(mosaic=0.5, negatives=0.0, face=(50.0, 90.0), brightness=0, contrast=0, colour=0, grey=0, blur=0, jpeg=0)


@pytest.mark.parametrize("seed", range(12))
def test_labels_follow_the_pixels(seed: int) -> None:
    """Turned, mirrored, scaled, in a mosaic: the subject's right eye is still the red disc; after mirroring, the green one."""
    pool = PhotoPool([face_photo(i) for i in range(4)])
    made = sample(pool, [], 256, PLAIN, np.random.default_rng(seed))
    assert made.pixels.shape == (256, 256, 3)
    checked = 0
    for points, ignore in zip(made.landmarks, made.ignore, strict=True):
        inside = ((points > 3) & (points < 252)).all()
        if ignore or not inside:
            continue
        seen = np.array([made.pixels[round(float(y)), round(float(x))] for x, y in points]).astype(int)
        straight, mirrored = (np.abs(seen - COLOURS[order].astype(int)).max() for order in ([0, 1, 2, 3, 4], [1, 0, 2, 4, 3]))
        assert min(straight, mirrored) < 60
        checked += 1
    assert checked or made.ignore.all()


@pytest.mark.parametrize("seed", range(12))
def test_cut_faces_keep_their_whole_box(seed: int) -> None:
    """A photo cut off through its face: the box reaches over the edge, what shows of it does not, and that is what claims cells."""
    photo, _ = _cut(face_photo(seed), PLAIN, np.random.default_rng(seed))
    height, width = photo.pixels.shape[:2]
    assert height < 200 or width < 200
    made = sample(PhotoPool([face_photo(seed)]), [], 256, replace(PLAIN, mosaic=0, cut=1.0, rotated=0), np.random.default_rng(seed))
    shares = np.prod(made.seen[:, 2:] - made.seen[:, :2], axis=1) / np.prod(made.boxes[:, 2:] - made.boxes[:, :2], axis=1)
    for box, seen, share, ignore in zip(made.boxes, made.seen, shares, made.ignore, strict=True):
        if ignore:
            continue
        assert 0.28 < share < 0.95
        x, y = ((seen[:2] + seen[2:]) / 2).astype(int)
        assert not (made.pixels[y, x] == 114).all()  # on the face and not on the grey beyond the cut
        targets = cell_targets(
            replace(made, boxes=box[None], shown=seen[None], ignore=np.array([False]), landmarks=made.landmarks[:1]), 256
        )
        claimed = targets[targets[:, TARGET_COLUMNS["face"]][:, 0] == 1, TARGET_COLUMNS["box"]]
        assert len(claimed)
        assert (claimed > -1.5).all()  # the cells lie in the box


def test_cuts_are_as_often_sideways_and_of_faces_as_large_as_asked() -> None:
    """Halves of large faces: the left and the right of them as often, out of a pool that is mostly small faces."""
    photos = [face_photo(seed, side=20) for seed in range(30)] + [face_photo(seed) for seed in range(2)]
    halves = replace(PLAIN, mosaic=0, cut=1.0, kept=(0.5, 0.5), sideways=1.0, cut_face=(80.0, 120.0), rotated=0)
    left = []
    for seed in range(40):
        made = sample(PhotoPool(photos), [], 256, halves, np.random.default_rng(seed))
        assert made.ignore.tolist() == [False]
        (box,), (seen,) = made.boxes, made.seen
        assert 79 <= np.sqrt(np.prod(box[2:] - box[:2])) <= 121
        assert np.allclose(seen[[1, 3]], box[[1, 3]], atol=0.01)
        assert (seen[2] - seen[0]) / (box[2] - box[0]) == pytest.approx(0.5, abs=0.02)
        left.append(seen[0] > box[0] + 1)
    assert 10 < sum(left) < 30
    either = [_cut(photos[-1], replace(halves, sideways=0.0), np.random.default_rng(seed))[0].pixels.shape for seed in range(40)]
    assert 10 < sum(width < 200 for _, width, _ in either) < 30
    assert _cut(photos[0], halves, np.random.default_rng(0))[1] is None  # too small a face
    nobody = replace(photos[0], ignore=np.array([True]))
    assert PhotoPool([nobody, photos[0]]).draw_large(np.random.default_rng(0), 50.0) in (nobody, photos[0])


def test_too_near_is_no_face() -> None:
    """A view that shows less than a tenth of a face holds none: it is background, and not a region to ignore."""
    photo = face_photo(3)
    box = photo.boxes[0]
    inside = photo.pixels[int(box[1]) :, int(box[0]) :]
    matrix = np.array([[1.0, 0, -box[0]], [0, 1.0, -box[1]]])
    for side, kept, ignore in ((16, 0, []), (36, 1, [True]), (60, 1, [False])):
        made = _moved(photo, np.ascontiguousarray(inside[:side, :side]), matrix, 1.0, False)
        assert len(made.boxes) == kept
        assert made.ignore.tolist() == ignore
    near = replace(PLAIN, mosaic=0, close=1.0, rotated=0)
    sizes = [sample(PhotoPool([photo]), [], 128, near, np.random.default_rng(seed)).boxes for seed in range(12)]
    assert max(float((b[:, 2] - b[:, 0]).max()) for b in sizes if len(b)) > 128


def test_samples_are_pure() -> None:
    pool, negatives = PhotoPool([face_photo(0)]), [replace(face_photo(1), boxes=np.zeros((0, 4), np.float32))]
    negatives = [LabelledPhoto(negatives[0].pixels, np.zeros((0, 4), np.float32), np.zeros((0, 5, 2), np.float32), np.zeros(0, bool))]
    one, two = (sample(pool, negatives, 128, Augmentation(negatives=0.5), np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(one.pixels, two.pixels)
    assert np.array_equal(one.boxes, two.boxes)


def labelled(boxes: list[list[float]], ignore: list[bool] | None = None) -> LabelledPhoto:
    b = np.array(boxes, np.float32).reshape(-1, 4)
    points = np.repeat(((b[:, :2] + b[:, 2:]) / 2)[:, None], 5, axis=1)
    return LabelledPhoto(np.zeros((64, 64, 3), np.uint8), b, points, np.array(ignore or [False] * len(b), bool))


def test_cells_point_to_their_face() -> None:
    target = cell_targets(labelled([[16, 8, 32, 24]]), 64)
    assert target.shape == (64 + 16 + 4, 21)
    face = target[:, TARGET_COLUMNS["face"]][:, 0] == 1
    assert face[:64].sum() == 4  # a face of 16 px: its own four cells at stride 8
    assert face[64:].sum() == 0  # too small for the other levels
    for cell in np.flatnonzero(face[:64]):
        centre = np.array([cell % 8 + 0.5, cell // 8 + 0.5])
        left, top, right, bottom = target[cell, TARGET_COLUMNS["box"]]
        assert np.subtract(centre, [left, top]).tolist() == [2, 1]
        assert np.add(centre, [right, bottom]).tolist() == [4, 3]
        assert np.allclose(target[cell, TARGET_COLUMNS["landmarks"]].reshape(5, 2) + centre, [3, 2])


def test_regions_to_ignore_do_not_count() -> None:
    target = cell_targets(labelled([[0, 0, 16, 16]], [True]), 64)
    counts = target[:64, 0].reshape(8, 8)
    assert (counts[:2, :2] == 0).all()
    assert counts.sum() == 60
    assert target[:, TARGET_COLUMNS["face"]].sum() == 0
    # A face inside such a region does count.
    both = cell_targets(labelled([[0, 0, 32, 32], [8, 8, 20, 20]], [True, False]), 64)
    assert (both[both[:, 1] == 1, 0] == 1).all()
    assert both[:, 1].sum() > 0


def test_every_face_claims_a_cell_and_the_smaller_wins() -> None:
    for size in (7, 12, 30, 60, 110, 200, 300):
        photo = labelled([[100, 90, 100 + size, 90 + size]])
        assert cell_targets(photo, 320)[:, 1].sum() >= 1, size
    both = cell_targets(labelled([[0, 0, 39, 39], [12, 12, 24, 24]]), 64)
    winner = both[2 * 8 + 2]
    assert (winner[TARGET_COLUMNS["box"]] + winner[TARGET_COLUMNS["box"]][[2, 3, 0, 1]] == 12 / 8).all()


def answer_for(target: np.ndarray, logit: float = 6.0) -> np.ndarray:
    answer = np.zeros((*target.shape[:2], 15), np.float32)
    answer[..., 0] = np.where(target[..., 1] > 0, logit, -logit)
    answer[..., COLUMNS["box"]] = np.log(np.maximum(target[..., TARGET_COLUMNS["box"]], 1e-3))
    answer[..., COLUMNS["landmarks"]] = target[..., TARGET_COLUMNS["landmarks"]]
    return answer


def cost(target: np.ndarray, answer: np.ndarray) -> float:
    return float(np.mean(keras.ops.convert_to_numpy(detection_loss(target, answer))))


def test_the_right_answer_is_cheap_and_each_error_costs() -> None:
    target = cell_targets(labelled([[10, 10, 34, 34], [40, 40, 50, 50]]), 64)[None]
    right = answer_for(target)
    cheap = cost(target, right)
    assert cheap < 0.05
    for part, change in (("score", -6.0), ("box", 0.5), ("landmarks", 1.0)):
        wrong = right.copy()
        wrong[..., COLUMNS[part]] += change * target[..., 1:2]
        assert cost(target, wrong) > cheap + 0.1, part
    alarm = right.copy()
    alarm[0, 63, 0] = 6.0
    assert cost(target, alarm) > cheap + 0.1
    target[0, 63, 0] = 0  # now it lies in a region to ignore
    assert cost(target, alarm) == pytest.approx(cheap, abs=1e-6)


def test_what_lies_beyond_the_frame_does_not_lower_a_score() -> None:
    """Half a face: an answer that is right as far as the picture goes is worth 1 where a stage asks so, and its box still costs."""
    photo = replace(labelled([[-20, 8, 20, 48]]), shown=np.array([[0, 8, 20, 48]], np.float32))
    target = cell_targets(photo, 64)[None]
    frame = target[target[..., 1] == 1][:, TARGET_COLUMNS["frame"]]
    assert (frame[:, 1:] == 1e3).all()
    assert (frame[:, 0] < 20 / 8).all()
    right = answer_for(target, 3.0)
    short = right.copy()
    short[..., COLUMNS["box"]][..., 0] = np.log(np.maximum(frame[:, 0].max(), 1e-3))  # as if the face ended at the frame
    lower, higher = short.copy(), short.copy()
    lower[..., 0], higher[..., 0] = (np.where(target[..., 1] > 0, logit, -9.0) for logit in (0.0, 6.0))

    def seen(answer: np.ndarray) -> float:
        return float(np.mean(keras.ops.convert_to_numpy(detection_loss(target, answer, seen=True))))

    assert cost(target, higher) > cost(target, lower)  # by the whole box such an answer is half wrong
    assert seen(higher) < seen(lower)
    assert seen(short) > seen(right) + 0.1
    assert cost(target, right) == pytest.approx(seen(right), abs=1e-4)


def test_a_stage_has_augmentation_of_its_own() -> None:
    recipe = replace(TINY, stages=(Stage(2, 3e-3), Stage(1, 1e-3, seen=True, augment={"cut": 0.4})))
    assert [recipe.augmentation_at(epoch) for epoch in range(3)] == [
        Augmentation(face=[20.0, 80.0]),  # type: ignore[arg-type]
        Augmentation(face=[20.0, 80.0]),  # type: ignore[arg-type]
        Augmentation(face=[20.0, 80.0], cut=0.4),  # type: ignore[arg-type]
    ]
    first, second = recipe.to_dict()["stages"]
    assert set(first) == {"epochs", "learning_rate", "landmarks", "precise"}  # as stored by runs that began before there were stages' own
    assert second["augment"] == {"cut": 0.4}


def test_unknown_landmarks_cost_nothing() -> None:
    photo = labelled([[10, 10, 34, 34]])
    target = cell_targets(replace(photo, landmarks=np.full((1, 5, 2), np.nan, np.float32)), 64)[None]
    assert np.isfinite(target).all()
    right = answer_for(target)
    moved = right.copy()
    moved[..., COLUMNS["landmarks"]] += 3
    assert cost(target, moved) == pytest.approx(cost(target, right))


def test_the_network_is_tiny() -> None:
    """Both together, in a picture with five faces."""
    recipe = load_detector_recipe()
    network, points = build_detector(**recipe.model), build_points(**PointRecipe(**recipe.points).model)
    assert network.count_params() + points.count_params() < 0.3e6
    assert multiply_adds(network, 320) + 5 * multiply_adds(points, POINTS_SIZE) < 250e6


def shaken(network: keras.Model) -> keras.Model:
    """Give batch normalisation statistics that would show if they were lost."""
    rng = np.random.default_rng(0)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            gamma, beta, mean, variance = (tuple(w.shape) for w in layer.weights)
            values = [rng.uniform(0.5, 1, gamma), rng.normal(0, 0.3, beta), rng.normal(0, 0.3, mean), rng.uniform(0.8, 1.5, variance)]
            layer.set_weights([value.astype(np.float32) for value in values])
    return network


def test_onnx_answers_as_keras_does() -> None:
    keras.utils.set_random_seed(3)
    network = shaken(build_detector(widths=(8, 8, 16, 16, 16), hidden=(8, 8, 8, 8), blocks=(1, 1, 1, 1), neck=16))
    rng = np.random.default_rng(0)
    net = cv2.dnn.readNetFromONNX(np.frombuffer(to_onnx(network), np.uint8))
    names = [f"stride{s}" for s in STRIDES]
    for height, width in ((64, 96), (64, 64), (160, 64), (64, 96)):  # 32 would make a map one cell wide: see own.py
        x = rng.normal(size=(1, height, width, 3)).astype(np.float32)
        expected = network(x, training=False)
        net.setInput(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
        for name, found in zip(names, net.forward(names), strict=True):
            wanted = keras.ops.convert_to_numpy(expected[name]).transpose(0, 3, 1, 2)
            assert found.shape == wanted.shape
            assert np.abs(found - wanted).max() < 1e-5 * max(1.0, float(np.abs(wanted).max()))


def test_training_begins_where_a_release_ended() -> None:
    """Read back from its ONNX file, a network answers the same, and its normalisations know what reaches them."""
    options: dict[str, Any] = {"widths": (8, 8, 16, 16, 16), "hidden": (8, 8, 8, 8), "blocks": (1, 1, 1, 1), "neck": 16}
    keras.utils.set_random_seed(5)
    trained, fresh = shaken(build_detector(**options)), build_detector(**options)
    x = np.random.default_rng(1).normal(size=(4, 64, 64, 3)).astype(np.float32)
    start_from(to_onnx(trained), fresh, [x[:2], x[2:]])
    expected, found = trained(x, training=False), fresh(x, training=False)
    learning = fresh(x, training=True)  # the batch's own statistics are nearly those that were set
    for name in expected:
        wanted = keras.ops.convert_to_numpy(expected[name])
        assert np.abs(keras.ops.convert_to_numpy(found[name]) - wanted).max() < 1e-4 * max(1.0, float(np.abs(wanted).max()))
        assert np.abs(keras.ops.convert_to_numpy(learning[name]) - wanted).mean() < 0.05 * max(1.0, float(np.abs(wanted).max()))
    for other in ({"neck": 24}, {"blocks": (1, 1, 1, 2)}):
        with pytest.raises(WeightsError, match=r"expected one of its \[model\]"):
            start_from(to_onnx(trained), build_detector(**(options | other)), [x])


def test_the_landmarks_network_answers_as_keras_does() -> None:
    keras.utils.set_random_seed(4)
    network = shaken(build_points())
    views = np.random.default_rng(1).normal(size=(3, POINTS_SIZE, POINTS_SIZE, 3)).astype(np.float32)
    maps = keras.ops.convert_to_numpy(network(views, training=False)["points"])
    net = cv2.dnn.readNetFromONNX(np.frombuffer(to_onnx(network), np.uint8))
    net.setInput(np.ascontiguousarray(views.transpose(0, 3, 1, 2)))
    found = np.asarray(net.forward("points"))
    assert np.abs(found - maps.transpose(0, 3, 1, 2)).max() < 1e-4 * max(1.0, float(np.abs(maps).max()))
    learnt = keras.ops.convert_to_numpy(SoftArgmax()(maps))
    assert np.abs(soft_argmax(found.astype(np.float64)) - learnt).max() < 1e-4


def test_a_soft_argmax_by_hand() -> None:
    maps = np.full((1, 2, 4, 4), -50.0)
    maps[0, 0, 1, 3] = 0  # row 1, column 3 of four: its middle lies 3/8 right of the centre and 1/8 above
    maps[0, 1, 2, 0] = maps[0, 1, 2, 1] = 0  # halfway between two cells
    assert np.allclose(soft_argmax(maps)[0], [[0.375, -0.125], [-0.25, 0.125]])


def test_export_names_a_layer_that_it_does_not_know() -> None:
    image = keras.Input((None, None, 3))
    with pytest.raises(InputError, match="LayerNormalization"):
        to_onnx(keras.Model(image, {"stride8": keras.layers.LayerNormalization()(image)}))


TINY = DetectorRecipe(
    name="tiny",
    seed=1,
    stages=(Stage(2, 3e-3), Stage(1, 1e-3, landmarks=20.0, precise=0.01)),
    pictures=16,
    batch_size=8,
    size=96,
    warmup_epochs=0.5,
    weight_decay=0.01,
    ema=0.8,
    validate_every=3,
    model={"widths": [8, 8, 8, 8, 8], "hidden": [0, 8, 8, 8], "blocks": [0, 0, 0, 0], "neck": 8},
    augment={"face": [20.0, 80.0]},
    points={"epochs": 2, "faces": 16, "batch_size": 8, "model": {"widths": [8, 8, 8, 8], "hidden": 8, "neck": 8}},
)


def discs(pixels: np.ndarray) -> np.ndarray:
    """Find the middle of each coloured disc, ``(5, 2)``."""
    near = [np.argwhere(np.abs(pixels.astype(int) - colour.astype(int)).max(axis=2) < 70) for colour in COLOURS]
    return np.array([where.mean(axis=0)[::-1] if len(where) else [np.nan, np.nan] for where in near])


@pytest.mark.parametrize("roll", [-40, 0, 30])
def test_a_teacher_that_answers_too_upright_is_steadied(roll: float) -> None:
    """It tells half of the roll, and shifts what it sees by 3 px to the right."""
    photo = face_photo(2, size=300, side=120)
    middle = (photo.boxes[0, :2] + photo.boxes[0, 2:]) / 2
    turn = cv2.getRotationMatrix2D([float(v) for v in middle], -roll, 1.0)
    pixels = cv2.warpAffine(photo.pixels, turn, (300, 300), borderValue=(128, 128, 128))
    truth = photo.landmarks[0] @ turn[:, :2].T + turn[:, 2]

    def teacher(view: np.ndarray) -> list[Face]:
        points = discs(view)
        if points[0, 0] > points[1, 0]:  # a mirror image: what is left there is right
            points = points[MIRRORED]
        centre = points.mean(axis=0)
        angle = np.arctan2(*(points[1] - points[0])[::-1]) / 2
        cos, sin = np.cos(angle), np.sin(angle)
        straight = (points - centre) @ np.array([[cos, -sin], [sin, cos]])
        half = np.ptp(points[:, 0]) * 1.2
        return [Face((*(centre - half), *(centre + half)), 0.9, tuple(map(tuple, straight + centre + [3, 0])))]

    raw = np.array(teacher(pixels)[0].landmarks)
    steady = steady_landmarks(pixels, photo.boxes[0].astype(float), None, teacher)
    assert steady is not None
    assert np.abs(steady - truth).max() < 2 < np.abs(raw - truth).max()
    assert steady_landmarks(pixels, photo.boxes[0].astype(float), None, lambda view: []) is None


@pytest.mark.parametrize("side", [40, 80, 160])
def test_points_follow_the_pixels(side: int) -> None:
    """Cut out, turned, mirrored, scaled: each point is still on the disc that belongs to it."""
    crops = cut_faces([face_photo(i, size=240, side=side) for i in range(4)])
    assert len(crops.pixels) == 4
    plain = PointAugmentation(brightness=0, contrast=0, grey=0, coarse=0, noise=0)
    views, targets = point_batch(crops, 24, plain, np.random.default_rng(0))
    off = []
    for view, target in zip(views, targets * POINTS_SIZE + (POINTS_SIZE - 1) / 2, strict=True):
        found = discs(view)
        found = found if np.nanmean(abs(found - target)) < np.nanmean(abs(found[MIRRORED] - target)) else found[MIRRORED]
        off.append(found - target)
    assert np.nanmean(np.abs(off)) < 0.5
    assert np.abs(np.nanmean(off, axis=(0, 1))).max() < 0.25, "a shift of half a pixel is a fiftieth of the eye distance"


def test_landmarks_lie_where_the_network_points() -> None:
    """A network that answers the centre of each view: the landmarks are then the middle of the face."""
    image = keras.Input((POINTS_SIZE, POINTS_SIZE, 3), name="image")
    level = keras.layers.Conv2D(5, 1, strides=4, padding="same", kernel_initializer="zeros", name="points")(image)
    flat = to_onnx(keras.Model(image, {"points": level}))
    detector = FerkitFace.from_bytes(resolve_bytes(), 0.6, flat)
    from skimage import data

    picture = np.asarray(data.astronaut())
    face = max(detector.detect(picture), key=lambda f: f.score)
    middle = np.add(face.box[:2], face.box[2:]) / 2
    assert np.abs(np.array(face.landmarks) - middle).max() < 1.0


def resolve_bytes() -> bytes:
    from ferkit.weights.releases import BUNDLED_DETECTOR
    from ferkit.weights.store import resolve_detector

    return (resolve_detector(BUNDLED_DETECTOR) / "model.onnx").read_bytes()


def annotated(photos: list[LabelledPhoto]) -> list[AnnotatedPhoto]:
    return [AnnotatedPhoto(str(i), "made", p.pixels, p.boxes.astype(float), p.ignore) for i, p in enumerate(photos)]


@pytest.mark.slow
def test_a_resumed_run_is_the_same_run(tmp_path: Path) -> None:
    photos = [face_photo(i) for i in range(6)]
    lines: list[str] = []
    assert fit_detector(DetectorData(photos, [], annotated(photos)), tmp_path / "whole", recipe=TINY, log=lines.append)
    assert not fit_detector(DetectorData(photos), tmp_path / "cut", recipe=TINY, max_minutes=1e-9, log=lines.append)
    assert not (tmp_path / "cut" / "model.onnx").exists()
    with pytest.raises(InputError, match="resume=True"):
        fit_detector(DetectorData(photos), tmp_path / "cut", recipe=TINY, log=lines.append)
    with pytest.raises(InputError, match="another recipe"):
        fit_detector(DetectorData(photos), tmp_path / "cut", recipe=replace(TINY, seed=2), resume=True, log=lines.append)
    with pytest.raises(InputError, match=r"checkpoint\.npz was trained on other data \(not the same: photos\)"):
        fit_detector(DetectorData(photos[1:]), tmp_path / "cut", recipe=TINY, resume=True, log=lines.append)
    assert fit_detector(DetectorData(photos), tmp_path / "cut", recipe=TINY, resume=True, log=lines.append)
    assert (tmp_path / "cut" / "model.onnx").read_bytes() == (tmp_path / "whole" / "model.onnx").read_bytes()
    history = json.loads((tmp_path / "whole" / "history.json").read_text(encoding="utf-8"))["epochs"]
    points = PointRecipe(**TINY.points)
    assert fit_points(photos, tmp_path / "whole", points, log=lines.append)
    assert not fit_points(photos, tmp_path / "cut", points, until=0.0, log=lines.append)
    with pytest.raises(InputError, match=r"faces\.npz was trained on other data \(not the same: photos\)"):
        fit_points(photos[1:], tmp_path / "cut", points, log=lines.append)
    with pytest.raises(InputError, match=r"faces\.npz was trained on other data \(not the same: teacher\)"):
        fit_points(photos, tmp_path / "cut", points, teacher=lambda view: [], log=lines.append)
    (tmp_path / "cut" / "faces.npz").unlink()
    with pytest.raises(InputError, match=r"points\.npz was trained on other data \(not the same: faces\)"):
        fit_points(photos[1:], tmp_path / "cut", points, log=lines.append)
    (tmp_path / "cut" / "faces.npz").unlink()
    assert fit_points(photos, tmp_path / "cut", points, log=lines.append)
    assert (tmp_path / "cut" / "points.onnx").read_bytes() == (tmp_path / "whole" / "points.onnx").read_bytes()
    with pytest.raises(DataError, match="None of 1 photos"):
        fit_points([labelled([])], tmp_path / "none", points, log=lines.append)
    assert [row["epoch"] for row in history] == [1, 2, 3]
    assert 0 <= history[-1]["val_ap50"] <= 1


def write_data(folder: Path) -> Path:
    for part, seeds in (("train", range(6)), ("dev", range(10, 13))):
        (folder / part / "images").mkdir(parents=True)
        records, truth = [], {}
        for seed in seeds:
            photo = face_photo(seed)
            cv2.imwrite(str(folder / part / "images" / f"{seed}.png"), photo.pixels[..., ::-1])
            x1, y1, x2, y2 = photo.boxes[0].tolist()
            face = {"box": [x1, y1, x2, y2], "use": "pos", "landmarks": photo.landmarks[0].tolist()}
            records.append({"file": f"images/{seed}.png", "faces": [face, {"box": [0, 0, 9, 9], "use": "ignore"}]})
            truth[f"{seed}.png"] = {"source": "made", "faces": [{"box": [x1, y1, x2 - x1, y2 - y1], "ignore": 0}]}
        name, content = ("labels.json", records) if part == "train" else ("gt.json", truth)
        (folder / part / name).write_text(json.dumps(content), encoding="utf-8")
    (folder / "negatives").mkdir()
    cv2.imwrite(str(folder / "negatives" / "wall.jpg"), np.full((60, 80, 3), 99, np.uint8))
    return folder


@pytest.mark.slow
def test_from_a_folder_to_a_detector(tmp_path: Path) -> None:
    data = write_data(tmp_path / "faces")
    out = train_detector(data, tmp_path / "mine", recipe=replace(TINY, stages=(Stage(1, 1e-3),)), licence="CC0-1.0")
    detector = FaceDetector("ferkit", model=out)
    detector.detect(face_photo(0).pixels)
    spec = json.loads((out / "spec.json").read_text(encoding="utf-8"))
    assert spec["name"] == "mine"
    assert spec["training"]["faces"] == spec["training"]["faces_with_landmarks"] == 6
    assert set(spec["files"]) == {"model.onnx", "points.onnx"}
    teacher = FaceDetector("ferkit", min_score=0.01)
    again = train_detector(data, tmp_path / "taught", recipe=replace(TINY, points={}, stages=(Stage(1, 1e-3),)), teacher=teacher)
    assert not (again / "points.onnx").exists()
    assert "CC0-1.0" in (out / "card.md").read_text(encoding="utf-8")
    further = train_detector(data, tmp_path / "further", recipe=replace(TINY, points={}, stages=(Stage(1, 1e-3),)), start=out)
    assert (further / "points.onnx").read_bytes() == (out / "points.onnx").read_bytes()
    again = json.loads((further / "spec.json").read_text(encoding="utf-8"))
    assert again["training"]["started_from"] == "mine"
    assert {key: again["architecture"][key] for key in ("points_parameters", "points_macs")}.items() <= spec["architecture"].items()
    assert "second network of `mine`" in (further / "card.md").read_text(encoding="utf-8")
    with pytest.raises(InputError, match="'nothing' is not a folder"):
        train_detector(data, tmp_path / "none", recipe=TINY, start="nothing")


def test_the_hours_are_those_of_both_networks(tmp_path: Path) -> None:
    (tmp_path / "history.json").write_text(json.dumps({"epochs": [{"seconds": 3600.0}]}), encoding="utf-8")
    assert _about(DetectorData([]), tmp_path)["hours"] == 1.0
    np.savez(tmp_path / "points.npz", meta=np.array(json.dumps({"epoch": 1, "history": [{"seconds": 1800.0}]})))
    assert _about(DetectorData([]), tmp_path)["hours"] == 1.5


def test_kept_faces_that_are_damaged_are_told(tmp_path: Path) -> None:
    """Of a file that was cut short, and of one with a bad byte within."""
    np.savez(tmp_path / "faces.npz", pixels=np.zeros((1, 128, 128, 3), np.uint8), points=np.zeros((1, 5, 2)), sides=np.zeros(1))
    whole = (tmp_path / "faces.npz").read_bytes()
    for damaged in (whole[:1000], whole[:1000] + b"\1" + whole[1001:]):
        (tmp_path / "faces.npz").write_bytes(damaged)
        with pytest.raises(WeightsError, match=r"faces\.npz is damaged \(.*\), and the run cannot go on from it"):
            stored_crops([face_photo(0)], tmp_path / "faces.npz", None, log=lambda line: None)


def test_photos_of_phones_are_read_as_everywhere(tmp_path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif", reason="needs ferkit[heif]")
    data = write_data(tmp_path / "faces")
    wall = np.full((60, 80, 3), 99, np.uint8)
    pillow_heif.from_bytes("RGB", (80, 60), wall.tobytes()).save(data / "negatives" / "wall.heic", quality=90)
    negatives = read_photos(data)[1]
    assert sorted(photo.pixels.shape for photo in negatives)[0] == (60, 80, 3)
    assert np.abs(negatives[-1].pixels.astype(int) - 99).max() < 10


def test_data_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"labels\.json"):
        read_photos(tmp_path)
    data = write_data(tmp_path / "faces")
    cv2.imwrite(str(data / "negatives" / "wall.webp"), np.full((60, 80, 3), 99, np.uint8))
    assert [len(part) for part in read_photos(data)] == [6, 2]
    labels = data / "train" / "labels.json"
    written = labels.read_text(encoding="utf-8")
    for wrong in (
        {"use": "positive"},
        {"box": [90, 90, 10, 10]},
        {"box": [10, 10, 10, 90]},
        {"box": [10, 10, float("nan"), 90]},
        {"box": [10, 10, float("inf"), 90]},
    ):
        records = json.loads(written)
        records[0]["faces"][0] |= wrong
        labels.write_text(json.dumps(records), encoding="utf-8")
        with pytest.raises(DataError, match=r"^images/0\.png has a face with box .*; expected x1 < x2"):
            read_photos(data)
    labels.write_text(written, encoding="utf-8-sig")  # as some editors do
    truth = data / "dev" / "gt.json"
    truth.write_text(truth.read_text(encoding="utf-8"), encoding="utf-8-sig")
    assert len(read_photos(data)[0]) == 6
    assert read_annotated(data / "dev")
    (data / "train" / "images" / "3.png").write_text("no picture", encoding="utf-8")
    with pytest.raises(DataError, match=r"3\.png is missing or is not a picture\. .*3\.png"):
        read_photos(data)
    (data / "dev" / "gt.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(DataError, match=r"gt\.json"):
        read_annotated(data / "dev")
    with pytest.raises(DataError, match="None of 1 photos"):
        fit_detector(DetectorData([labelled([])]), tmp_path / "out", recipe=TINY)


@pytest.mark.parametrize(
    ("text", "message"), [("name = 1\nfoo = 2", "unknown keys foo"), ("name = ", "cannot be read"), ("name = 'a'", "not a recipe")]
)
def test_recipes_that_are_none(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "r.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        load_detector_recipe(path)
    path.write_bytes("name = 'für'".encode("latin-1"))
    with pytest.raises(InputError, match="cannot be read as a recipe"):
        load_detector_recipe(path)
    for change in ({"size": 100}, {"pictures": 3}):
        with pytest.raises(InputError):
            replace(TINY, **change)  # type: ignore[arg-type]


def test_average_precision_by_hand() -> None:
    photo = AnnotatedPhoto(
        "a", "made", np.zeros((200, 200, 3), np.uint8), np.array([[0, 0, 20, 20], [50, 50, 90, 90.0]]), np.zeros(2, bool)
    )
    hit, miss, other = Face((0, 0, 20, 22), 0.9), Face((120, 120, 150, 150), 0.8), Face((50, 50, 90, 88), 0.7)
    scores = score_detections([[hit, miss, other]], [photo])
    assert scores.ap50 == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert scores.recall == 1
    assert scores.recall_strict == 0.5
    assert scores.threshold == pytest.approx(0.9)  # below it one in two or three is wrong
    twice = score_detections([[hit, replace(hit, score=0.85)]], [photo])
    assert twice.ap50 == pytest.approx(0.5)
    ignored = replace(photo, ignore=np.array([True, False]))
    assert score_detections([[hit, other]], [ignored]).ap50 == 1
    assert score_detections([[]], [photo]).ap50 == 0


@pytest.mark.shared
def test_average_precision_is_the_reference_script_s(shared: Path) -> None:
    path = shared / "faces" / "dev" / "eval_detector.py"
    if not path.is_file():
        pytest.skip("needs ../shared/faces")
    spec = importlib.util.spec_from_file_location("eval_detector", path)
    assert spec is not None
    assert spec.loader is not None
    reference: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    truth = json.loads((path.parent / "gt.json").read_text(encoding="utf-8"))
    dev = read_annotated(path.parent)
    rng = np.random.default_rng(0)
    found = []
    for photo in dev:  # the truth, shaken, some of it lost, with false alarms
        noise = rng.normal(0, 0.12, photo.boxes.shape) * (photo.boxes[:, 2:] - photo.boxes[:, :2]).repeat(2, axis=0).reshape(-1, 4)
        boxes = np.concatenate([photo.boxes + noise, photo.boxes[::2] + 15])
        boxes = boxes[(boxes[:, 2] > boxes[:, 0] + 1) & (boxes[:, 3] > boxes[:, 1] + 1)]
        found.append([Face(tuple(box), float(rng.random())) for box in boxes])
    table = {p.name: [[*f.box[:2], f.width, f.height, f.score] for f in faces] for p, faces in zip(dev, found, strict=True)}
    for smallest in (16, 32):
        wanted = reference.evaluate(truth, table, min_size=smallest)
        ours = score_detections(found, dev, smallest=smallest)
        assert ours.ap50 == pytest.approx(wanted["AP"], abs=1e-4)
        assert ours.recall == pytest.approx(wanted["recall_at_1_fppi"][0], abs=1e-4)
        assert ours.faces == wanted["faces"]
