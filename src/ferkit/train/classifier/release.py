"""From a trained network to weights that every command accepts: export, calibration, metrics, spec and card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from ...data.faces import Faces
from ...engines.opencv import OpenCVEngine
from ...errors import FerkitError
from ...evaluation.calibration import calibrated_outputs
from ...evaluation.measuring import metric_rows, view_logits
from ...files import write_json
from ...images import to_grey
from ...labels import PHOTOS
from ...weights.hashes import file_entry
from ...weights.records import NetworkInput
from ...weights.specs import ADOPTED_SCHEMA, SPEC_SCHEMA, Output, WeightsSpec
from ..common.keras_weights import save_model
from ..release.card import write_card
from ..release.golden import patterns
from ..release.half_precision import halve_keras, halve_onnx
from ..release.keras_to_onnx import difference, export_onnx, keras_outputs
from ..release.network_facts import architecture, machine
from .inputs import normalise, prepare
from .recipe import Recipe

__all__ = ["Origin", "write_release"]


@dataclass(frozen=True)
class Origin:
    """Where weights come from, for their spec and card.

    Attributes:
        faces: How many faces the network was trained on.
        history: Of the run: a dictionary per epoch.
        source: Name of the data's file or folder, for the card's commands.
        description: Of the data; ``source`` by default.
        licence: Of the weights: an SPDX name.
        taught: Whether each raw column, heads side by side, ever had a target, bool ``(columns,)``; None: all. What was never taught is not answered.
    """

    faces: int = 0
    history: Sequence[Mapping[str, Any]] = ()
    source: str = ""
    description: str = ""
    licence: str = "not stated"
    taught: NDArray[np.bool_] | None = None


def write_release(
    model: keras.Model,
    recipe: Recipe,
    out: Path,
    name: str,
    validation: Faces | None = None,
    origin: Origin | None = None,
    views: Sequence[int] = (1, 2, 10),
) -> WeightsSpec:
    """Write ``model.onnx``, ``model.keras``, ``spec.json`` and ``card.md``.

    Args:
        model: float32, with the recipe's heads.
        recipe: What it was trained with.
        out: Folder.
        name: Of the weights.
        validation: PublicTest: temperatures are fitted and metrics measured on it.
        origin: What it was trained on; nothing is said of it by default.
        views: Numbers of views to measure with, of 1, 2 (flip) and 10 (ten-crop).

    Raises:
        FerkitError: The exported network differs from Keras by more than 1e-4, or, stored as float16, by more than 1e-2.
    """
    out.mkdir(parents=True, exist_ok=True)
    _write_networks(model, recipe, out, validation)
    label_sets = [head.label_set for head in recipe.heads]
    origin = origin or Origin()
    taught = np.ones(sum(map(len, label_sets)), bool) if origin.taught is None else origin.taught
    spec = _spec(model, recipe, out, name, only_taught(calibrated_outputs(label_sets, None, None), taught), origin)
    if validation is not None:
        write_json(out / "spec.json", spec.to_dict())
        measured = view_logits(out, validation, max(views))
        spec = replace(
            spec, outputs=only_taught(calibrated_outputs(label_sets, measured, validation, views), taught), selection="PublicTest"
        )
        write_json(out / "spec.json", spec.to_dict())
        spec = replace(spec, metrics=metric_rows(out, validation, views, measured))
    write_json(out / "spec.json", spec.to_dict())
    write_card(out / "card.md", spec)
    return spec


def only_taught(outputs: Sequence[Output], taught: NDArray[np.bool_]) -> tuple[Output, ...]:
    """Return the outputs without the labels that never had a target in one of their heads, and without those that one label is left of."""
    kept = []
    for output in outputs:
        rows = [k for k in range(len(output.labels)) if all(taught[row[k]] for row in output.columns)]
        if len(rows) > 1:
            labels, columns = tuple(output.labels[k] for k in rows), tuple(tuple(row[k] for k in rows) for row in output.columns)
            kept.append(
                replace(output, labels=labels, columns=columns, colors=tuple(output.colors[k] for k in rows) if output.colors else ())
            )
    return tuple(kept)


def _write_networks(model: keras.Model, recipe: Recipe, out: Path, validation: Faces | None) -> None:
    """Write both files of the network, in the recipe's precision, and hold one against the other on faces, or on patterns."""
    save_model(out / "model.keras", model)
    export_onnx(model, recipe.head_names, out / "model.onnx", recipe.window)
    tolerance = 1e-4
    if recipe.stored == "float16":
        halve_keras(out / "model.keras")
        halve_onnx(out / "model.onnx")
        tolerance = 1e-2  # of logits: 0.003 on PublicTest, where at most one of 3,589 answers changes
    faces = np.stack([to_grey(picture) for picture in patterns(24, 48, 48)]) if validation is None else validation.images[:256]
    batch = np.ascontiguousarray(np.moveaxis(normalise(prepare(faces, recipe), recipe), -1, 1))
    logits = _run_batches(OpenCVEngine((out / "model.onnx").read_bytes()), batch)
    worst = difference(logits, keras_outputs(model, recipe.head_names, batch))
    if not worst < tolerance:
        raise FerkitError(f"Keras and ONNX differ by {worst:.2e} on {len(batch)} faces; at most {tolerance:g} is allowed.")


def _spec(model: keras.Model, recipe: Recipe, out: Path, name: str, outputs: tuple[Output, ...], origin: Origin) -> WeightsSpec:
    """Return the spec of networks that lie in ``out``, before anything is measured."""
    wanted = recipe.release.get("default_output", PHOTOS.name)
    return WeightsSpec(
        name=name,
        files={file: file_entry((out / file).read_bytes()) for file in ("model.onnx", "model.keras")},
        input=_input(recipe),
        crop=recipe.geometry,
        outputs=outputs,
        default_output=wanted if wanted in {output.name for output in outputs} else recipe.heads[0].labels,
        training={
            "recipe": recipe.to_dict(),
            "seed": recipe.seed,
            "faces": origin.faces,
            "data": origin.description or origin.source,
            "source": origin.source,
            "epochs": len(origin.history),
            "hours": round(sum(row.get("seconds", 0) for row in origin.history) / 3600, 2),
            "machine": machine(),
        },
        selection="none",
        metrics=(),
        licence=origin.licence,
        schema=SPEC_SCHEMA if recipe.channels == 1 and recipe.answers is None else ADOPTED_SCHEMA,
        architecture=architecture(model, recipe.window) | {"columns": sum(len(head.label_set) for head in recipe.heads)},
    )


def _input(recipe: Recipe) -> NetworkInput:
    given: NetworkInput = {
        "size": recipe.size,
        "window": recipe.window,
        "channels": recipe.channels,
        "layout": "nchw",
        "mean": recipe.data["mean"],
        "std": recipe.data["std"],
        "interpolation": "area",
    }
    return given | {"standardise": True} if recipe.data.get("standardise") else given


def _run_batches(runtime: OpenCVEngine, batch: np.ndarray, size: int = 64) -> np.ndarray:
    return np.concatenate([runtime.run(batch[i : i + size]) for i in range(0, len(batch), size)])
