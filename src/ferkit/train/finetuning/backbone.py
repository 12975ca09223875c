"""A trained network without its heads: features of faces, and new heads on it."""

from __future__ import annotations

import os
import sys

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray
from tqdm import tqdm

from ...classifiers.expression_classifier import ExpressionClassifier
from ...errors import InputError
from ...weights.specs import Output
from ..common.keras_weights import head_names, load_keras
from ..release.keras_to_onnx import to_onnx
from .linear_head import Head

__all__ = ["Backbone"]

_FACES = 9_000  # about so many views in all: with many faces each needs fewer, and time and memory stay bounded
_BATCH = 64


class Backbone:
    """The part of a network below its heads.

    Args:
        base: Weights with a ``model.keras``.
        classifier: The same weights, opened.

    Raises:
        InputError: There is no ``model.keras``, or its heads are not those of the spec.
        WeightsError: A file is missing or damaged.
    """

    def __init__(self, base: str | os.PathLike[str] | None, classifier: ExpressionClassifier) -> None:
        self.classifier, self.model = classifier, load_keras(base, classifier)
        heads = head_names(classifier)
        known = {layer.name for layer in self.model.layers}
        if not heads or not set(heads) <= known:
            raise InputError(f"The model.keras of {classifier.name!r} lacks the heads {', '.join(heads) or 'that its recipe names'}.")
        layers = [self.model.get_layer(name) for name in heads]
        self._top = layers[0].input
        self.trunk = keras.Model(self.model.input, self._top)
        self._kernel = np.concatenate([ops.convert_to_numpy(layer.kernel) for layer in layers], axis=1).astype(np.float64)
        self._bias = np.concatenate([ops.convert_to_numpy(layer.bias) for layer in layers]).astype(np.float64)
        self.head_inputs = int(self._kernel.shape[0])

    def check_export(self) -> None:
        """Raises InputError if the network has a layer that cannot be exported."""
        to_onnx(self.model, head_names(self.classifier), self.classifier.spec.window)

    def head(self, output: Output, columns: list[int]) -> Head:
        """Return some labels of an output, by their position in it, as one linear head."""
        mix = np.zeros((self._kernel.shape[1], len(columns)))
        for weight, raw in zip(output.weights, output.columns, strict=True):
            for k, label in enumerate(columns):
                mix[raw[label], k] += weight / output.temperature
        return Head(self._kernel @ mix, self._bias @ mix)

    def features(self, faces: NDArray[np.uint8], *, progress: bool = False) -> NDArray[np.float32]:
        """Return the features of prepared faces ``(n, S, S)`` in several views, float32 ``(views, n, d)``, by the engine that predicts.

        The first view is the face as it is. The others, flipped, shifted, turned by 8 degrees and zoomed by 7 %, stand for what a training
        loop would draw anew in every epoch; cached, they cost one pass. A few faces get all 18 views, thousands fewer, at least two.
        """
        chosen = views_for(len(faces))
        out = np.zeros((len(chosen), len(faces), self.head_inputs), np.float32)
        with tqdm(total=len(chosen) * len(faces), desc="features", unit="face", file=sys.stderr, disable=not progress) as bar:
            for v, view in enumerate(chosen):
                for start in range(0, len(faces), _BATCH):
                    batch = _seen(faces[start : start + _BATCH], *view)
                    out[v, start : start + _BATCH] = self.classifier.features(batch)
                    bar.update(len(batch))
        return out

    def with_head(self, head: Head, name: str) -> keras.Model:
        """Return the network with one new head in place of the old ones."""
        layer = keras.layers.Dense(head.kernel.shape[1], dtype="float32", name=name)
        model = keras.Model(self.model.input, {name: layer(self._top)}, name=self.model.name)
        layer.set_weights([head.kernel.astype(np.float32), head.bias.astype(np.float32)])
        return model


_SHIFTS = ((0, 0), (-2, -2), (2, -2), (-2, 2), (2, 2))
_ONE_WAY = [(x, y, 0.0, 1.0) for x, y in _SHIFTS] + [(0, 0, 8.0, 1.0), (0, 0, -8.0, 1.0), (0, 0, 0.0, 0.93), (0, 0, 0.0, 1.08)]
_VIEWS = tuple((*view, mirrored) for mirrored in (False, True) for view in _ONE_WAY)
_PLAIN, _MIRRORED = _VIEWS[0], _VIEWS[len(_ONE_WAY)]
# In pairs of a kind, so that the first few are as different as can be.
_ORDER = (_PLAIN, _MIRRORED, *(view for pair in zip(_VIEWS[-1:9:-1], _VIEWS[1:9], strict=True) for view in pair))


def views_for(n: int) -> tuple[tuple[float, float, float, float, bool], ...]:
    """Return the views in which each of n faces is seen: all 18 of a few, two of many."""
    return _ORDER[: int(np.clip(2 * (_FACES // (2 * max(n, 1))), 2, len(_ORDER)))]


def _seen(faces: NDArray[np.uint8], x: float, y: float, degrees: float, zoom: float, mirrored: bool) -> NDArray[np.uint8]:
    if mirrored:
        faces = faces[:, :, ::-1]
    if (x, y, degrees, zoom) == (0, 0, 0, 1):
        return faces
    import cv2

    side = faces.shape[1]
    matrix = cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), degrees, zoom)
    matrix[:, 2] += np.array([x, y]) * side / 48
    return np.stack([cv2.warpAffine(f, matrix, (side, side), borderMode=cv2.BORDER_REFLECT_101) for f in np.ascontiguousarray(faces)])
