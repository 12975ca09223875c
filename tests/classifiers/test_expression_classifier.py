"""Crops in, calibrated probabilities out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ferkit import ExpressionClassifier, InputError, LabelSet
from ferkit.classifiers.ensemble import open_classifier
from ferkit.labels import FER6, FER7, FERPLUS8
from ferkit.weights.releases import SUPERSEDED, ZOO

GOLDEN = Path(__file__).parents[1] / "golden"


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
    for path in sorted(set(GOLDEN.glob("*.npz")) - set(GOLDEN.glob("ferkit-face-*.npz"))):
        with np.load(path) as golden:
            for output in golden.files:
                answered = open_classifier(path.stem, labels=output).predict_proba(crops)
                assert np.abs(answered - golden[output]).max() < 1e-4, (path.stem, output)


def test_every_bundled_release_has_golden_vectors() -> None:
    assert {path.stem for path in GOLDEN.glob("*.npz")} == bundled("classifier", "ensemble", "detector") | set(SUPERSEDED) | set(ZOO)


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
