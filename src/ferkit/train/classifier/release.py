"""From a trained network to weights that every command accepts: export, calibration, metrics, spec and card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from ...crops import CropGeometry
from ...data.faces import Faces
from ...engines.opencv import OpenCVEngine
from ...errors import FerkitError
from ...evaluation.calibration import calibrated_outputs
from ...evaluation.measuring import metric_rows, view_logits
from ...files import write_json
from ...labels import PHOTOS
from ...weights.hashes import file_entry
from ...weights.specs import WeightsSpec
from ..common.keras_weights import save_model
from ..release.card import write_card
from ..release.half_precision import halve_keras, halve_onnx
from ..release.keras_to_onnx import difference, export_onnx, keras_outputs
from ..release.network_facts import architecture, machine
from .loop import normalise, prepare
from .recipe import Recipe

__all__ = ["write_release"]


def write_release(
    model: keras.Model,
    recipe: Recipe,
    out: Path,
    name: str,
    validation: Faces | None,
    history: Sequence[dict[str, Any]],
    training_faces: int,
    *,
    source: str = "",
    description: str = "",
    licence: str = "not stated",
    views: Sequence[int] = (1, 2, 10),
) -> WeightsSpec:
    """Write ``model.onnx``, ``model.keras``, ``spec.json`` and ``card.md``.

    Args:
        model: float32, with the recipe's heads.
        recipe: What it was trained with.
        out: Folder.
        name: Of the weights.
        validation: PublicTest: temperatures are fitted and metrics measured on it.
        history: Of the run.
        training_faces: How many faces it was trained on.
        source: Name of the data's file or folder, for the card's commands.
        description: Of the data, for the card.
        licence: SPDX name.
        views: Numbers of views to measure with, of 1, 2 (flip) and 10 (ten-crop).

    Raises:
        FerkitError: The exported network differs from Keras by more than 1e-4, or, stored as float16, by more than 1e-2.
    """
    out.mkdir(parents=True, exist_ok=True)
    size = recipe.window
    save_model(out / "model.keras", model)
    export_onnx(model, recipe.head_names, out / "model.onnx", size)
    tolerance = 1e-4
    if recipe.stored == "float16":
        halve_keras(out / "model.keras")
        halve_onnx(out / "model.onnx")
        tolerance = 1e-2  # of logits: 0.003 on PublicTest, where at most one of 3,589 answers changes

    if validation is not None:
        batch = normalise(prepare(validation.images[:256], recipe)[:, None], recipe)
        logits = _run_batches(OpenCVEngine((out / "model.onnx").read_bytes()), batch)
        worst = difference(logits, keras_outputs(model, recipe.head_names, batch))
        if not worst < tolerance:
            raise FerkitError(f"Keras and ONNX differ by {worst:.2e} on {len(batch)} faces; at most {tolerance:g} is allowed.")
    label_sets = [head.label_set for head in recipe.heads]
    outputs = calibrated_outputs(label_sets, None, None)
    names = {output.name for output in outputs}
    wanted = recipe.release.get("default_output", PHOTOS.name)
    spec = WeightsSpec(
        name=name,
        files={file: file_entry((out / file).read_bytes()) for file in ("model.onnx", "model.keras")},
        input={
            "size": recipe.size,
            "window": size,
            "channels": 1,
            "layout": "nchw",
            "mean": recipe.data["mean"],
            "std": recipe.data["std"],
            "interpolation": "area",
        }
        | ({"standardise": True} if recipe.data.get("standardise") else {}),
        crop=CropGeometry(**recipe.crop),
        outputs=outputs,
        default_output=wanted if wanted in names else recipe.heads[0].labels,
        training={
            "recipe": recipe.to_dict(),
            "seed": recipe.seed,
            "faces": training_faces,
            "data": description or source,
            "source": source,
            "epochs": len(history),
            "hours": round(sum(row.get("seconds", 0) for row in history) / 3600, 2),
            "machine": machine(),
        },
        selection="PublicTest" if validation is not None else "none",
        metrics=(),
        licence=licence,
        architecture=architecture(model, size),
    )
    write_json(out / "spec.json", spec.to_dict())
    if validation is not None:
        measured = view_logits(out, validation, max(views))
        spec = replace(spec, outputs=calibrated_outputs(label_sets, measured, validation, views))
        write_json(out / "spec.json", spec.to_dict())
        spec = replace(spec, metrics=metric_rows(out, validation, views, measured))
        write_json(out / "spec.json", spec.to_dict())
    write_card(out / "card.md", spec)
    return spec


def _run_batches(runtime: OpenCVEngine, batch: np.ndarray, size: int = 64) -> np.ndarray:
    return np.concatenate([runtime.run(batch[i : i + size]) for i in range(0, len(batch), size)])
