"""Checkpoints: all state of a run in one npz file, replaced atomically; and weights alone, the same way."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from ...errors import InputError, WeightsError
from ...files import write_arrays
from .fingerprints import check_same_data
from .loggers import to_stderr

__all__ = ["load_checkpoint", "load_weights", "progress", "read_arrays", "save_checkpoint", "save_weights"]


class _Recipe(Protocol):
    def to_dict(self) -> Mapping[str, Any]: ...


def _state(model: keras.Model) -> list[Any]:
    """Every variable that the next step depends on: weights, statistics, dropout seeds, optimiser slots and EMA."""
    return [*model.variables, *model.optimizer.variables]


def save_checkpoint(
    path: Path, model: keras.Model, recipe: _Recipe, epoch: int, history: list[dict[str, float]], data: Mapping[str, str] | None = None
) -> None:
    """Write a checkpoint beside the last one and then replace it, so that a full disk or a kill leaves a good one.

    Args:
        path: The file.
        model: Compiled.
        recipe: Its choices.
        epoch: Epochs done.
        history: One row per epoch.
        data: A digest of each part of what was learnt from.

    Raises:
        WeightsError: It cannot be written; the last one is as it was.
    """
    meta = json.dumps({"epoch": epoch, "history": history, "recipe": recipe.to_dict(), "data": dict(data or {})})
    write_arrays(path, {"meta": np.array(meta)} | _arrays(_state(model)), compress=False)


def save_weights(path: Path, model: keras.Model) -> None:
    """Write a model's variables alone, float32 as they are, without the optimiser's. Raises WeightsError as above."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_arrays(path, _arrays(model.variables), compress=False)


def load_weights(path: Path, model: keras.Model) -> None:
    """Read what ``save_weights`` wrote into a model of the same architecture. Raises WeightsError if the file is damaged."""
    _assign(path, model.variables)


def _assign(path: Path, variables: list[Any]) -> None:
    stored = read_arrays(path, *(f"v{i}" for i in range(len(variables))))
    for variable, value in zip(variables, stored.values(), strict=True):
        variable.assign(value)


def _arrays(variables: list[Any]) -> dict[str, NDArray[Any]]:
    return {f"v{i}": np.asarray(ops.convert_to_numpy(v)) for i, v in enumerate(variables)}


def load_checkpoint(
    path: Path, model: keras.Model, recipe: _Recipe, data: Mapping[str, str] | None = None, log: Callable[[str], None] = to_stderr
) -> tuple[int, list[dict[str, float]]]:
    """Restore a checkpoint into a compiled model; returns the epochs done and the history.

    Args:
        path: The file.
        model: Compiled.
        recipe: Its choices.
        data: A digest of each part of what is to be learnt from; None, and a checkpoint without: not compared.
        log: Called with a line if the pixels of the same faces are others.

    Raises:
        InputError: The checkpoint belongs to another recipe, or to other data.
        WeightsError: It is damaged.
    """
    meta = _meta(path)
    trained, wanted = _training_part(meta["recipe"]), _training_part(json.loads(json.dumps(recipe.to_dict())))
    # A table that the recipes of an earlier ferkit did not have yet is an empty one.
    changed = [key for key in wanted if wanted[key] != trained.get(key, {})]
    if changed:
        raise InputError(
            f"{path} was trained with another recipe (it differs in {', '.join(changed)}); use the same recipe, or another out.",
            arguments=["recipe", "out"],
        )
    check_same_data(path, meta.get("data", {}), data or {}, log)
    _assign(path, _state(model))
    return int(meta["epoch"]), list(meta["history"])


def progress(path: Path) -> tuple[int, list[dict[str, float]]]:
    """Return the epochs done and the history of a checkpoint, without its weights. Raises WeightsError if it is damaged."""
    meta = _meta(path)
    return int(meta["epoch"]), list(meta["history"])


def _meta(path: Path) -> Any:
    return json.loads(str(read_arrays(path, "meta")["meta"]))


def read_arrays(path: Path, *names: str) -> dict[str, NDArray[Any]]:
    """Return the arrays of a file that a run goes on from: those that are named, or all. Raises WeightsError if it is damaged, wherever."""
    try:
        with path.open("rb") as file, np.load(file) as stored:  # NumPy does not close a file that it cannot read
            return {name: stored[name] for name in names or stored.files}
    # A half or a bad copy: ferkit leaves no half file.
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{path} is damaged ({error}), and the run cannot go on from it. Copy it anew, or train into another out.",
            arguments=["out"],
        ) from error


def _training_part(recipe: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a recipe's table without what is done to the weights of a finished run: a resumed one does it anew."""
    kept = {key: value for key, value in recipe.items() if key != "release"}
    return kept | {"training": {key: value for key, value in kept.get("training", {}).items() if key != "settle"}}
