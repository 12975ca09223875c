"""Checkpoints: all state of a run in one npz file, replaced atomically."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
from keras import ops

from ..errors import InputError

__all__ = ["load_checkpoint", "save_checkpoint"]


class _Recipe(Protocol):
    def to_dict(self) -> dict[str, Any]: ...


def _state(model: keras.Model) -> list[Any]:
    """Every variable that the next step depends on: weights, statistics, dropout seeds, optimiser slots and EMA."""
    return [*model.variables, *model.optimizer.variables]


def save_checkpoint(path: Path, model: keras.Model, recipe: _Recipe, epoch: int, history: list[dict[str, Any]]) -> None:
    """Write a checkpoint beside the last one and then replace it, so that a full disk or a kill leaves a good one."""
    meta = json.dumps({"epoch": epoch, "history": history, "recipe": recipe.to_dict()})
    arrays = {"meta": np.array(meta)} | {f"v{i}": np.asarray(ops.convert_to_numpy(v)) for i, v in enumerate(_state(model))}
    partial = path.with_suffix(".partial")
    try:
        with partial.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def load_checkpoint(path: Path, model: keras.Model, recipe: _Recipe) -> tuple[int, list[dict[str, Any]]]:
    """Restore a checkpoint into a compiled model; returns the epochs done and the history.

    Raises:
        InputError: The checkpoint belongs to another recipe.
    """
    with np.load(path) as stored:
        meta = json.loads(str(stored["meta"]))
        wanted = json.loads(json.dumps(recipe.to_dict()))
        if meta["recipe"] != wanted:
            changed = [key for key in wanted if wanted[key] != meta["recipe"].get(key)]
            raise InputError(
                f"{path} was trained with another recipe (it differs in {', '.join(changed)}); use the same recipe, or another --out."
            )
        for i, variable in enumerate(_state(model)):
            variable.assign(stored[f"v{i}"])
    return int(meta["epoch"]), list(meta["history"])
