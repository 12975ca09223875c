"""Portraits as a second source of training: how they are read, drawn, labelled, spoilt, and that a run with them resumes exactly."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from ferkit import DataError, ExpressionClassifier, FaceDetector, InputError
from ferkit.crops import CropGeometry, crop_face
from ferkit.data.faces import Faces
from ferkit.data.portraits import Portraits, read_portraits
from ferkit.labels import FER7, FERPLUS8
from ferkit.train.classifier.photos import PhotoSource, degraded, expected_draws, label_weights, photo_targets
from ferkit.train.classifier.recipe import load_recipe
from tests.helpers.faces import write_fer_csv
from tests.helpers.training import TINY, needs_keras

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
pytestmark = pytest.mark.train
HEADER = "file,label,checked,person,box,landmarks\n"
WITH_PHOTOS = TINY.replace("[model]", '[photos]\nshare = 0.25\n[teacher]\nweights = ["TEACHER"]\nweight = 0.5\n[model]')


class _Teacher:
    """Says of each face what its mean brightness says, the same in both heads."""

    def logits(self, faces: np.ndarray) -> dict[str, np.ndarray]:
        level = faces.mean(axis=(1, 2, 3))[:, None] / 255
        return {"fer2013": level * np.arange(7.0), "ferplus": level * np.arange(8.0)[::-1]}


def portraits(counts: dict[str, int], checked: str = "") -> Portraits:
    labels = np.array([label for label, count in counts.items() for _ in range(count)])
    images = np.random.default_rng(0).integers(0, 256, (len(labels), 48, 48), np.uint8)
    return Portraits(images, labels, np.full(len(labels), checked))


def write_portraits(folder: Path, count: int = 70) -> Path:
    """Write portraits whose labels can be learnt from the brightness, as those of write_fer_csv; two labels with 30 and more."""
    (folder / "images").mkdir(parents=True)
    rng, rows = np.random.default_rng(1), []
    for number in range(count):
        label = ("happy", "neutral")[number % 2] if number < count - 4 else ("sad", "contempt", "", "fear")[count - number - 1]
        level = 30 + 32 * FER7.index(label) if label in FER7.classes else 100
        picture = np.clip(rng.normal(level, 10, (80, 80, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(picture).save(folder / "images" / f"{number}.png")
        rows.append(f"{number}.png,{label},,p{number},10 10 70 70,\n")
    (folder / "labels.csv").write_text(HEADER + "".join(rows), encoding="utf-8")
    return folder


def test_portraits_are_cut_as_the_pipeline_cuts_faces(astronaut: np.ndarray, tmp_path: Path) -> None:
    classifier = ExpressionClassifier()
    face = FaceDetector().detect_rgb(astronaut)[0]
    assert face.landmarks is not None
    (tmp_path / "images").mkdir()
    Image.fromarray(astronaut).save(tmp_path / "images" / "a.png")
    (tmp_path / "images" / "broken.png").write_bytes(b"no picture")
    box, points = " ".join(map(str, face.box)), " ".join(f"{x},{y}" for x, y in np.asarray(face.landmarks))
    rows = [f'a.png,happy,clear,A,{box},"{points}"', f"broken.png,sad,,B,{box},", f"a.png,,,A,{box},"]
    (tmp_path / "labels.csv").write_text(HEADER + "\n".join(rows) + "\n", encoding="utf-8")
    read = read_portraits(tmp_path, classifier.crop)
    assert read.labels.tolist() == ["happy", ""]
    assert read.checked.tolist() == ["clear", ""]
    assert [name for name, _ in read.skipped] == ["broken.png"]
    for image, landmarks in zip(read.images, (face.landmarks, None), strict=True):
        cut = crop_face(astronaut, face.box, classifier.crop, landmarks)
        assert np.array_equal(image, classifier.prepare([cut])[0])
    assert not np.array_equal(*read.images)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\na.png,happy\n", "lacks the column"),
        (HEADER + "a.png,joyous,,A,1 2 3 4,\n", "line 2: label 'joyous'; expected one of neutral"),
        (HEADER + "a.png,happy,,A,,\n", "line 2: no box"),
        (HEADER + "a.png,happy,,A,1 2 3,\n", "expected 4 finite numbers"),
        (HEADER + "a.png,happy,,A,1 2 3 nan,\n", "expected 4 finite numbers"),
        (HEADER + 'a.png,happy,,A,1 2 3 4,"1,2 3,4"\n', "expected 10 finite numbers"),
        (HEADER + "a.png,happy,,A,1 2 3 4,\n", "has no readable portrait; 1 of those"),
    ],
)
def test_a_table_of_portraits_that_cannot_be_meant_says_where(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_portraits(tmp_path, CropGeometry())
    with pytest.raises(DataError, match="cannot be read"):
        read_portraits(tmp_path / "elsewhere", CropGeometry())


def test_labels_are_drawn_equally_as_far_as_three_times_allow() -> None:
    counts = {"neutral": 900, "happy": 800, "surprise": 70, "sad": 36, "fear": 5, "contempt": 40, "": 60}
    own = portraits(counts)
    draws = expected_draws(own.labels, 1000)
    assert draws.sum() == pytest.approx(1000)
    assert draws.max() <= 3
    by_label = {label: draws[own.labels == label].sum() for label in counts}
    rest = 1000 / len(own)  # each as often as it occurs: contempt and no label too, however many they are
    assert by_label["fear"] == pytest.approx(5 * rest)
    assert by_label["contempt"] == pytest.approx(40 * rest)
    assert by_label[""] == pytest.approx(60 * rest)
    assert by_label["sad"] == pytest.approx(3 * 36)
    assert by_label["surprise"] == pytest.approx(3 * 70)
    assert by_label["happy"] == pytest.approx(by_label["neutral"])

    few = expected_draws(own.labels, 150)  # room enough: all four the same
    assert len({round(few[own.labels == label].sum(), 6) for label in ("neutral", "happy", "surprise", "sad")}) == 1

    weights = np.where(np.arange(len(own)) % 2, 1.0, 2.0)
    weighted = expected_draws(own.labels, 1000, weights)
    happy = own.labels == "happy"
    assert weighted[happy & (weights == 2)].mean() == pytest.approx(2 * weighted[happy & (weights == 1)].mean())
    assert weighted[happy].sum() == pytest.approx(by_label["happy"])
    assert np.allclose(weighted[own.labels == "sad"], 3)
    with pytest.raises(DataError, match="1911 portraits cannot fill 6000 places"):
        expected_draws(own.labels, 6000)


def test_labels_count_the_same_where_they_cannot_be_drawn_the_same() -> None:
    counts = {"neutral": 900, "happy": 800, "surprise": 70, "sad": 36, "fear": 5, "": 60}
    own = portraits(counts)
    draws = expected_draws(own.labels, 1000)
    full, half, none = (label_weights(own.labels, draws, balance) for balance in (1.0, 0.5, 0.0))
    many = [own.labels == label for label in ("neutral", "happy", "surprise", "sad")]
    assert len({round(float((full * draws)[rows].sum()), 6) for rows in many}) == 1
    assert np.allclose(none, 1)
    for weights in (full, half, none):
        assert (weights * draws).sum() == pytest.approx(1000)
    assert 1 < half[own.labels == "sad"][0] < full[own.labels == "sad"][0]
    assert full[own.labels == "fear"][0] < full[own.labels == "surprise"][0]


def test_an_epoch_is_a_pure_function_and_no_portrait_comes_too_often() -> None:
    recipe = load_recipe("ferkit-s-v6")
    own = portraits({"neutral": 200, "happy": 150, "surprise": 40, "sad": 31, "": 9, "disgust": 2})
    source = PhotoSource(own, recipe, _Teacher())  # type: ignore[arg-type]
    order, counts = source.order(3, 40)
    assert order.shape == (40, recipe.photo_places)
    assert recipe.photo_places == 16
    rows, times = np.unique(order, return_counts=True)
    assert times.max() <= 3
    assert times[np.isin(rows, np.flatnonzero(own.labels == "sad"))].tolist() == [3] * 31
    assert times[np.isin(rows, np.flatnonzero(np.isin(own.labels, ["", "disgust"])))].max() == 1
    again = PhotoSource(own, recipe, _Teacher())  # type: ignore[arg-type]
    assert counts[order].mean() == pytest.approx(1, abs=0.02)
    assert np.array_equal(order, again.order(3, 40)[0])
    assert not np.array_equal(order, source.order(4, 40)[0])
    first, second = source.batch(order[7], 3, 7), again.batch(order[7], 3, 7)
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1]["ferplus"], second[1]["ferplus"])
    assert not np.array_equal(first[0], source.batch(order[7], 3, 8)[0])


def test_a_label_counts_as_far_as_it_is_trusted_and_the_teacher_for_the_rest() -> None:
    recipe = load_recipe("ferkit-s-v6")
    labels = np.array(["happy", "happy", "neutral", "neutral", "contempt", ""])
    checked = np.array(["clear", "arguable", "", "clear", "", ""])
    product = np.random.default_rng(0).dirichlet(np.ones(7), 6)
    contempt = np.array([0, 0.1, 0, 0, 0.5, 0])
    own = Portraits(np.zeros((6, 48, 48), np.uint8), labels, checked)
    targets = photo_targets(own, product, contempt, recipe)
    trust = np.array([0.6, 0.3, 0.3, 0.6, 0, 0])[:, None]  # 0.6 at most; nothing for contempt and no label
    hard = np.zeros((6, 7))
    hard[[0, 1], FER7.index("happy")] = hard[[2, 3], FER7.index("neutral")] = 1
    mixed = trust * hard + (1 - trust) * product
    assert np.allclose(targets["fer2013"], mixed, atol=1e-6)
    assert np.allclose(targets["ferplus"].sum(axis=1), 1, atol=1e-6)
    assert np.allclose(targets["ferplus"][:, FERPLUS8.index("contempt")], contempt, atol=1e-6)
    assert np.allclose(targets["ferplus"][:, FERPLUS8.columns(FER7)], (1 - contempt[:, None]) * mixed, atol=1e-6)


def test_photos_are_spoilt_as_often_as_asked(astronaut: np.ndarray) -> None:
    sharp = cv2.resize(cv2.cvtColor(astronaut[50:200, 150:300], cv2.COLOR_RGB2GRAY), (48, 48), interpolation=cv2.INTER_AREA)
    faces = np.repeat(sharp[None], 400, axis=0)
    kept = faces.copy()
    assert np.array_equal(degraded(faces, 0.0, np.random.default_rng(0)), faces)
    half = degraded(faces, 0.5, np.random.default_rng(0))
    changed = (half != faces).any(axis=(1, 2))
    assert 160 < changed.sum() < 240
    difference = np.abs(half[changed].astype(int) - sharp).mean(axis=(1, 2))
    assert 1 < difference.min() < difference.max() < 25  # another picture of the same face
    assert len(np.unique(half[changed], axis=0)) == changed.sum()
    assert np.array_equal(half, degraded(faces, 0.5, np.random.default_rng(0)))
    assert np.array_equal(faces, kept)


def test_faint_smiles_are_those_that_annotators_are_split_about() -> None:
    votes = np.zeros((4, 10), np.float32)
    votes[:, 0], votes[:, 1] = [3, 2, 9, 5], [3, 8, 1, 5]
    faces = Faces(np.zeros((4, 48, 48), np.uint8), np.zeros(4, np.int64), votes=votes)
    assert faces.faint_smiles().tolist() == [True, False, False, True]
    assert not Faces(faces.images, faces.labels).faint_smiles().any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('[teacher]\nweights = ["TEACHER"]\nweight = 0.5\n', ""), r"\[photos\] needs a \[teacher\]"),
        (("weight = 0.5", "weight = 1.0"), r"\[photos\] needs a \[teacher\] with a weight below 1"),
        (("share = 0.25", "share = 1.0"), "a share of 1.0 of photos in batches of 8"),
        (("share = 0.25", "share = 0.25\nlabel_weight = 1.5"), "label_weight = 1.5"),
        (("share = 0.25", "share = 0.25\nunchecked = { happy = -1 }"), "happy = -1"),
        (("share = 0.25", "share = 0.25\nunchecked = { joyous = 0.2 }"), "joyous"),
        (("share = 0.25", "share = 0.25\ntemperature = 0"), "a temperature of 0"),
        (("share = 0.25", "sharing = 0.25"), "unknown sharing"),
        (("share = 0.25", "share = 0.25\nweight = 2.0"), "a weight of 2.0 in .photos.; expected a number above 0, and joint"),
        (("share = 0.25", "share = 0.25\njoint = true\nweight = 0"), "a weight of 0 in"),
        (("share = 0.25", "share = 0.25\njoint = 1"), r"joint = 1 in \[photos\]"),
    ],
)
def test_a_recipe_whose_photos_would_be_ignored_is_refused(change: tuple[str, str], message: str, tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text(WITH_PHOTOS.replace(*change), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        load_recipe(path)


@needs_keras
def test_a_portrait_teaches_the_product_of_the_heads_and_other_faces_each_head() -> None:
    import keras
    from keras import ops

    from ferkit.train.classifier.answers import soft_cross_entropy
    from ferkit.train.classifier.product import PRODUCT, with_product, with_product_targets

    recipe = load_recipe("ferkit-s-v6")
    rng = np.random.default_rng(0)
    features = keras.Input((5,))
    heads = {name: keras.layers.Dense(k, name=name) for name, k in (("fer2013", 7), ("ferplus", 8))}
    network = with_product(keras.Model(features, {name: layer(features) for name, layer in heads.items()}), recipe)
    x = rng.normal(size=(3, 5)).astype(np.float32)
    answers = {name: ops.convert_to_numpy(value).astype(np.float64) for name, value in network(x).items()}
    scores = (answers["fer2013"] + answers["ferplus"][:, FERPLUS8.columns(FER7)]) / 1.3
    assert np.allclose(answers[PRODUCT], scores, atol=1e-5)

    y = {"fer2013": rng.dirichlet(np.ones(7), 2).astype(np.float32), "ferplus": rng.dirichlet(np.ones(8), 2).astype(np.float32)}
    portrait = rng.dirichlet(np.ones(7), 1).astype(np.float32)
    targets = with_product_targets(y, portrait)
    assert {name: rows.shape for name, rows in targets.items()} == {"fer2013": (3, 7), "ferplus": (3, 8), PRODUCT: (3, 7)}
    costs = {name: ops.convert_to_numpy(soft_cross_entropy(targets[name], network(x)[name])) for name in targets}
    product = np.exp(scores[2]) / np.exp(scores[2]).sum()  # by hand: the product of both heads' probabilities, to the power 1 / 1.3
    assert costs[PRODUCT].tolist() == [0, 0, pytest.approx(-(portrait[0] * np.log(product)).sum(), rel=1e-5)]
    for name in y:
        assert costs[name][2] == 0
        assert (costs[name][:2] > 0).all()


@needs_keras
def test_what_the_product_teaches_a_head_hangs_on_the_other_one() -> None:
    """A portrait that one head answers rightly and surely teaches the other next to nothing; taught apart it would learn as ever."""
    tf = pytest.importorskip("tensorflow")
    from keras import Model, layers

    from ferkit.train.classifier.answers import soft_cross_entropy
    from ferkit.train.classifier.product import PRODUCT, with_product

    features = layers.Input((1,))
    heads = {name: layers.Dense(k, name=name, kernel_initializer="zeros") for name, k in (("fer2013", 7), ("ferplus", 8))}
    network = with_product(Model(features, {name: layer(features) for name, layer in heads.items()}), load_recipe("ferkit-s-v6"))
    happy = np.eye(7, dtype=np.float32)[[FER7.index("happy")]]

    def slope(output: str, sure: float) -> float:
        bias = np.zeros(8, np.float32)
        bias[FERPLUS8.index("happy")] = sure
        heads["ferplus"].bias.assign(bias)
        with tf.GradientTape() as tape:
            cost = soft_cross_entropy(happy, network(np.ones((1, 1), np.float32))[output])
        return float(np.abs(tape.gradient(cost, heads["fer2013"].bias.value)).max())

    assert slope("fer2013", 20.0) == pytest.approx(slope("fer2013", 0.0)) == pytest.approx(6 / 7)
    assert slope(PRODUCT, 0.0) == pytest.approx(6 / 7 / 1.3)
    assert slope(PRODUCT, 20.0) < 1e-5


def _to_learn(folder: Path, more: str = "") -> tuple[Path, Path, Path]:
    """Return faces, portraits, and a recipe for both, whose teacher has learnt the faces; ``plain.toml`` is a recipe without portraits."""
    from ferkit.train import train

    data, photos = write_fer_csv(folder / "fer2013.csv", 140, 21), write_portraits(folder / "portraits")
    plain, path = folder / "plain.toml", folder / "photos.toml"
    plain.write_text(TINY, encoding="utf-8")
    teacher = train(plain, data, folder / "teacher")
    path.write_text(WITH_PHOTOS.replace("TEACHER", teacher.as_posix()).replace("share = 0.25", f"share = 0.25\n{more}"), encoding="utf-8")
    return data, photos, path


@needs_keras
@pytest.mark.slow
def test_a_run_whose_photos_teach_the_product_resumes_exactly(tmp_path: Path) -> None:
    from ferkit.data.faces import read_csv
    from ferkit.train import fit

    data, photos, path = _to_learn(tmp_path, "joint = true")
    recipe, faces = load_recipe(path), read_csv(data)
    own = read_portraits(photos, CropGeometry(**recipe.crop))
    whole = fit(recipe, faces, tmp_path / "whole", photos=own)
    fit(recipe, faces, tmp_path / "halves", photos=own, max_minutes=1e-6)
    fit(recipe, faces, tmp_path / "halves", photos=own, resume=True)
    with np.load(tmp_path / "whole" / "checkpoint.npz") as a, np.load(tmp_path / "halves" / "checkpoint.npz") as b:
        assert all(np.array_equal(a[name], b[name]) for name in a.files if name != "meta")
    assert whole.history[-1]["product_accuracy"] > whole.history[0]["product_accuracy"]
    assert list(whole.model.output_names) == list(recipe.head_names)  # the product is of training alone


@needs_keras
@pytest.mark.slow
def test_a_run_with_photos_learns_them_and_resumes_exactly(tmp_path: Path) -> None:
    from ferkit.data.faces import read_csv
    from ferkit.train import fit, train
    from ferkit.weights.specs import WeightsSpec

    data, photos, path = _to_learn(tmp_path)
    recipe, faces = load_recipe(path), read_csv(data)
    with pytest.raises(InputError, match="needs photos"):
        fit(recipe, faces, tmp_path / "without")
    own = read_portraits(photos, CropGeometry(**recipe.crop))
    with pytest.raises(InputError, match="would ignore the photos"):
        fit(tmp_path / "plain.toml", faces, tmp_path / "ignored", photos=own)

    run = train(path, data, tmp_path / "whole", photos=photos)
    fit(recipe, faces, tmp_path / "halves", photos=own, max_minutes=1e-6)
    halves = fit(recipe, faces, tmp_path / "halves", photos=own, resume=True)
    with np.load(run / "checkpoint.npz") as a, np.load(tmp_path / "halves" / "checkpoint.npz") as b:
        assert all(np.array_equal(a[name], b[name]) for name in a.files if name != "meta")
    assert halves.history[-1]["loss"] < halves.history[0]["loss"]
    training = WeightsSpec.load(run).training
    assert training["faces"] == 140 + 70
    assert "70 portraits (portraits)" in training["data"]
    unmixed = fit(load_recipe(_without_photos(path)), faces, tmp_path / "unmixed")
    assert unmixed.history[-1]["loss"] != halves.history[-1]["loss"]


def _without_photos(path: Path) -> Path:
    other = path.with_name("unmixed.toml")
    other.write_text(path.read_text(encoding="utf-8").replace("[photos]\nshare = 0.25\n", ""), encoding="utf-8")
    return other
