"""Sharpness-aware minimisation: a step along the gradient of the worst point near the weights.

Source: Foret et al., "Sharpness-Aware Minimization for Efficiently Improving Generalization", ICLR 2021. Every step costs two.
"""

from __future__ import annotations

from typing import Any

import keras

from ...errors import InputError

__all__ = ["sharpness_aware"]


class _SharpnessAware(keras.Model):
    """A network that trains so; it shares its layers with the one that it was made from."""

    def __init__(self, network: keras.Model, radius: float) -> None:
        super().__init__(network.input, network.output, name=network.name)
        self._radius = radius

    def train_step(self, data: Any) -> Any:
        import tensorflow as tf

        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        variables = [variable.value for variable in self.trainable_variables]

        def gradients() -> tuple[Any, Any, list[Any]]:
            with tf.GradientTape() as tape:
                answer = self(x, training=True)
                loss = self.compute_loss(x=x, y=y, y_pred=answer, sample_weight=weight, training=True)
            return answer, loss, tape.gradient(loss, variables)

        answer, loss, slopes = gradients()
        length = self._radius / (tf.linalg.global_norm(slopes) + 1e-12)
        for variable, slope in zip(variables, slopes, strict=True):
            variable.assign_add(length * slope)
        worst = gradients()[2]
        # Back before the step: the average of the weights is taken inside it.
        for variable, slope in zip(variables, slopes, strict=True):
            variable.assign_sub(length * slope)
        self.optimizer.apply_gradients(zip(worst, self.trainable_variables, strict=True))
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss)
        return self.compute_metrics(x, y, answer, weight)


def sharpness_aware(network: keras.Model, radius: float) -> keras.Model:
    """Return a network with the same layers whose training steps are sharpness-aware.

    Args:
        network: Not compiled yet.
        radius: How far the worst point is looked for, in the weights' own norm; the paper's rho.

    Raises:
        InputError: The radius is not positive, or Keras does not run on TensorFlow.
    """
    if not radius > 0:
        raise InputError(f"[optimizer] sam = {radius}; expected a positive radius, such as 0.05.")
    if keras.backend.backend() != "tensorflow":
        raise InputError(f"[optimizer] sam needs TensorFlow; Keras runs on {keras.backend.backend()}. Run: export KERAS_BACKEND=tensorflow")
    return _SharpnessAware(network, radius)
