"""A linear head on cached features: logistic regression that starts from a known head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...evaluation.calibration import negative_log_likelihood
from ...logits import softmax_and_log
from .splitting import check_groups, deal

__all__ = ["FOLDS", "Choice", "Head", "Lesson", "choose_head", "fit_head", "label_weights"]

Float = NDArray[np.float64]
PENALTIES = (0.03, 0.1, 0.3, 1.0, 3.0)
_FIRST_PENALTY = 0.3  # at which the starts are compared
FOLDS = 5
_SPREAD = 0.05  # added to a feature's deviation, so that one which hardly moves is not blown up
_ENOUGH = 1e-6  # relative change of the loss at which a fit ends: far below what separates two penalties


@dataclass(frozen=True)
class Head:
    """Logits are ``features @ kernel + bias``.

    Attributes:
        kernel: ``(d, k)``.
        bias: ``(k,)``.
    """

    kernel: Float
    bias: Float

    def __call__(self, features: NDArray[np.floating]) -> Float:
        return np.asarray(features @ self.kernel + self.bias, np.float64)


@dataclass(frozen=True)
class Lesson:
    """What a head is fitted on.

    Attributes:
        features: ``(views, n, d)``: every face in several views, which together count as one face; the first is the face as it is.
        truth: ``(n,)``.
        groups: ``(n,)``: faces of one group are never on both sides of a fold.
        targets: Soft labels ``(n, k)``, or None: the truth alone.
        weights: What each face counts, ``(n,)``, or None: all the same.
    """

    features: NDArray[np.float32]
    truth: NDArray[np.int64]
    groups: NDArray[np.int64]
    targets: NDArray[np.float32] | None = None
    weights: NDArray[np.float32] | None = None

    def part(self, rows: NDArray[np.bool_]) -> Lesson:
        """Return some faces of it."""
        targets, weights = (None if values is None else values[rows] for values in (self.targets, self.weights))
        return Lesson(self.features[:, rows], self.truth[rows], self.groups[rows], targets, weights)


@dataclass(frozen=True)
class Choice:
    """What cross-validation chose.

    Attributes:
        head: Fitted on all faces.
        start: Name of the head that it started from.
        penalty: Of the distance from that start.
        loss: Mean cross-validated negative log-likelihood, nats.
        accuracy: Cross-validated.
        logits: Of every face by the fold that did not see it, ``(n, k)``: what the temperature is fitted on.
        folds: The fold of every face, ``(n,)``.
    """

    head: Head
    start: str
    penalty: float
    loss: float
    accuracy: float
    logits: Float
    folds: NDArray[np.int64]


def fit_head(lesson: Lesson, start: Head, penalty: float) -> Head:
    """Fit a head by penalised maximum likelihood.

    The penalty is on the squared distance from ``start``: with little data the answer stays close to what is known, with
    much it moves. Faces count by the inverse square root of their label's frequency: halfway between each face alike,
    where rare labels drown, and each label alike, where a handful of faces outvotes the rest.

    Args:
        lesson: To fit.
        start: With a column per label.
        penalty: Above 0.
    """
    from scipy.optimize import minimize

    views, n, d = lesson.features.shape
    k = len(start.bias)
    mean, spread = lesson.features[0].mean(axis=0), (lesson.features[0].std(axis=0) + _SPREAD) * np.sqrt(d)
    x = np.ascontiguousarray(((lesson.features - mean) / spread).reshape(views * n, d), np.float32)
    known = start(lesson.features).reshape(views * n, k)
    weights = np.tile(label_weights(lesson.truth, k, lesson.weights), views) / views
    targets = np.tile(np.eye(k)[lesson.truth] if lesson.targets is None else lesson.targets.astype(np.float64), (views, 1))

    def loss(flat: Float) -> tuple[float, Float]:
        kernel, bias = flat[:-k].reshape(d, k), flat[-k:]
        scores = known + x @ kernel.astype(np.float32) + bias
        shares, logs = softmax_and_log(scores)
        likelihood = weights @ (targets * logs).sum(axis=1)
        error = weights[:, None] * (shares - targets)
        gradient = np.concatenate([(x.T @ error.astype(np.float32) + penalty * kernel).ravel(), error.sum(axis=0) + bias])
        return float(0.5 * penalty * (kernel**2).sum() + 0.5 * (bias**2).sum() - likelihood), gradient

    found = minimize(loss, np.zeros(d * k + k), jac=True, method="L-BFGS-B", options={"maxiter": 150, "ftol": _ENOUGH}).x
    kernel = found[:-k].reshape(d, k) / spread[:, None]
    return Head(start.kernel + kernel, start.bias + found[-k:] - mean @ kernel)


def choose_head(lesson: Lesson, starts: Mapping[str, Head], folds: int = FOLDS) -> Choice:
    """Choose start and penalty by cross-validation over whole groups, then fit on everything.

    Args:
        lesson: To fit; the first view is what is scored.
        starts: Heads by name, each with a column per label.
        folds: At most so many.

    Raises:
        DataError: All faces are of one group, so that none can be answered by a head that did not learn from it.
    """
    from threadpoolctl import threadpool_limits

    truth = lesson.truth
    check_groups(lesson.groups)
    fold = deal(truth, lesson.groups, folds)
    parts = [(fold != number, lesson.part(fold != number)) for number in np.unique(fold)]

    def tried(name: str, penalty: float) -> Choice:
        logits = np.zeros((len(truth), len(starts[name].bias)))
        for seen, part in parts:
            logits[~seen] = fit_head(part, starts[name], penalty)(lesson.features[0, ~seen])
        accuracy = float((logits.argmax(axis=1) == truth).mean())
        return Choice(starts[name], name, penalty, negative_log_likelihood(logits, truth), accuracy, logits, fold)

    with threadpool_limits(1):  # the matrices are small: two threads cost eight times the time of one
        best = min((tried(name, _FIRST_PENALTY) for name in starts), key=lambda choice: choice.loss)
        # Up and down from there for as long as it helps: the loss has one valley.
        middle = PENALTIES.index(_FIRST_PENALTY)
        for penalties in (PENALTIES[middle + 1 :], PENALTIES[:middle][::-1]):
            for penalty in penalties:
                other = tried(best.start, penalty)
                if other.loss >= best.loss:
                    break
                best = other
            if best.penalty != _FIRST_PENALTY:
                break
        return replace(best, head=fit_head(lesson, best.head, best.penalty))


def label_weights(truth: NDArray[np.int64], k: int, weights: NDArray[np.float32] | None = None) -> Float:
    """Return the weight of every face, ``(n,)``, of mean 1: its own, times the inverse square root of its label's frequency."""
    own = np.ones(len(truth)) if weights is None else weights.astype(np.float64)
    frequency = np.maximum(np.bincount(truth, weights=own, minlength=k), 1e-9) / own.sum()
    out = own / np.sqrt(frequency)[truth]
    return np.asarray(out / out.mean(), np.float64)
