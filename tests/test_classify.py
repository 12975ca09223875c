"""The classifier: shapes, calibration arithmetic, views, label sets, engines, golden vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ferkit import ExpressionClassifier, InputError, LabelSet, MissingExtraError
from ferkit.classify import View, random_views, views
from ferkit.ensemble import open_classifier
from ferkit.labels import FER6, FER7, FERPLUS8
from ferkit.weights import SUPERSEDED

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="module")
def classifier() -> ExpressionClassifier:
    return ExpressionClassifier()


def test_probabilities(classifier: ExpressionClassifier, crops: np.ndarray) -> None:
    p = classifier.predict_proba(crops)
    assert p.shape == (len(crops), len(classifier.labels))
    assert p.dtype == np.float32
    assert (p >= 0).all()
    assert np.allclose(p.sum(axis=1), 1, atol=1e-5)
    for row, e in zip(p, classifier.predict(crops), strict=True):
        assert e.label == classifier.labels[int(row.argmax())]
        assert e.confidence == pytest.approx(row.max())
        assert tuple(e.probabilities) == classifier.labels.classes
        assert e.reason is None


def bundled(*kinds: str) -> set[str]:
    from ferkit import list_weights

    return {r.name for r in list_weights() if r.kind in kinds and r.hub is None}


@pytest.mark.filterwarnings("ignore:The weights .* were replaced by")
def test_golden_vectors(crops: np.ndarray) -> None:
    for path in sorted(GOLDEN.glob("fer2013-*.npz")):
        with np.load(path) as golden:
            for output in golden.files:
                answered = open_classifier(path.stem, labels=output).predict_proba(crops)
                assert np.abs(answered - golden[output]).max() < 1e-4, (path.stem, output)


def test_every_bundled_release_has_golden_vectors() -> None:
    assert {path.stem for path in GOLDEN.glob("*.npz")} == bundled("classifier", "ensemble", "detector") | set(SUPERSEDED)


def test_engines_agree(classifier: ExpressionClassifier, crops: np.ndarray) -> None:
    pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    other = ExpressionClassifier(runtime="onnxruntime")
    assert np.abs(classifier.predict_proba(crops) - other.predict_proba(crops)).max() < 1e-5


def test_missing_engine_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r'pip install "ferkit\[onnxruntime\]"'):
        ExpressionClassifier(runtime="onnxruntime")


def test_batches_of_every_size_agree(classifier: ExpressionClassifier, crops: np.ndarray) -> None:
    many = np.concatenate([crops] * 6)  # more than one chunk
    whole = classifier.predict_proba(many)
    for n in (1, 2, 63, 64, 65):
        assert np.abs(classifier.predict_proba(many[:n]) - whole[:n]).max() < 1e-5


@pytest.mark.parametrize("empty", [np.zeros((0, 48, 48), np.uint8), np.zeros((0, 9, 9, 3), np.uint8), []])
def test_empty_batch(classifier: ExpressionClassifier, empty: object) -> None:
    assert classifier.predict_proba(empty).shape == (0, len(classifier.labels))  # type: ignore[arg-type]
    assert classifier.predict(empty) == []  # type: ignore[arg-type]


def test_grey_rgb_and_lists_agree(classifier: ExpressionClassifier, crops: np.ndarray) -> None:
    rgb = np.repeat(crops[..., None], 3, axis=3)
    expected = classifier.predict_proba(crops)
    assert np.array_equal(classifier.predict_proba(rgb), expected)
    assert np.array_equal(classifier.predict_proba(list(crops)), expected)
    assert np.array_equal(classifier.predict_proba(crops[..., None]), expected)


def test_crops_of_different_sizes(classifier: ExpressionClassifier) -> None:
    sizes = [(1, 1), (20, 20), (48, 48), (200, 200), (30, 90)]
    rng = np.random.default_rng(0)
    mixed = [rng.integers(0, 255, (*s, 3)).astype(np.uint8) for s in sizes]
    together = classifier.predict_proba(mixed)
    alone = np.concatenate([classifier.predict_proba(c[None]) for c in mixed])
    assert np.abs(together - alone).max() < 1e-5


def test_the_argument_is_not_changed(crops: np.ndarray) -> None:
    before = crops.copy()
    ExpressionClassifier(tta=10).predict(crops)
    assert np.array_equal(crops, before)


@pytest.mark.parametrize(
    "crops_",
    [
        np.zeros((48, 48), np.uint8),
        np.zeros((48, 48, 3), np.uint8),  # one colour crop, not 48 grey ones
        np.zeros((2, 48, 48), np.float32),
        np.zeros((2, 48, 48, 4), np.uint8),
        np.zeros((1, 0, 5), np.uint8),
        [np.zeros((3, 3, 2), np.uint8)],
    ],
)
def test_bad_crops(classifier: ExpressionClassifier, crops_: object) -> None:
    with pytest.raises(InputError, match="expected"):
        classifier.predict(crops_)  # type: ignore[arg-type]


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
    from ferkit.classify import _seen

    face = np.zeros((1, 48, 48), np.uint8)
    face[0, 10:14, 22:26] = 200  # a spot above the middle
    spot = lambda view: np.argwhere(_seen(face, view)[0] > 100).mean(axis=0).tolist()  # noqa: E731
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


def test_label_sets(crops: np.ndarray) -> None:
    assert ExpressionClassifier(labels="fer2013").labels.classes == FER7.classes
    assert ExpressionClassifier(labels="ferplus").labels.classes == FERPLUS8.classes
    assert ExpressionClassifier(labels="ferplus").predict_proba(crops).shape[1] == 8
    with pytest.raises(InputError, match="fer2013"):
        ExpressionClassifier(labels="klingon")


def test_fewer_labels_are_renormalised(classifier: ExpressionClassifier, crops: np.ndarray) -> None:
    six = ExpressionClassifier(labels=FER6)
    assert six.labels == FER6
    expected = classifier.predict_proba(crops)[:, classifier.labels.columns(FER6)]
    expected /= expected.sum(axis=1, keepdims=True)
    assert np.abs(six.predict_proba(crops) - expected).max() < 1e-5
    assert ExpressionClassifier(labels=["sad", "happy"]).labels.classes == ("sad", "happy")


@pytest.mark.parametrize("labels", [LabelSet("x", ("happy", "bored")), ["joy", "anger"], ["happy"], ["sad", "sad"]])
def test_wrong_label_sets(labels: object) -> None:
    with pytest.raises(InputError):
        ExpressionClassifier(labels=labels)  # type: ignore[arg-type]


def test_mixture_is_a_product_of_the_heads(crops: np.ndarray) -> None:
    spec = ExpressionClassifier().spec
    mixed, fer, plus = (spec.output(name) for name in ("mixed", "fer2013", "ferplus"))
    a, b = (ExpressionClassifier(labels=name).predict_proba(crops).astype(float) for name in ("fer2013", "ferplus"))
    log = mixed.weights[0] * fer.temperature * np.log(a) + mixed.weights[1] * plus.temperature * np.log(b[:, FERPLUS8.columns(FER7)])
    p = np.exp(log / mixed.temperature)
    p /= p.sum(axis=1, keepdims=True)
    assert np.abs(ExpressionClassifier(labels="mixed").predict_proba(crops) - p).max() < 1e-4


def test_abstaining(crops: np.ndarray) -> None:
    sure = ExpressionClassifier(min_confidence=1.0).predict(crops[:1])[0]
    assert sure.label is None
    assert sure.reason is not None
    assert "below 1" in sure.reason
    assert sum(sure.probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert ExpressionClassifier(min_confidence=0.0).predict(crops[:1])[0].label is not None
    for bad in (-0.1, 1.1, float("nan")):
        with pytest.raises(InputError, match="min_confidence"):
            ExpressionClassifier(min_confidence=bad)


def test_unknown_runtime() -> None:
    with pytest.raises(InputError, match="opencv, onnxruntime"):
        ExpressionClassifier(runtime="abacus")
