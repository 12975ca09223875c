"""What a head learns, by the kind of its answers: targets, losses and figures of classes, several labels at once, and values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from ...data.faces import Faces
from ...errors import DataError
from ...evaluation.outputs import mean_figures
from ...labels import CLASSES, LABELS, VALUES
from .heads import Head

__all__ = ["checked_head", "in_units", "known_mean", "loss_of", "metric_of", "soft_cross_entropy", "targets_of", "validated"]

_LEAST = 1e-6


def checked_head(head: Head, faces: Faces) -> Head:
    """Return a head that can learn from these faces, a values head with the mean and the deviation of what it learns.

    Raises:
        DataError: A label that is never true, or never false, or a value that is always the same: there is nothing to learn.
    """
    if head.kind == CLASSES:
        return head
    assert faces.soft is not None
    targets = faces.soft.astype(np.float64)
    for name, column in zip(faces.label_set, targets.T, strict=True):
        known = column[~np.isnan(column)]
        there = known > 0.5 if head.kind == LABELS else known
        if not len(there) or there.min() == there.max():
            said = f"always {there[0]:g}" if len(there) else "never known"
            raise DataError(f"{name} is {said} in the {len(faces)} faces to learn from; expected different ones, or leave that column out.")
    if head.kind == LABELS or head.mean:
        return head
    mean, std = np.nanmean(targets, axis=0), np.nanstd(targets, axis=0)
    return replace(head, mean=tuple(float(f"{v:.6g}") for v in mean), std=tuple(float(f"{max(v, _LEAST):.6g}") for v in std))


def targets_of(faces: Faces, head: Head) -> NDArray[np.float32]:
    """Return what a head learns, a row a face.

    Of classes a distribution, ``(n, k)``, which sums to the face's weight. Of labels and values ``(n, k + 1)``: the targets, values less
    their mean and by their deviation, NaN where nobody knows; then the weight, in the mean 1.
    """
    if head.kind == CLASSES:
        return faces.targets(head.labels, head.label_smoothing)
    assert faces.soft is not None
    targets: NDArray[Any] = faces.soft
    if head.kind == LABELS:
        targets = targets * (1 - head.label_smoothing) + head.label_smoothing / 2
    else:
        targets = (targets - np.asarray(head.mean)) / np.asarray(head.std)
    given = faces.weights
    counts = np.ones(len(faces), np.float32) if given is None or not given.any() else given / given.mean()
    return np.column_stack([targets, counts]).astype(np.float32)


def in_units(model: keras.Model, heads: tuple[Head, ...]) -> None:
    """Make values heads, which learn in deviations from the mean, answer in the targets' own units: by their last layers' weights."""
    for head in heads:
        if head.kind == VALUES:
            layer = model.get_layer(head.labels)
            kernel, bias = (np.asarray(ops.convert_to_numpy(w), np.float64) for w in layer.get_weights())
            layer.set_weights([kernel * np.asarray(head.std), bias * np.asarray(head.std) + np.asarray(head.mean)])


def soft_cross_entropy(target: Any, logits: Any) -> Any:
    """Cross-entropy against a distribution; an all-zero target row costs nothing."""
    return -ops.sum(target * ops.log_softmax(ops.cast(logits, "float32"), axis=-1), axis=-1)


def _parted(target: Any, answers: Any) -> tuple[Any, Any, Any, Any]:
    """Return the targets with zeros where nobody knows, which are known, what each face counts, and the answers as float32."""
    target = ops.cast(target, "float32")
    own, counts = target[:, :-1], target[:, -1]
    known = ops.logical_not(ops.isnan(own))
    return ops.where(known, own, ops.zeros_like(own)), ops.cast(known, "float32"), counts, ops.cast(answers, "float32")


def _sigmoid_cross_entropy(target: Any, logits: Any) -> Any:
    """Each label's own cross-entropy, the mean over the labels; an unknown one costs nothing."""
    own, known, counts, x = _parted(target, logits)
    cost = ops.maximum(x, 0.0) - x * own + ops.log1p(ops.exp(-ops.abs(x)))
    return counts * ops.mean(known * cost, axis=-1)


def _squared_error(target: Any, answers: Any) -> Any:
    own, known, counts, x = _parted(target, answers)
    return counts * ops.mean(known * ops.square(x - own), axis=-1)


def _discordance(target: Any, answers: Any) -> Any:
    """1 - CCC of each value over the batch, the mean over the values, the same for every face.

    Source: Lin, "A concordance correlation coefficient to evaluate reproducibility", Biometrics 1989.
    """
    own, known, counts, x = _parted(target, answers)
    weight = known * counts[:, None]
    total = ops.maximum(ops.sum(weight, axis=0), _LEAST)
    mean_own, mean_x = ops.sum(weight * own, axis=0) / total, ops.sum(weight * x, axis=0) / total
    off_own, off_x = own - mean_own, x - mean_x
    both = ops.sum(weight * off_own * off_x, axis=0) / total
    apart = ops.sum(weight * (ops.square(off_own) + ops.square(off_x)), axis=0) / total + ops.square(mean_own - mean_x)
    return ops.zeros_like(counts) + ops.mean(1.0 - 2.0 * both / (apart + _LEAST))


_LOSSES = {"cross-entropy": soft_cross_entropy, "sigmoid": _sigmoid_cross_entropy, "mse": _squared_error, "ccc": _discordance}


def loss_of(head: Head) -> Callable[[Any, Any], Any]:
    """Return a head's loss, one number a face."""
    return _LOSSES[head.loss]


def _share_right(target: Any, logits: Any) -> Any:
    own, known, _, x = _parted(target, logits)
    right = ops.cast(ops.equal(x > 0, own > 0.5), "float32")
    return ops.sum(known * right, axis=-1) / ops.maximum(ops.sum(known, axis=-1), 1.0)


def _error(target: Any, answers: Any, std: float) -> Any:
    own, known, _, x = _parted(target, answers)
    return std * ops.sum(known * ops.abs(x - own), axis=-1) / ops.maximum(ops.sum(known, axis=-1), 1.0)


def metric_of(head: Head) -> keras.metrics.Metric:
    """Return what an epoch tells of a head: ``accuracy``, of labels the share of right ones; or ``mae``, in the mean of the values' units."""
    if head.kind == CLASSES:
        return keras.metrics.CategoricalAccuracy(name="accuracy")
    if head.kind == LABELS:
        return keras.metrics.MeanMetricWrapper(_share_right, name="accuracy")
    return keras.metrics.MeanMetricWrapper(partial(_error, std=float(np.mean(head.std))), name="mae")


def known_mean(figure: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Return a figure's mean over a batch's faces that have a target; 0 if none has."""

    def mean(targets: Any, logits: Any) -> Any:
        known = ops.cast(ops.any(ops.greater(targets, 0.0), axis=-1), "float32")
        return ops.sum(known * ops.cast(figure(targets, logits), "float32")) / ops.maximum(ops.sum(known), 1.0)

    return mean


def validated(head: Head, answers: NDArray[np.float32], faces: Faces) -> tuple[float, dict[str, float]]:
    """Return the loss and the mean figures of a head of labels or values, from raw answers ``(n, k)``."""
    assert faces.soft is not None
    loss = float(
        np.mean(ops.convert_to_numpy(loss_of(head)(ops.convert_to_tensor(targets_of(faces, head)), ops.convert_to_tensor(answers))))
    )
    own = answers * np.asarray(head.std) + np.asarray(head.mean) if head.kind == VALUES else answers
    return loss, {f"val_{head.labels}_{name}": value for name, value in mean_figures(own, faces.soft, faces.label_set).items()}
