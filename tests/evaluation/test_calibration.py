"""Temperatures."""

from __future__ import annotations

import numpy as np
import pytest

from ferkit.data.faces import Faces
from ferkit.evaluation.calibration import calibrated_outputs, fit_temperature, negative_log_likelihood
from ferkit.labels import FER7, FERPLUS8, LabelSet

Floats = np.ndarray


@pytest.mark.parametrize("true", [0.4, 1.0, 2.5])
def test_the_temperature_makes_the_mean_confidence_the_accuracy(true: float) -> None:
    rng = np.random.default_rng(3)
    scores = rng.normal(0, 2, (20_000, 5))
    p = np.exp(scores / true)
    p /= p.sum(axis=1, keepdims=True)
    truth = (p.cumsum(axis=1) > rng.random((len(p), 1))).argmax(axis=1)
    found = fit_temperature(scores, truth)
    assert found == pytest.approx(true, rel=0.05)
    own = np.exp(scores / found - (scores / found).max(axis=1, keepdims=True))
    confidence = (1 / own.sum(axis=1)).mean()
    assert confidence == pytest.approx((scores.argmax(axis=1) == truth).mean(), abs=1e-6)


def test_one_temperature_serves_one_view_and_several() -> None:
    rng = np.random.default_rng(3)
    true = rng.normal(0, 2, (20_000, 5))
    truth = (np.exp(true) / np.exp(true).sum(axis=1, keepdims=True)).cumsum(axis=1) > rng.random((len(true), 1))
    truth = truth.argmax(axis=1)
    views = true + rng.normal(0, 1.5, (4, *true.shape))

    def surplus(temperature: float, count: int) -> float:
        p = np.exp(views[:count] / temperature)
        mean = (p / p.sum(axis=-1, keepdims=True)).mean(axis=0)
        return float(mean.max(axis=1).mean() - (mean.argmax(axis=1) == truth).mean())

    alone, all_ = fit_temperature(views[0], truth), fit_temperature(views, truth, (1, 2, 4))
    assert fit_temperature(views, truth, (1,)) == pytest.approx(alone)
    assert surplus(alone, 1) == pytest.approx(0, abs=1e-4)
    assert surplus(alone, 4) < -0.05  # the mean over views is less sure
    assert np.mean([surplus(all_, count) for count in (1, 2, 4)]) == pytest.approx(0, abs=1e-3)
    assert surplus(all_, 1) > 0 > surplus(all_, 4)


def softmax(scores: Floats) -> Floats:
    p = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(p / p.sum(axis=-1, keepdims=True))


def test_the_likelihood_by_hand() -> None:
    scores = np.log(np.array([[1.0, 3.0], [1.0, 1.0]]))
    assert negative_log_likelihood(scores, np.array([1, 0])) == pytest.approx((np.log(4 / 3) + np.log(2)) / 2)
    assert negative_log_likelihood(np.array([[0.0, -2000.0]]), np.array([1])) == 2000


def consistent(scores: Floats, truth: Floats) -> float:
    """The temperature at which the mean confidence is the accuracy, of n faces at most (n + 1) / (n + 2); looked for on a line."""
    accuracy = min((scores.argmax(axis=1) == truth).mean(), (len(truth) + 1) / (len(truth) + 2))
    low, high = 0.05, 20.0
    for _ in range(80):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if softmax(scores / middle).max(axis=1).mean() > accuracy else (low, middle)
    return float(np.sqrt(low * high))


def wanted(scores: Floats, truth: Floats) -> float:
    """What the docstring says: below 1 only if five-fold cross-validation costs no more than a thousandth of a nat for each face."""
    temperature = consistent(scores, truth)
    if temperature >= 1:
        return temperature
    fold = np.random.default_rng(0).permutation(len(truth)) % 5
    cost = 0.0
    for k in range(5):
        own = fold == k
        for t, sign in ((consistent(scores[~own], truth[~own]), 1), (1.0, -1)):
            cost += sign * negative_log_likelihood(scores[own] / t, truth[own]) * own.sum()
    return temperature if cost / len(truth) <= 1e-3 else 1.0


