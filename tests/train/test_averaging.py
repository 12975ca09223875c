"""Batch statistics that belong to averaged weights."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.training import needs_keras

pytestmark = [pytest.mark.train, needs_keras]


def test_statistics_of_a_network_within_a_network_are_settled_too() -> None:
    """As a network of one's own that wraps an application of Keras has them."""
    import keras

    from ferkit.train.common.averaging import settle

    inner = keras.Sequential([keras.Input((4, 4, 2)), keras.layers.BatchNormalization(name="inner", momentum=0.9)])
    image = keras.Input((4, 4, 2))
    network = keras.Model(image, keras.layers.BatchNormalization(name="outer", momentum=0.8)(keras.Sequential([inner])(image)))
    batches = np.random.default_rng(0).normal(3.0, 2.0, (5, 16, 4, 4, 2)).astype(np.float32)
    settle(network, batches)
    settled = inner.get_layer("inner")
    assert np.allclose(settled.moving_mean, batches.mean(axis=(0, 1, 2, 3)), atol=1e-3)
    assert (settled.momentum, network.get_layer("outer").momentum) == (0.9, 0.8)
    assert np.abs(np.asarray(network.get_layer("outer").moving_mean)).max() < 1e-3
