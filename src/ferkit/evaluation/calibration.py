"""Calibration: temperatures, and how much each head of a mixture counts. Fitted on PublicTest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..data.faces import Faces
from ..labels import CLASSES, FER7, FERPLUS8, PHOTOS, LabelSet
from ..logits import log_softmax, softmax
from ..weights.specs import Output

__all__ = ["calibrated_outputs", "fit_temperature", "negative_log_likelihood", "photos_output"]

Scores = NDArray[np.floating]

_RATIOS = (0.25, 0.5, 1.0, 2.0)  # of the second head's exponent to the first's in "mixed"
_FOLDS, _NO_LOSS = 5, 1e-3  # of the cross-validation of temperatures below 1, and nats per face that count as nothing


def negative_log_likelihood(scores: Scores, truth: NDArray[np.int64]) -> float:
    """Return the mean NLL (nats) of logits ``(n, k)`` under the true columns ``(n,)``."""
    return float(-log_softmax(scores)[np.arange(len(truth)), truth].mean())


def fit_temperature(scores: Scores, truth: NDArray[np.int64], counts: Sequence[int] = (1,)) -> float:
    """Return the temperature, 0.05-20, at which the mean confidence is the accuracy.

    Source: Clarté et al., "Expectation consistency for calibration of neural networks", UAI 2023. Against the temperature of the
    smallest NLL (Guo et al., ICML 2017) it lowers the ECE of fer2013-n-v2 from 0.030 to 0.027 and costs 0.003 nats.

    A few faces that are all answered rightly do not make every answer certain: an accuracy above (n + 1) / (n + 2), which Laplace's rule of
    succession gives n right answers of n, counts as that. And a temperature below 1, which makes answers surer, has to hold on faces that it
    was not fitted on: if it makes their NLL larger in five-fold cross-validation, by more than a thousandth of a nat, it stays 1. It does
    too for a network that says the same of every label, of which no temperature makes anything.

    The mean over several views is less confident than one view is, and one temperature has to serve them all: with several counts,
    confidence less accuracy is 0 in their mean.

    Args:
        scores: Logits ``(n, k)``, or of several views ``(views, n, k)``.
        truth: True columns ``(n,)``.
        counts: Numbers of views, each of the first so many.
    """
    views = scores if scores.ndim == 3 else scores[None]
    views = views[: max(counts)]
    if not np.ptp(views, axis=-1).any():
        return 1.0
    temperature = _consistent(views, truth, counts)
    return temperature if temperature >= 1 or _holds_below_one(views, truth, counts) else 1.0


def _consistent(views: Scores, truth: NDArray[np.int64], counts: Sequence[int]) -> float:
    """Return the temperature at which confidence less accuracy is 0 in the mean of the counts."""
    low, high, most = np.log(0.05), np.log(20.0), (len(truth) + 1) / (len(truth) + 2)
    for _ in range(60):
        middle = (low + high) / 2
        surplus = [
            answer.max(axis=1).mean() - min((answer.argmax(axis=1) == truth).mean(), most)
            for answer in _answers(views, float(np.exp(middle)), counts)
        ]
        low, high = (middle, high) if np.mean(surplus) > 0 else (low, middle)  # confidence falls as the temperature rises
    return float(np.exp((low + high) / 2))


def _answers(views: Scores, temperature: float, counts: Sequence[int]) -> list[Scores]:
    """Return the probabilities ``(n, k)`` for each number of views."""
    p = softmax(views / temperature)
    return [p[:count].mean(axis=0) for count in counts]


def _holds_below_one(views: Scores, truth: NDArray[np.int64], counts: Sequence[int]) -> bool:
    """Return True if temperatures fitted on four fifths of the faces do not make the NLL of the last fifth larger than a temperature of 1 does."""
    folds = min(_FOLDS, len(truth))
    if folds < 2:
        return False
    fold = np.random.default_rng(0).permutation(len(truth)) % folds
    loss = 0.0
    for k in range(folds):
        seen, kept = fold != k, fold == k
        for temperature, sign in ((_consistent(views[:, seen], truth[seen], counts), 1), (1.0, -1)):
            right = [answer[np.arange(kept.sum()), truth[kept]] for answer in _answers(views[:, kept], temperature, counts)]
            loss -= sign * float(np.log(np.maximum(right, 1e-30)).mean(axis=0).sum())
    return loss / len(truth) <= _NO_LOSS


def calibrated_outputs(
    heads: Sequence[LabelSet], logits: NDArray[np.float32] | None, faces: Faces | None, counts: Sequence[int] = (1,)
) -> tuple[Output, ...]:
    """Return a network's outputs: one per head, and where it has both FER2013's and FER+'s two products of them, ``mixed`` and ``photos``.

    ``mixed`` is what answers FER2013's labels most probably. ``photos`` gives both heads the same say (measured: benchmarks/exponents.py),
    and its temperature is fitted on the faces whose label in FER2013 is also FER+'s majority, since half of the others are labelled otherwise than people see them.

    Args:
        heads: The label sets of the network's heads, in the order of the raw columns.
        logits: Raw outputs ``(views, n, columns)`` on ``faces``, for heads of classes; None leaves every temperature at 1.
        faces: PublicTest.
        counts: Numbers of views that each temperature serves; ``fit_temperature``.
    """
    outputs, start = [], 0
    for labels in heads:
        output = Output(labels.name, labels.classes, (tuple(range(start, start + len(labels))),), kind=labels.kind)
        outputs.append(_with_temperature(output, logits, faces, counts) if labels.kind == CLASSES else output)
        start += len(labels)
    by_name = {output.name: output for output in outputs}
    if FER7.name in by_name and FERPLUS8.name in by_name:
        fer, plus = by_name[FER7.name], by_name[FERPLUS8.name]
        outputs = [photos_output(fer, plus, logits, faces), *outputs, _mixture(fer, plus, logits, faces, counts)]
    return tuple(outputs)


def photos_output(fer: Output, plus: Output, logits: NDArray[np.float32] | None, faces: Faces | None) -> Output:
    """Return the output for photos: the product of both heads' calibrated distributions over FER2013's labels, each with exponent 1.

    Its temperature is fitted for one view, which is what is used where nothing is asked for; without votes on all the faces.

    Args:
        fer, plus: The heads as outputs of their own, calibrated.
        logits, faces: As in ``calibrated_outputs``.
    """
    exponents = tuple(round(1 / head.temperature, 4) for head in (fer, plus))  # of the raw columns
    output = Output(PHOTOS.name, fer.labels, (fer.columns[0], _as_fer(plus)), exponents)
    return _with_temperature(output, logits, faces, (1,))


def _as_fer(plus: Output) -> tuple[int, ...]:
    """Return FER+'s raw columns in the order of FER2013's labels; contempt is left out."""
    return tuple(plus.columns[0][i] for i in FERPLUS8.columns(FER7))


def _mixture(fer: Output, plus: Output, logits: NDArray[np.float32] | None, faces: Faces | None, counts: Sequence[int]) -> Output:
    """Return the product of both heads' distributions over FER2013's labels whose exponents answer those labels best."""
    mixtures = [Output("mixed", fer.labels, (fer.columns[0], _as_fer(plus)), (1.0, ratio)) for ratio in _RATIOS]
    if logits is None or faces is None:
        return mixtures[2]
    fitted = [_with_temperature(mixture, logits, faces, counts) for mixture in mixtures]
    return min(fitted, key=lambda m: negative_log_likelihood(_scores(m, logits[0]), faces.labels))


def _scores(output: Output, logits: NDArray[np.float32]) -> Scores:
    parts: Sequence[Scores] = [w * logits[..., list(c)].astype(np.float64) for w, c in zip(output.weights, output.columns, strict=True)]
    return np.asarray(np.sum(parts, axis=0) / output.temperature)


def _with_temperature(output: Output, logits: NDArray[np.float32] | None, faces: Faces | None, counts: Sequence[int]) -> Output:
    if logits is None or faces is None:
        return output
    keep, truth = np.ones(len(faces), bool), faces.labels
    if output.name == FERPLUS8.name and faces.label_set.name != FERPLUS8.name:
        if faces.votes is None:
            return output
        keep, truth = faces.majority()
    if output.name == PHOTOS.name and faces.votes is not None:
        keep = faces.agreeing()
    temperature = fit_temperature(_scores(output, logits[:, keep]), truth[keep], counts)
    return replace(output, temperature=round(temperature, 4))
