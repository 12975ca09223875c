"""Averaged weights, and the batch statistics that belong to them (Izmailov et al., "Averaging Weights Leads to Wider Optima and
Better Generalization", UAI 2018)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
from keras import layers, ops

__all__ = ["copy_averaged", "settle"]


def copy_averaged(model: keras.Model, copy: keras.Model) -> None:
    """Give a model of the same architecture another's variables, the averaged ones where its optimiser keeps any."""
    for target, source in zip(copy.variables, model.variables, strict=True):
        target.assign(ops.convert_to_numpy(source))
    if model.optimizer.use_ema:
        for target, source in zip(copy.trainable_variables, model.optimizer._model_variables_moving_average, strict=True):
            target.assign(ops.convert_to_numpy(source))


def settle(model: keras.Model, batches: Iterable[Any]) -> None:
    """Estimate the batch normalisation's statistics anew, as the mean over batches of network input (section 3.2)."""
    every = model._flatten_layers(include_self=False)  # of networks within the network too
    normalisations = [layer for layer in every if isinstance(layer, layers.BatchNormalization)]
    momenta = [layer.momentum for layer in normalisations]
    for number, batch in enumerate(batches):
        for layer in normalisations:
            layer.momentum = number / (number + 1)  # the running mean of all batches so far
        model(batch, training=True)
    for layer, momentum in zip(normalisations, momenta, strict=True):
        layer.momentum = momentum
