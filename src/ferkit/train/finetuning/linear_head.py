"""A linear head on cached features: logistic regression that starts from a known head."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...evaluation.calibration import negative_log_likelihood
from .splitting import deal

__all__ = ["FOLDS", "Choice", "Head", "choose_head", "fit_head", "label_weights"]

Float = NDArray[np.float64]
PENALTIES = (0.03, 0.1, 0.3, 1.0, 3.0)
_FIRST_PENALTY = 0.3  # at which the starts are compared
FOLDS = 5
_SPREAD = 0.05  # added to a feature's deviation, so that one which hardly moves is not blown up


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
class Choice:
    """What cross-validation chose.

    Attributes:
        head: Fitted on all faces.
        start: Name of the head that it started from.
        penalty: Of the distance from that start.
        loss: Mean cross-validated negative log-likelihood, nats.
        accuracy: Cross-validated.
        logits: Of every face by the fold that did not see it, ``(n, k)``: what the temperature is fitted on.
    """

    head: Head
    start: str
    penalty: float
    loss: float
    accuracy: float
    logits: Float


def fit_head(features: NDArray[np.floating], truth: NDArray[np.int64], start: Head, penalty: float) -> Head:
    """Fit a head by penalised maximum likelihood.

    The penalty is on the squared distance from ``start``: with little data the answer stays close to what is known, with
    much it moves. Faces count by the inverse square root of their label's frequency: halfway between each face alike,
    where rare labels drown, and each label alike, where a handful of faces outvotes the rest.

    Args:
        features: ``(views, n, d)``: every face in several views, which together count as one face.
        truth: ``(n,)``.
        start: With a column per label.
        penalty: Above 0.
    """
    from scipy.optimize import minimize

    views, n, d = features.shape
    k = len(start.bias)
    mean, spread = features[0].mean(axis=0), (features[0].std(axis=0) + _SPREAD) * np.sqrt(d)
    x = ((features - mean) / spread).reshape(views * n, d).astype(np.float64)
    known = start(features).reshape(views * n, k)
    y = np.tile(truth, views)
    weights = np.tile(label_weights(truth, k), views) / views
    targets = np.eye(k)[y]

    def loss(flat: Float) -> tuple[float, Float]:
        kernel, bias = flat[:-k].reshape(d, k), flat[-k:]
        scores = known + x @ kernel + bias
        scores -= scores.max(axis=1, keepdims=True)
        exp = np.exp(scores)
        total = exp.sum(axis=1, keepdims=True)
        likelihood = weights @ (scores[np.arange(len(y)), y] - np.log(total[:, 0]))
        error = weights[:, None] * (exp / total - targets)
        gradient = np.concatenate([(x.T @ error + penalty * kernel).ravel(), error.sum(axis=0) + bias])
        return float(0.5 * penalty * (kernel**2).sum() + 0.5 * (bias**2).sum() - likelihood), gradient

    found = minimize(loss, np.zeros(d * k + k), jac=True, method="L-BFGS-B", options={"maxiter": 150}).x
    kernel = found[:-k].reshape(d, k) / spread[:, None]
    return Head(start.kernel + kernel, start.bias + found[-k:] - mean @ kernel)


def choose_head(features: NDArray[np.floating], truth: NDArray[np.int64], groups: NDArray[np.int64], starts: dict[str, Head]) -> Choice:
    """Choose start and penalty by cross-validation over groups of near copies, then fit on everything.

    Args:
        features: ``(views, n, d)``; the first view is what is scored.
        truth: ``(n,)``.
        groups: ``(n,)``: faces of one group are never on both sides.
        starts: Heads by name, each with a column per label.
    """
    from threadpoolctl import threadpool_limits

    folds = deal(truth, groups, FOLDS)

    def tried(name: str, penalty: float) -> Choice:
        logits = np.zeros((len(truth), len(starts[name].bias)))
        for fold in np.unique(folds):
            seen = folds != fold
            logits[~seen] = fit_head(features[:, seen], truth[seen], starts[name], penalty)(features[0, ~seen])
        accuracy = float((logits.argmax(axis=1) == truth).mean())
        return Choice(starts[name], name, penalty, negative_log_likelihood(logits, truth), accuracy, logits)

    with threadpool_limits(1):  # the matrices are small: two threads cost eight times the time of one
        best = min((tried(name, _FIRST_PENALTY) for name in starts), key=lambda choice: choice.loss)
        others = (tried(best.start, penalty) for penalty in PENALTIES if penalty != _FIRST_PENALTY)
        best = min((best, *others), key=lambda choice: choice.loss)
        return replace(best, head=fit_head(features, truth, best.head, best.penalty))


def label_weights(truth: NDArray[np.int64], k: int) -> Float:
    """Return the weight of every face, ``(n,)``, of mean 1: the inverse square root of its label's frequency."""
    frequency = np.maximum(np.bincount(truth, minlength=k), 1) / len(truth)
    weights = (1 / np.sqrt(frequency))[truth]
    return np.asarray(weights / weights.mean(), np.float64)
