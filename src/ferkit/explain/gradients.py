"""Grad-CAM: which places of the last feature maps speak for a label. Needs Keras, with any backend, and weights with a model.keras."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from ..engines.keras_file import load_network
from ..errors import InputError, MissingExtraError
from ..labels import need_classes
from ..protocols import Classifier
from ..resizing import resized_to
from ..weights.store import read_verified

if TYPE_CHECKING:
    from ..classifiers.expression_classifier import ExpressionClassifier

__all__ = ["grad_cam"]

_STEP = 0.1  # of a feature map's mean; the networks are linear behind it, so that any step gives the same


def grad_cam(classifier: Classifier, crop: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return which places of the last feature maps speak for each label.

    Source: Selvaraju et al., "Grad-CAM: Visual explanations from deep networks via gradient-based localization", ICCV 2017. The
    derivative by each map's mean is taken as a difference, which every Keras backend can do, and which is exact for networks that
    average their maps and end in a linear layer.

    Args:
        classifier: An ExpressionClassifier or Ensemble whose weights have a ``model.keras``; of an ensemble the members' mean.
        crop: One face, uint8 ``(H, W)`` or ``(H, W, 3)``, 0-255.

    Returns:
        float32 ``(k, S, S)``, 0 or more, a map for each label in the classifier's order, on the square that the network sees.

    Raises:
        InputError: The classifier is of another kind, or its weights have no ``model.keras``, or it has no feature maps.
        MissingExtraError: Keras is not installed.
    """
    need_classes(classifier.labels, classifier.name, "Explaining")
    members: tuple[ExpressionClassifier, ...] = getattr(classifier, "members", ())
    if not members:
        raise InputError(f"{classifier.name} has no Keras network, which Grad-CAM needs; use occlusion, which takes any classifier.")
    side = max(member.size for member in members)
    weights = getattr(classifier, "weights", np.full(len(members), 1 / len(members)))
    order = [member.labels.columns(classifier.labels) for member in members]
    parts = [_resized(_member_maps(member, crop)[columns], side) for member, columns in zip(members, order, strict=True)]
    return np.asarray(np.tensordot(np.asarray(weights, np.float64), np.stack(parts), 1), np.float32)


# Of networks in use: opening one takes a second, a map a fiftieth of that.
_OPENED: WeakKeyDictionary[ExpressionClassifier, tuple[Any, Any]] = WeakKeyDictionary()


def _member_maps(member: ExpressionClassifier, crop: NDArray[np.uint8]) -> NDArray[np.float32]:
    if member not in _OPENED:
        _OPENED[member] = _halves(member)
    first, rest = _OPENED[member]
    batch = np.moveaxis(member.normalise(member.prepare([crop])), 1, -1)
    maps = first(batch)[0]
    moved = maps + _STEP * np.eye(maps.shape[2], dtype=np.float32)[:, None, None, :]
    logits = rest(np.concatenate([maps[None], moved])).astype(np.float64) @ member.mix
    slopes = (logits[1:] - logits[0]) / _STEP
    heat = np.maximum(np.einsum("hwc,ck->khw", maps, slopes), 0).astype(np.float32)
    seen = _resized(heat, batch.shape[1])
    margin = (member.size - batch.shape[1]) // 2
    rest_of = member.size - batch.shape[1] - margin
    return np.pad(seen, ((0, 0), (margin, rest_of), (margin, rest_of)))


def _halves(member: ExpressionClassifier) -> tuple[Any, Any]:
    """Return the network up to its last feature maps, and from these to its raw columns, as functions of arrays."""
    try:
        import keras
    except ImportError as error:
        raise MissingExtraError("keras", "train", "Grad-CAM") from error
    if "model.keras" not in member.spec.files:
        raise InputError(f"Weights {member.name!r} have no model.keras, which Grad-CAM needs; use occlusion, which takes any weights.")
    model = load_network(read_verified(member.folder, member.spec, "model.keras"), f"{member.folder / 'model.keras'}")
    spatial = [layer for layer in model.layers if not isinstance(layer.output, (list, dict)) and len(layer.output.shape) == 4]
    if not spatial or spatial[-1].output is model.input:
        raise InputError(f"Weights {member.name!r} have no feature maps, which Grad-CAM needs; use occlusion, which takes any network.")
    maps, answer = spatial[-1].output, model.output
    if isinstance(answer, dict):
        heads = [str(head["labels"]) for head in member.spec.training.get("recipe", {}).get("heads", ())]
        answer = [answer[name] for name in (heads if set(heads) == set(answer) else answer)]
    elif not isinstance(answer, list):
        answer = [answer]
    first, rest = keras.Model(model.input, maps), keras.Model(maps, answer)

    def columns(given: NDArray[np.float32]) -> NDArray[np.float32]:
        out = rest(given, training=False)
        parts = out if isinstance(out, (list, tuple)) else [out]
        return np.concatenate([keras.ops.convert_to_numpy(part) for part in parts], axis=1)

    return lambda given: keras.ops.convert_to_numpy(first(given, training=False)), columns


def _resized(maps: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    return np.stack([resized_to(one, side, side) for one in maps])
