"""Writing fine-tuned weights: network, spec, golden vectors, card."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

from ...classifiers.expression_classifier import ExpressionClassifier
from ...errors import FerkitError
from ...evaluation.figures import rounded
from ...evaluation.measuring import metric_row
from ...files import write_json
from ...labels import CUSTOM, LabelSet
from ...weights.hashes import file_entry
from ...weights.records import Paired
from ...weights.specs import Output, WeightsSpec
from ..common.keras_weights import save_model
from ..release.card import write_card
from ..release.golden import patterns, write_golden
from ..release.keras_to_onnx import export_onnx
from ..release.network_facts import architecture, machine
from .backbone import Backbone
from .records import About, Measured

__all__ = ["GOLDEN", "OUTPUT", "finish_bundle", "write_bundle"]

GOLDEN = "golden.npz"
OUTPUT = CUSTOM  # the name of the label set, and of its layer, in fine-tuned weights


def write_bundle(
    folder: Path, model: keras.Model, backbone: Backbone, labels: LabelSet, temperature: float, begun: float, about: About
) -> WeightsSpec:
    """Write ``model.onnx``, ``model.keras``, ``golden.npz`` and ``spec.json`` without metrics.

    Args:
        folder: Exists.
        model: With one head, named as the label set.
        backbone: Of the base: input and crop are its own.
        labels: Of the head.
        temperature: Above 0.
        begun: ``time.monotonic()`` at the start.
        about: What they are called and learnt from.

    Raises:
        FerkitError: The exported network differs from Keras by more than 1e-4.
    """
    base = backbone.classifier.spec
    size = base.window
    save_model(folder / "model.keras", model)
    export_onnx(model, [labels.name], folder / "model.onnx", size)
    spec = WeightsSpec(
        name=about.name,
        files={file: file_entry((folder / file).read_bytes()) for file in ("model.onnx", "model.keras")},
        input=base.input,
        crop=base.crop,
        outputs=(
            Output(labels.name, labels.classes, (tuple(range(len(labels))),), temperature=round(temperature, 4), colors=labels.colours),
        ),
        default_output=labels.name,
        training={
            "recipe": {"name": "finetune", "heads": [{"labels": labels.name}]},
            "base": {"name": base.name, "sha256": base.files["model.onnx"]["sha256"], "data": base.training.get("data", "not stated")},
            "seed": about.seed,
            "faces": about.faces,
            "held_out": about.held_out,
            **({"folds": about.folds} if about.folds else {}),
            **({"persons": about.persons} if about.persons else {}),
            **({"unfrozen": about.unfrozen} if about.unfrozen else {}),
            "data": about.data,
            "source": about.source,
            "epochs": 0,
            "hours": round((time.monotonic() - begun) / 3600, 3),
            "machine": machine(),
        },
        selection="cross-validation on the training part",
        metrics=(),
        licence=about.licence,
        schema=base.schema,  # faces in color are what an earlier ferkit would feed wrongly, whoever trained on them last
        architecture=architecture(model, size),
    )
    write_json(folder / "spec.json", spec.to_dict())
    _write_golden(folder, model, labels.name)
    spec = replace(spec, files={**spec.files, GOLDEN: file_entry((folder / GOLDEN).read_bytes())})
    write_json(folder / "spec.json", spec.to_dict())
    return spec


def _write_golden(folder: Path, model: keras.Model, head: str) -> None:
    """Hold the written network against Keras's, and keep its answers to fixed pictures. Raises FerkitError if they differ."""
    classifier = ExpressionClassifier(folder)
    pictures = patterns(8, 48, 48)
    raw = classifier.logits(pictures)[0]
    batch = classifier.normalise(classifier.prepare(pictures))
    worst = float(np.abs(keras.ops.convert_to_numpy(model(np.moveaxis(batch, 1, -1), training=False)[head]) - raw).max())
    if not worst < 1e-4:
        raise FerkitError(f"Keras and ONNX differ by {worst:.2e} on {len(pictures)} pictures; at most 1e-4 is allowed.")
    write_golden(folder / GOLDEN, pictures, logits=raw, probabilities=classifier.predict_proba(pictures))


def finish_bundle(folder: Path, spec: WeightsSpec, report: Measured, publictest: Paired | None) -> WeightsSpec:
    """Add what was measured to ``spec.json``, and write ``card.md``."""
    held = report["held_out"]
    split = "held-out part" if report["folds"] is None else f"{len(report['folds'])} folds"
    row = metric_row(held, labels=spec.default_output, truth="the data's labels", split=split, tta="none") | {
        "recall": {label: round(values["recall"], 4) for label, values in held["per_label"].items() if values["n"]},
        "per_label": {label: {"n": values["n"], "right": values["right"]} for label, values in held["per_label"].items()},
    }
    if report["paired"] is not None:
        row["before"] = _paired(report["paired"])
    if publictest is not None:
        row["publictest"] = _paired(publictest)
    spec = replace(spec, metrics=(row,))
    write_json(folder / "spec.json", spec.to_dict())
    write_card(folder / "card.md", spec)
    return spec


def _paired(found: Paired) -> Paired:
    """Return a comparison to four decimals."""
    return {
        "against": found["against"],
        "n": found["n"],
        "before": rounded(found["before"]),
        "after": rounded(found["after"]),
        "difference": rounded(found["difference"]),
        "ci95": rounded(found["ci95"]),
        "gained": found["gained"],
        "lost": found["lost"],
        "p_value": rounded(found["p_value"]),
    }
