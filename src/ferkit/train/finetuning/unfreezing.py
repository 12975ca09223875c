"""Training a whole fine-tuned network on, at a low rate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from ...crops import normalised
from ...data.faces import Faces
from ...evaluation.calibration import fit_temperature, negative_log_likelihood
from ..classifier.augment import FaceAugmentation
from ..common.compiling import JIT
from ..common.values import finite
from .backbone import Backbone
from .bundle import OUTPUT
from .linear_head import FOLDS, Choice, Head, fit_head, label_weights
from .splitting import deal

__all__ = ["Tuned", "unfreeze_backbone"]

EPOCHS = 12
RATE = 3e-4  # of Adam
_BATCH = 16


@dataclass(frozen=True)
class Tuned:
    """A network that was trained on.

    Attributes:
        model: Keras, one head.
        temperature: Fitted on the part that judged.
        report: ``loss_before`` and ``loss_after`` (nats), ``accuracy_before`` and ``accuracy_after``, on the part that judged; its ``n``.
    """

    model: keras.Model
    temperature: float
    report: dict[str, Any]


def unfreeze_backbone(
    backbone: Backbone,
    training: Faces,
    groups: NDArray[np.int64],
    choice: Choice,
    start: Head,
    seed: int,
    log: Callable[[str], None],
) -> Tuned | None:
    """Train every layer on from the fitted head, if a fifth of the training part says that it helps.

    The judging fifth shares no copies with the rest. On it, a head fitted to the other four fifths is compared with the
    whole network trained on from that head on the same four fifths. If the network is better, it is trained again on all.

    Returns:
        None if the head alone was better; the backbone is then as it was.
    """
    judge = deal(training.labels, groups, FOLDS) == 0
    seen, judging = (Faces(training.images[rows], training.labels[rows], training.label_set) for rows in (~judge, judge))
    head = fit_head(backbone.features(seen.images), seen.labels, start, choice.penalty)
    model = backbone.with_head(head, OUTPUT)
    frozen = model.get_weights()
    before = _logits(backbone, model, judging)
    _train(backbone, model, seen, seed)
    after = _logits(backbone, model, judging)
    report: dict[str, Any] = {"n": len(judging)}
    for name, logits in (("before", before), ("after", after)):
        report[f"loss_{name}"] = negative_log_likelihood(logits, judging.labels)
        report[f"accuracy_{name}"] = float((logits.argmax(axis=1) == judging.labels).mean())
    model.set_weights(frozen)  # the layers are the backbone's own
    better = report["loss_after"] < report["loss_before"]
    log(
        f"Unfrozen: loss {report['loss_before']:.3f} to {report['loss_after']:.3f} on {len(judging)} faces of the training part; "
        + ("the whole network is trained on." if better else "the head alone is kept.")
    )
    if not better:
        return None
    model = backbone.with_head(choice.head, OUTPUT)
    _train(backbone, model, training, seed)
    return Tuned(model, fit_temperature(after, judging.labels), report)


def _train(backbone: Backbone, model: keras.Model, faces: Faces, seed: int) -> None:
    """Train in place. Batch normalisation keeps its statistics: a few faces of one's own would only unsettle them."""
    spec = backbone.classifier.spec
    augment = FaceAugmentation(
        crop=int(spec.input.get("window", spec.input["size"])), rotation=0.15, scale=(0.92, 1.1), shift=2.0, erase=0.2
    )
    for layer in model.layers:
        layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
    model.compile(
        optimizer=keras.optimizers.Adam(RATE),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=JIT,
    )
    weights = label_weights(faces.labels, len(faces.label_set)).astype(np.float32)
    for epoch in range(EPOCHS):
        model.optimizer.learning_rate = RATE * (1 - epoch / EPOCHS)
        order = np.random.default_rng((seed, epoch)).permutation(len(faces))
        for step, first in enumerate(range(0, len(order), _BATCH)):
            rows = order[first : first + _BATCH]
            x = ops.convert_to_numpy(
                augment(faces.images[rows], seed=int(np.random.SeedSequence((seed, epoch, step)).generate_state(1)[0] >> 1))
            )
            loss = model.train_on_batch(normalised(x, spec.input), faces.labels[rows], sample_weight=weights[rows])
            finite(loss, f"epoch {epoch + 1} of {EPOCHS} of the whole network, step {step + 1}")


def _logits(backbone: Backbone, model: keras.Model, faces: Faces) -> NDArray[np.float64]:
    batch = np.moveaxis(backbone.classifier.normalise(faces.images), 1, -1)
    parts = [ops.convert_to_numpy(model(batch[i : i + 64], training=False)[OUTPUT]) for i in range(0, len(batch), 64)]
    return np.concatenate(parts).astype(np.float64)
