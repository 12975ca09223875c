"""The product of a network's heads as an output of its own while it trains: what photos are answered by.

Where a portrait teaches each head apart, both are drawn to answer it alone, FER2013's head away from FER2013's labels. Taught to their
product, they need only be right together.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from ...labels import FER7
from .answers import known_mean
from .recipe import Recipe

__all__ = ["PRODUCT", "product_metric", "with_product", "with_product_targets"]

PRODUCT = "product"


def with_product(network: keras.Model, recipe: Recipe) -> keras.Model:
    """Return a network with the same layers and one more output, ``"product"``.

    That is float32 ``(n, 7)``, columns as FER2013's labels: the sum of the heads' logits of each label over the ``temperature`` of
    ``[photos]``, as ``teacher_product`` has the teacher's. It has no variables of its own.
    """
    heads = [ops.take(network.output[head.labels], head.label_set.columns(FER7), axis=-1) for head in recipe.heads]
    scores = sum(heads[1:], heads[0]) / recipe.photo_settings["temperature"]
    return keras.Model(network.input, {**network.output, PRODUCT: scores}, name=network.name)


def product_metric() -> keras.metrics.Metric:
    """Return what an epoch tells of the product: its accuracy on the portraits."""
    return keras.metrics.MeanMetricWrapper(known_mean(keras.metrics.categorical_accuracy), name="accuracy")


def with_product_targets(y: dict[str, NDArray[np.float32]], portraits: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Return targets of a batch whose portraits come last: they teach the product alone, the other faces the heads alone.

    Args:
        y: Targets of the other faces, ``{head: (n, k)}``.
        portraits: ``(m, 7)``.

    Returns:
        ``{head: float32 (n + m, k)}`` and ``"product"``, ``(n + m, 7)``. Rows of zeros cost nothing.
    """
    taught = {head: np.concatenate([target, np.zeros((len(portraits), target.shape[1]), np.float32)]) for head, target in y.items()}
    others = np.zeros((len(next(iter(y.values()))), portraits.shape[1]), np.float32)
    return taught | {PRODUCT: np.concatenate([others, portraits])}
