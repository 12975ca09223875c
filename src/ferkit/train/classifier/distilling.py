"""Distillation: a student learns from the answers of trained weights as well as from the labels.

Source: Hinton et al., "Distilling the Knowledge in a Neural Network", 2015. The teacher sees the very faces that the student sees,
augmentation included, as Beyer et al. advise ("Knowledge Distillation: A Good Teacher Is Patient and Consistent", CVPR 2022).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from ...classifiers.expression_classifier import ExpressionClassifier
from ...crops import normalised
from ...errors import InputError
from ...labels import need_classes
from ..common.keras_weights import load_keras

__all__ = ["Teacher", "distillation_accuracy", "distillation_loss"]


class Teacher:
    """One or more trained networks, as one: their mean logits.

    Args:
        weights: Names or folders, each with a ``model.keras`` that takes faces of any size.
        heads: Of the student. A member without one of them is left out of its mean.
        temperature: That softens the answers.
        policy: Precision of the members' arithmetic, a Keras dtype policy.
        size: Side of the frame that the student's faces are drawn for, pixels. A member made for another one sees them resized to
            its own, so that a face has the size that it learnt.

    Raises:
        InputError: No weights, a member that takes one size only, or a head that no member has.
        WeightsError: Weights that cannot be found or are damaged.
    """

    def __init__(
        self, weights: Sequence[str], heads: Sequence[str], temperature: float = 3.0, policy: str = "float32", size: int = 48
    ) -> None:
        if isinstance(weights, str) or not weights:
            raise InputError(f'A teacher needs a list of weights; got {weights!r}. Type, for example, weights = ["fer2013-s-v1"].')
        self.heads, self.temperature = tuple(heads), temperature
        self.members = [_Member(name, policy, size) for name in weights]
        for head in heads:
            if not any(head in member.heads for member in self.members):
                raise InputError(f"No teacher of {', '.join(weights)} has the head {head!r}; they have {', '.join(self._known())}.")

    def _known(self) -> list[str]:
        return sorted({head for member in self.members for head in member.heads})

    def __call__(self, faces: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Return softened answers.

        Args:
            faces: float32 ``(n, S, S, 1)``, values 0-255.

        Returns:
            ``{head: float32 (n, k)}``, rows that sum to 1.
        """
        return {head: ops.convert_to_numpy(ops.softmax(logits / self.temperature)) for head, logits in self.logits(faces).items()}

    def logits(self, faces: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Return the members' mean logits, ``{head: float32 (n, k)}``. Argument as above."""
        answers = [member(faces) for member in self.members]
        return {head: np.mean([answer[head] for answer in answers if head in answer], axis=0) for head in self.heads}


class _Member:
    def __init__(self, weights: str, policy: str, size: int) -> None:
        classifier = ExpressionClassifier(weights)
        need_classes(classifier.labels, classifier.name, "Distilling")
        trained = load_keras(weights, classifier)
        if trained.input_shape[1] is not None:
            raise InputError(f"Weights {weights!r} take faces of {trained.input_shape[1]} pixels only; a teacher must take any size.")
        self.heads = tuple(trained.output_names)
        self.input = classifier.spec.input
        self.network, self.zoom = _cast(trained, policy), classifier.spec.input["size"] / size

    def __call__(self, faces: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
        if self.zoom != 1:
            side = round(faces.shape[1] * self.zoom)
            faces = ops.convert_to_numpy(ops.image.resize(faces, (side, side), antialias=True))
        answer: Mapping[str, NDArray[np.float32]] = self.network.predict_on_batch(normalised(faces, self.input))
        return answer


def _cast(network: keras.Model, policy: str) -> keras.Model:
    """Return a network whose layers compute by another policy; its heads stay in float32."""

    def layer(old: keras.layers.Layer) -> keras.layers.Layer:
        config = old.get_config()
        return type(old).from_config(config if old.name in network.output_names else {**config, "dtype": policy})

    copy = keras.models.clone_model(network, clone_function=layer)
    copy.set_weights(network.get_weights())
    return copy


def distillation_loss(weight: float, temperature: float) -> Callable[[Any, Any], Any]:
    """Return the loss ``(1 - weight) CE(labels, z) + weight T² CE(teacher, z / T)`` of logits ``z``.

    Its targets ``(n, 2 k)`` are the labels' distribution and, beside it, the teacher's. An all-zero row of labels costs nothing.
    The square keeps the two gradients comparable (Hinton et al., section 2).
    """

    def loss(targets: Any, logits: Any) -> Any:
        labels, teacher = ops.split(targets, 2, axis=-1)
        logits = ops.cast(logits, "float32")
        hard = -ops.sum(labels * ops.log_softmax(logits, axis=-1), axis=-1)
        soft = -ops.sum(teacher * ops.log_softmax(logits / temperature, axis=-1), axis=-1)
        return (1.0 - weight) * hard + weight * temperature**2 * soft

    return loss


def distillation_accuracy(targets: Any, logits: Any) -> Any:
    """Compare answers with the labels, the first half of the targets."""
    labels, _ = ops.split(targets, 2, axis=-1)
    return ops.cast(ops.equal(ops.argmax(labels, axis=-1), ops.argmax(logits, axis=-1)), "float32")
