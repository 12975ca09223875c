"""Keras networks of weights: opening one, checked by its hash, and writing one whole."""

from __future__ import annotations

import os
from pathlib import Path

import keras

from ...classifiers.expression_classifier import ExpressionClassifier
from ...engines.keras_file import load_network
from ...errors import InputError
from ...files import replacing_path
from ...weights.store import read_verified, resolve

__all__ = ["head_names", "load_keras", "save_model"]


def load_keras(base: str | os.PathLike[str] | None, classifier: ExpressionClassifier) -> keras.Model:
    """Load the ``model.keras`` of some weights, checked by its hash. Raises InputError if they have none."""
    folder, spec = resolve(base), classifier.spec
    if "model.keras" not in spec.files:
        raise InputError(f"Weights {spec.name!r} have no model.keras, which this needs; they list {', '.join(spec.files)}.")
    if spec.network:
        raise InputError(f"Weights {spec.name!r} were adopted, which this cannot start from; expected weights that ferkit trained.")
    return load_network(read_verified(folder, spec, "model.keras"), f"{folder / 'model.keras'}")


def head_names(classifier: ExpressionClassifier) -> list[str]:
    """Return the layers that answer the raw columns, in the columns' order, as the spec's recipe names them."""
    return [str(head["labels"]) for head in classifier.spec.training.get("recipe", {}).get("heads", ())]


def save_model(path: Path, model: keras.Model) -> None:
    """Write a Keras model so that a crash leaves either the old file or the new one. Raises WeightsError if it cannot be written."""
    with replacing_path(path) as partial:
        model.save(partial)
