"""From a trained network to weights that every command accepts: export, calibration, metrics, spec and card."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from .._geometry import CropGeometry
from .._runtime import OpenCVRuntime
from ..errors import DataError, FerkitError
from ..labels import PHOTOS
from ..weights import WeightsSpec, file_entry
from .calibrate import calibrated_outputs
from .card import write_card
from .counting import architecture, machine
from .data import Faces, read_faces
from .evaluation import metric_rows, view_logits
from .export import difference, export_onnx, keras_outputs
from .fitting import fit, matching, normalise, prepare
from .half import halve_keras, halve_onnx
from .photos import read_portraits
from .recipe import Recipe, load_recipe
from .writing import save_model, write_json

__all__ = ["train", "write_release"]


def train(
    recipe: str | Path | Recipe,
    data: str | Path,
    out: str | Path,
    *,
    ferplus: str | Path | None = None,
    photos: str | Path | None = None,
    resume: bool = False,
    max_minutes: float | None = None,
    licence: str = "not stated",
) -> Path:
    """Read the data, train a recipe and, once it has finished, write its weights into the run's folder.

    Args:
        recipe: Name, TOML path or Recipe.
        data: ``fer2013.csv`` or a folder; PublicTest (``validation``) calibrates and is measured if it is there.
        out: The run's folder.
        ferplus: FER+ votes beside a csv.
        photos: Folder of portraits for a recipe with ``[photos]``: ``labels.csv`` and ``images``.
        resume, max_minutes: As in :func:`ferkit.train.fit`.
        licence: Of the weights, for their card: an SPDX name.

    Returns:
        ``out``. If ``max_minutes`` stopped the run it holds a checkpoint but no weights yet.

    Raises:
        DataError, InputError: As the readers and fit.
    """
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    out = Path(out)
    training = matching(read_faces(data, "Training", ferplus), recipe)
    portraits = None if photos is None else read_portraits(photos, CropGeometry(**recipe.crop))
    for _, reason in (*training.skipped, *(() if portraits is None else portraits.skipped)):
        print(f"Skipped {reason}", file=sys.stderr)
    validation = _validation(data, ferplus)
    validation = None if validation is None else matching(validation, recipe)
    run = fit(recipe, training, out, validation=validation, resume=resume, max_minutes=max_minutes, photos=portraits)
    if run.finished:
        source = Path(data).resolve().name
        name, votes = out.resolve().name, " with FER+ votes" if training.votes is not None else ""
        description = f"{source}, Training{votes}"
        count = len(training)
        if portraits is not None and photos is not None:
            description, count = f"{description}; {len(portraits):,} portraits ({Path(photos).resolve().name})", count + len(portraits)
        write_release(
            run.model, run.recipe, out, name, validation, run.history, count, source=source, description=description, licence=licence
        )
    return out


def _validation(data: str | Path, ferplus: str | Path | None) -> Faces | None:
    path = Path(data)
    if path.is_dir() and not any((path / name).is_dir() for name in ("validation", "val", "PublicTest")):
        print("No validation folder: the weights will be neither measured nor calibrated.", file=sys.stderr)
        return None
    try:
        return read_faces(path, "PublicTest", ferplus)
    except DataError as error:
        if "no rows of split" not in str(error):
            raise
        print(f"{error} The weights will be neither measured nor calibrated.", file=sys.stderr)
        return None


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
    export_onnx(model, recipe, out / "model.onnx", size)
    tolerance = 1e-4
    if recipe.stored == "float16":
        halve_keras(out / "model.keras")
        halve_onnx(out / "model.onnx")
        tolerance = 1e-2  # of logits: 0.003 on PublicTest, where at most one of 3,589 answers changes

    if validation is not None:
        batch = normalise(prepare(validation.images[:256], recipe)[:, None], recipe)
        logits = _run_batches(OpenCVRuntime((out / "model.onnx").read_bytes()), batch)
        worst = difference(logits, keras_outputs(model, recipe, batch))
        if not worst < tolerance:
            raise FerkitError(f"Keras and ONNX differ by {worst:.2e} on {len(batch)} faces; at most {tolerance:g} is allowed.")
    outputs = calibrated_outputs(recipe, None, None)
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
        spec = replace(spec, outputs=calibrated_outputs(recipe, measured, validation, views))
        write_json(out / "spec.json", spec.to_dict())
        spec = replace(spec, metrics=metric_rows(out, validation, views, measured))
        write_json(out / "spec.json", spec.to_dict())
    write_card(out / "card.md", spec)
    return spec


def _run_batches(runtime: OpenCVRuntime, batch: np.ndarray, size: int = 64) -> np.ndarray:
    return np.concatenate([runtime.run(batch[i : i + size]) for i in range(0, len(batch), size)])
