"""Training more of a fine-tuned network than its head, if cross-validation says that it helps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from ...crops import centre, normalised
from ...data.faces import Faces
from ...evaluation.calibration import fit_temperature, negative_log_likelihood
from ...evaluation.comparing import compare
from ...logits import log_softmax
from ..classifier.augment import FaceAugmentation
from ..common.compiling import JIT
from ..common.values import finite
from .backbone import Backbone
from .bundle import OUTPUT
from .linear_head import Choice, Head, Lesson, fit_head, label_weights
from .records import StageFigures, Unfrozen
from .splitting import deal

__all__ = ["STAGES", "Stage", "Tuned", "network_input", "unfreeze_backbone"]

_BATCH = 16
_FOLDS = 3
_SURE = 1.0  # standard errors by which the loss has to fall: a gain within chance is no reason to change a network


@dataclass(frozen=True)
class Stage:
    """Epochs in which a part of the network learns.

    Attributes:
        name: For reports.
        share: Of the layers with weights, counted from the head down, that learn.
        epochs: So many.
        rate: Of Adam, at the start; it falls to 0.
    """

    name: str
    share: float
    epochs: int
    rate: float


# Gradual unfreezing: the layers next to the head first, the whole network at a lower rate after them
# (Howard and Ruder, "Universal Language Model Fine-tuning for Text Classification", ACL 2018).
STAGES = (Stage("upper layers", 1 / 3, 4, 2e-4), Stage("all layers", 1.0, 6, 5e-5))


@dataclass(frozen=True)
class Tuned:
    """A network that was trained on.

    Attributes:
        model: Keras, one head.
        temperature: Fitted on the cross-validated answers.
        report: See ``unfreeze_backbone``.
    """

    model: keras.Model | None
    temperature: float
    report: Unfrozen


def unfreeze_backbone(
    backbone: Backbone, training: Faces, lesson: Lesson, choice: Choice, seed: int, log: Callable[[str], None], start: Head
) -> Tuned:
    """Train the upper layers, then all, from the fitted head on; keep as many stages as cross-validation says help.

    In each of three folds, whole groups apart, a head is fitted on the other two and the network is trained on from it, stage by stage. Every
    face is so answered by the head and by every stage without having been learnt from. A stage is kept only if its loss over all faces falls
    by more than one standard error of the difference, and it has no fewer faces right; then all faces are learnt from in the same way.

    Args:
        backbone: Of the base; it is left as it was.
        training, lesson, choice: What the head was fitted on, and how.
        seed: Of the order and the augmentation.
        log: Called with one line per step.
        start: The head that the chosen one started from.

    Returns:
        ``model`` is None if the head alone was better. ``report`` has ``kept`` (``"head"`` or a stage's name), ``n``, ``folds``, and of the head and each
        stage, in ``stages``, ``name``, ``loss`` (nats), ``accuracy``, and against the head ``difference`` and its ``ci95``.
    """
    truth = training.labels
    fold = deal(truth, lesson.groups, _FOLDS)
    logits = np.zeros((1 + len(STAGES), len(training), len(training.label_set)))
    frozen = backbone.trunk.get_weights()
    for number in np.unique(fold):
        seen, kept = fold != number, fold == number
        head = fit_head(lesson.part(seen), start, choice.penalty)
        model = backbone.with_head(head, OUTPUT)
        logits[0, kept] = head(lesson.features[0, kept])
        for stage, rows in enumerate(_trained(backbone, model, training.subset(seen), seed, training.subset(kept)), 1):
            logits[stage, kept] = rows
        backbone.trunk.set_weights(frozen)  # the layers are the backbone's own
        log(f"Unfrozen in fold {number + 1} of {fold.max() + 1}: {_told(logits[:, kept], truth[kept])}.")
    best = _best(logits, truth)
    report = _report(logits, truth, best, int(fold.max()) + 1)
    told = f"{STAGES[best - 1].name} are trained on" if best else "the head alone is kept"
    log(f"Cross-validated on {len(training)} faces: {_told(logits, truth)}; {told}.")
    if not best:
        return Tuned(None, fit_temperature(choice.logits, truth), report)
    model = backbone.with_head(choice.head, OUTPUT)
    for _ in _trained(backbone, model, training, seed, None, best):
        pass
    return Tuned(model, fit_temperature(logits[best], truth), report)


def _best(logits: NDArray[np.float64], truth: NDArray[np.int64]) -> int:
    """Return the stage to keep, 0 for the head alone."""
    losses = np.stack([_losses(rows, truth) for rows in logits])
    right = (logits.argmax(axis=2) == truth).mean(axis=1)
    better = []
    for stage in range(1, len(logits)):
        gain = losses[0] - losses[stage]
        if gain.mean() > _SURE * gain.std() / np.sqrt(len(truth)) and right[stage] >= right[0]:
            better.append(stage)
    return min(better, key=lambda stage: losses[stage].mean(), default=0)


def _losses(logits: NDArray[np.float64], truth: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray(-log_softmax(logits)[np.arange(len(truth)), truth])


def _report(logits: NDArray[np.float64], truth: NDArray[np.int64], best: int, folds: int) -> Unfrozen:
    names = ["head", *(stage.name for stage in STAGES)]
    right = logits.argmax(axis=2) == truth
    stages = list[StageFigures]()
    for stage, name in enumerate(names):
        row: StageFigures = {"name": name, "loss": negative_log_likelihood(logits[stage], truth), "accuracy": float(right[stage].mean())}
        if stage:
            beside = compare(right[0], right[stage])
            row |= {"difference": beside["difference"], "ci95": beside["ci95"]}
        stages.append(row)
    return {"kept": names[best], "n": len(truth), "folds": folds, "stages": stages}


def _told(logits: NDArray[np.float64], truth: NDArray[np.int64]) -> str:
    names = ("head", *(stage.name for stage in STAGES))
    return ", ".join(
        f"{name} loss {negative_log_likelihood(rows, truth):.3f}, {int((rows.argmax(axis=1) == truth).sum())} of {len(truth)} right"
        for name, rows in zip(names, logits, strict=True)
    )


def network_input(backbone: Backbone, pixels: NDArray[Any]) -> NDArray[np.float32]:
    """Return faces ``(n, S, S, channels)`` or the window of them, 0-255, as the network takes them in Keras: exactly as prediction does."""
    spec = backbone.classifier.spec
    return normalised(centre(pixels, spec.window), spec.input)


def _trained(backbone: Backbone, model: keras.Model, faces: Faces, seed: int, judged: Faces | None, stages: int = len(STAGES)) -> Any:
    """Train in place and yield the logits of the judged faces after every stage; nothing where nobody is judged.

    Batch normalisation keeps its statistics: a few faces of one's own would only unsettle them.
    """
    augment = FaceAugmentation(crop=backbone.classifier.spec.window, rotation=0.15, scale=(0.92, 1.1), shift=2.0, erase=0.2)
    k = len(faces.label_set)
    weights = label_weights(faces.labels, k, faces.weights).astype(np.float32)
    targets = np.eye(k, dtype=np.float32)[faces.labels] if faces.soft is None else faces.soft
    done = 0
    for stage in STAGES[:stages]:
        _let_learn(model, stage.share)
        model.compile(
            optimizer=keras.optimizers.Adam(stage.rate), loss=keras.losses.CategoricalCrossentropy(from_logits=True), jit_compile=JIT
        )
        for epoch in range(stage.epochs):
            model.optimizer.learning_rate = stage.rate * (1 - epoch / stage.epochs)
            order = np.random.default_rng((seed, done)).permutation(len(faces))
            for step, first in enumerate(range(0, len(order), _BATCH)):
                rows = order[first : first + _BATCH]
                drawn = int(np.random.SeedSequence((seed, done, step)).generate_state(1)[0] >> 1)
                x = ops.convert_to_numpy(augment(faces.images[rows], seed=drawn))
                loss = model.train_on_batch(network_input(backbone, x), targets[rows], sample_weight=weights[rows])
                finite(loss, f"epoch {epoch + 1} of {stage.epochs} of {stage.name}, step {step + 1}")
            done += 1
        yield None if judged is None else _logits(backbone, model, judged)


def _let_learn(model: keras.Model, share: float) -> None:
    """Let the uppermost share of the layers with weights learn, the head among them."""
    layers = [layer for layer in model.layers if layer.weights and not isinstance(layer, keras.layers.BatchNormalization)]
    learning = layers[-max(1, round(share * len(layers))) :]
    for layer in model.layers:
        layer.trainable = any(layer is other for other in learning)


def _logits(backbone: Backbone, model: keras.Model, faces: Faces) -> NDArray[np.float64]:
    images = faces.images
    batch = network_input(backbone, images if images.ndim == 4 else images[..., None])
    parts = [ops.convert_to_numpy(model(batch[i : i + 64], training=False)[OUTPUT]) for i in range(0, len(batch), 64)]
    return np.concatenate(parts).astype(np.float64)