def test_a_temperature_below_one_holds_on_other_faces() -> None:
    """Among the draws are temperatures above 1, below 1, and those that did not hold."""
    rng, kinds = np.random.default_rng(0), set()
    for _ in range(24):
        n, share = int(rng.integers(10, 60)), rng.uniform(0.1, 0.95)
        scores = rng.normal(0, 0.8, (n, 4))
        truth = np.where(rng.random(n) < share, scores.argmax(axis=1), rng.integers(0, 4, n))
        expected = wanted(scores, truth)
        assert fit_temperature(scores, truth) == pytest.approx(expected, rel=1e-6)
        kinds.add((consistent(scores, truth) < 1, expected < 1))
    assert kinds == {(False, False), (True, False), (True, True)}


def test_one_face_is_no_ground_for_being_surer() -> None:
    assert fit_temperature(np.array([[0.2, 0.0]]), np.array([0])) == 1.0


HEADS = (FER7, FERPLUS8)


def voted(n: int = 240) -> tuple[Faces, Floats]:
    """Faces with labels and votes, of which some agree, and raw outputs of both heads in two views that know something of each."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 7, n)
    winner = np.where(rng.random(n) < 0.6, np.array(FERPLUS8.columns(FER7))[labels], rng.integers(0, 8, n))
    winner = np.where(rng.random(n) < 0.1, 9, winner)  # not a face
    votes = np.zeros((n, 10), np.float32)
    votes[np.arange(n), winner] = 10
    logits = rng.normal(0, 1.0, (2, n, 15))
    logits[:, np.arange(n), labels] += 2.5
    known = winner < 8
    logits[:, np.flatnonzero(known), 7 + winner[known]] += 4.0
    return Faces(np.zeros((n, 48, 48), np.uint8), labels, votes=votes), 1.7 * logits.astype(np.float32)


def test_outputs_without_faces() -> None:
    plus = [7 + FERPLUS8.index(name) for name in FER7]
    photos, fer, ferplus, mixed = calibrated_outputs(HEADS, None, None)
    assert [o.name for o in (photos, fer, ferplus, mixed)] == ["photos", "fer2013", "ferplus", "mixed"]
    assert fer.columns == (tuple(range(7)),)
    assert ferplus.columns == (tuple(range(7, 15)),)
    assert photos.columns == mixed.columns == (tuple(range(7)), tuple(plus))
    assert photos.weights == mixed.weights == (1.0, 1.0)
    assert {o.temperature for o in (photos, fer, ferplus, mixed)} == {1.0}
    [own] = calibrated_outputs([LabelSet("moods", ("up", "down"))], None, None)
    assert own.columns == ((0, 1),)


def test_outputs_are_fitted_on_the_faces_that_are_theirs() -> None:
    faces, logits = voted()
    photos, fer, ferplus, mixed = calibrated_outputs(HEADS, logits, faces)
    plus = [7 + FERPLUS8.index(name) for name in FER7]
    assert faces.votes is not None
    winner = faces.votes.argmax(axis=1)
    first = logits[0].astype(np.float64)
    assert fer.temperature == pytest.approx(fit_temperature(first[:, :7], faces.labels), abs=1e-4)
    keep = winner < 8
    assert ferplus.temperature == pytest.approx(fit_temperature(first[keep, 7:], winner[keep]), abs=1e-4)
    assert photos.weights == pytest.approx((1 / fer.temperature, 1 / ferplus.temperature), abs=1e-4)
    agreeing = np.array(FERPLUS8.columns(FER7))[faces.labels] == winner
    product = photos.weights[0] * first[:, :7] + photos.weights[1] * first[:, plus]
    assert photos.temperature == pytest.approx(fit_temperature(product[agreeing], faces.labels[agreeing]), abs=1e-4)
    costs = {}
    for ratio in (0.25, 0.5, 1.0, 2.0):
        scores = first[:, :7] + ratio * first[:, plus]
        costs[ratio] = negative_log_likelihood(scores / round(fit_temperature(scores, faces.labels), 4), faces.labels)
    assert mixed.weights == (1.0, min(costs, key=lambda ratio: costs[ratio]))
    assert len({1.0, fer.temperature, ferplus.temperature, photos.temperature}) == 4


def test_several_views_count_and_no_votes_leave_their_head_alone() -> None:
    faces, logits = voted()
    without = Faces(faces.images, faces.labels)
    photos, fer, ferplus, _ = calibrated_outputs(HEADS, logits, without, (1, 2))
    assert ferplus.temperature == 1.0
    assert fer.temperature == pytest.approx(fit_temperature(logits[..., :7].astype(np.float64), faces.labels, (1, 2)), abs=1e-4)
    assert fer.temperature != calibrated_outputs(HEADS, logits, without)[1].temperature
    assert photos.weights == pytest.approx((1 / fer.temperature, 1.0), abs=1e-4)
    of_votes = Faces(faces.images, faces.votes.argmax(axis=1) % 8, FERPLUS8)  # a data set whose own labels are FER+'s
    [alone] = calibrated_outputs([FERPLUS8], logits[..., 7:], of_votes)
    assert alone.temperature == pytest.approx(fit_temperature(logits[0, :, 7:].astype(np.float64), of_votes.labels), abs=1e-4)


def test_the_mixture_is_chosen_by_calibrated_answers() -> None:
    """Raw outputs that are far too unsure favor a larger exponent than is best once they are calibrated."""
    faces, logits = voted()
    logits = np.float32(0.3) * logits
    first, plus = logits[0].astype(np.float64), [7 + FERPLUS8.index(name) for name in FER7]
    raw, calibrated = {}, {}
    for ratio in (0.25, 0.5, 1.0, 2.0):
        scores = first[:, :7] + ratio * first[:, plus]
        raw[ratio] = negative_log_likelihood(scores, faces.labels)
        calibrated[ratio] = negative_log_likelihood(scores / fit_temperature(scores, faces.labels), faces.labels)
    best = min(calibrated, key=lambda ratio: calibrated[ratio])
    assert best != min(raw, key=lambda ratio: raw[ratio])
    assert calibrated_outputs(HEADS, logits, faces)[3].weights == (1.0, best)


@pytest.mark.parametrize("n", [3, 5, 40, 400])
def test_answers_that_no_temperature_makes_surer_keep_theirs(n: int) -> None:
    """A network that says the same of every label is right by chance: no temperature at all explains that."""
    assert fit_temperature(np.zeros((n, 7)), np.arange(n) % 7) == 1.0
    assert fit_temperature(np.full((2, n, 3), 4.0), np.zeros(n, np.int64)) == 1.0


def test_the_name_that_programs_hold() -> None:
    from ferkit.train.calibrate import fit_temperature as held

    assert held is fit_temperature


def test_faces_that_look_alike_still_have_a_temperature() -> None:
    """Three of four are right, and so sure is the answer to be: 3 / temperature is the logarithm of 3."""
    scores, truth = np.tile([3.0, 0.0], (400, 1)), np.arange(400) % 4 // 3
    assert fit_temperature(scores, truth) == pytest.approx(3 / np.log(3), rel=0.02)


@pytest.mark.parametrize("n", [1, 4, 12, 60])
def test_right_answers_do_not_make_a_temperature_that_knows_no_doubt(n: int) -> None:
    """Every face is answered rightly, so that a lower temperature is always better on these faces, and only on these."""
    truth = np.arange(n) % 2
    scores = np.eye(2)[truth] * (1 + truth[:, None])
    found = fit_temperature(scores, truth)
    p = np.exp(scores / found) / np.exp(scores / found).sum(axis=1, keepdims=True)
    assert p.max(axis=1).mean() <= (n + 1) / (n + 2) + 1e-6
    assert found > 0.1  # not the 0.05 where the search ends


def test_a_temperature_below_one_has_to_hold_on_other_faces() -> None:
    """One sure mistake among many unsure right answers: they ask for a low temperature, which makes the mistake much worse."""
    scores = np.array([[0.3, 0.0]] * 11 + [[5.0, 0.0]])
    truth = np.array([0] * 11 + [1])
    assert fit_temperature(scores, truth) == 1.0


def test_a_temperature_below_one_that_holds_is_kept() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 1, (400, 5))
    p = np.exp(scores / 0.5)
    truth = ((p / p.sum(axis=1, keepdims=True)).cumsum(axis=1) > rng.random((len(p), 1))).argmax(axis=1)
    assert fit_temperature(scores, truth) == pytest.approx(0.5, rel=0.15)
