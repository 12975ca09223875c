"""Batch normalisation in one kernel, for training on TensorFlow.

Keras 3 composes it of a dozen elementwise operations, each of which reads and writes the whole map. TensorFlow's own kernel gives the
same numbers; on two CPU cores a step takes 0.85 of the time for ferkit-s, 0.8 for ferkit-vgg and 0.6 for Mini-Xception.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

__all__ = ["with_fused_normalisation"]


class _FusedBatchNormalization(layers.BatchNormalization):
    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        if not (training and self.trainable):
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        # Statistics need float32; and the kernel is faster in it, casts included, than in bfloat16.
        maps = tf.cast(inputs, tf.float32)
        out, mean, variance = tf.compat.v1.nn.fused_batch_norm(maps, self.gamma, self.beta, epsilon=self.epsilon, is_training=True)
        count = tf.cast(tf.size(maps) / tf.shape(maps)[-1], tf.float32)
        biased = variance * (count - 1.0) / count  # the kernel answers the sample's, Keras keeps the batch's own
        for kept, new in ((self.moving_mean, mean), (self.moving_variance, biased)):
            kept.assign(kept * self.momentum + new * (1.0 - self.momentum))
        return tf.cast(out, self.compute_dtype)


def with_fused_normalisation(network: keras.Model) -> keras.Model:
    """Return a network with the same variables' values, in the same order, that trains faster; the network itself on other backends.

    It is for training alone: what is saved should be made of Keras's own layers.
    """
    if keras.backend.backend() != "tensorflow":
        return network

    def layer(old: layers.Layer) -> layers.Layer:
        fusible = type(old) is layers.BatchNormalization and old.scale and old.center and not old.renorm and len(old.input.shape) == 4
        return (_FusedBatchNormalization if fusible else type(old)).from_config(old.get_config())

    copy = keras.models.clone_model(network, clone_function=layer)
    copy.set_weights(network.get_weights())
    return copy
