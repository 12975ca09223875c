"""A finished detector's weights: threshold, metrics, spec and card."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from ...detectors.ferkit_face import FerkitFace
from ...detectors.ferkit_face_format import POINTS_FILE, POINTS_SIZE
from ...evaluation.detection import LEAST_SCORE, AnnotatedPhoto, score_detections
from ...files import write_bytes, write_json
from ...text import ESCAPES
from ...weights.hashes import file_entry
from ...weights.records import Architecture, DetectionRow, Training
from ...weights.releases import SUPERSEDED, TABLE
from ...weights.specs import DetectorSpec
from ..release.card import data_and_licences
from ..release.network_facts import machine, multiply_adds
from .networks import build_points
from .recipe import DetectorRecipe

__all__ = ["card_lines", "detection_rows", "write_detector"]

_MARKED_BY = (  # the faces that ferkit's own releases learnt from; of others' data nobody here knows
    " Most boxes and all landmarks come from a teacher (YuNet, MIT), and a part of the boxes from people."
)


def write_detector(
    out: Path,
    recipe: DetectorRecipe,
    dev: list[AnnotatedPhoto] | None,
    about: Training,
    licence: str,
    kept: Architecture | None = None,
) -> DetectorSpec:
    """Write ``spec.json`` and ``card.md`` beside ``model.onnx`` and ``model.keras`` of a finished run.

    ``kept`` is the ``architecture`` of the detector that the run started from, whose network for landmarks it may keep.
    The threshold is the score at which nine of ten detections on the development part are right; 0.5 without one.
    """
    files = {name: (out / name).read_bytes() for name in ("model.onnx", POINTS_FILE) if (out / name).exists()}
    onnx = files["model.onnx"]
    network = keras.saving.load_model(out / "model.keras", compile=False)
    metrics, threshold = detection_rows(FerkitFace.from_bytes(onnx, LEAST_SCORE), dev) if dev else ([], 0.5)
    architecture: Architecture = {"name": network.name, "parameters": int(network.count_params()), "macs_320": multiply_adds(network, 320)}
    if POINTS_FILE in files and not recipe.points:  # the network for landmarks is the start's own
        if kept is not None and "points_macs" in kept:
            architecture |= {"points_parameters": kept["points_parameters"], "points_macs": kept["points_macs"]}
    elif POINTS_FILE in files:
        points = build_points(**recipe.landmarks.model)
        architecture |= {"points_parameters": int(points.count_params()), "points_macs": multiply_adds(points, POINTS_SIZE)}
    spec = DetectorSpec(
        name=out.resolve().name,
        files={name: file_entry(data) for name, data in files.items()},
        min_score=threshold,
        training={
            **about,
            "recipe": recipe.to_dict(),
            "machine": machine(),
        },
        selection="dev" if dev else "none",
        metrics=tuple(metrics),
        licence=licence,
        architecture=architecture,
    )
    write_json(out / "spec.json", spec.to_dict())
    write_bytes(out / "card.md", ("\n".join(card_lines(spec)) + "\n").encode("utf-8", ESCAPES))
    return spec


def detection_rows(detector: FerkitFace, dev: list[AnnotatedPhoto]) -> tuple[list[DetectionRow], float]:
    """Return what a detector that answers down to ``LEAST_SCORE`` measures by size of the faces, and its threshold."""
    metrics, threshold = list[DetectionRow](), 0.5
    found = [detector.detect(photo.pixels) for photo in dev]
    for smallest, largest in ((16.0, np.inf), (16.0, 32.0), (32.0, 96.0), (96.0, np.inf)):
        scores = score_detections(found, dev, smallest=smallest, largest=largest)
        metrics.append(
            {
                "smallest": smallest,
                "largest": None if np.isinf(largest) else largest,
                "pictures": scores.pictures,
                "faces": scores.faces,
                "ap50": round(scores.ap50, 4),
                "recall_at_1_fppi": round(scores.recall, 4),
                "recall_at_0.1_fppi": round(scores.recall_strict, 4),
            }
        )
        if len(metrics) == 1 and scores.threshold is not None:
            threshold = round(scores.threshold, 3)
    return metrics, threshold


def card_lines(spec: DetectorSpec) -> list[str]:
    training, net = spec.training, spec.architecture
    lines = [
        f"# {spec.name}",
        "",
        f"A face detector of ferkit: {net['parameters']:,} parameters, {net['macs_320'] / 1e6:.0f} M multiply-adds at 320x320"
        + (
            f"; {net['points_parameters']:,} and {net['points_macs'] / 1e6:.1f} M more for each face's landmarks"
            if "points_macs" in net
            else ""
        )
        + ". It answers boxes from the forehead to the chin and five landmarks: the subject's right eye, left eye, nose, right and left mouth corner.",
        "",
        f"Faces below a score of {spec.min_score} are dropped unless you ask otherwise (`min_score`).",
        "",
        "## Measured",
        "",
    ]
    if spec.metrics:
        lines += [
            "The detector was measured on pictures whose faces people marked. None of them was used for training, but the threshold was chosen on them.",
            "",
            "| shorter side of the face | pictures | faces | AP at IoU 0.5 | recall at 1 false positive a picture | at 0.1 |",
            "|---|---|---|---|---|---|",
            *(
                f"| {m['smallest']:.0f} px {'and more' if m['largest'] is None else f'''to {m['largest']:.0f} px'''} | {m['pictures']} | {m['faces']} "
                f"| {m['ap50']:.3f} | {m['recall_at_1_fppi']:.3f} | {m['recall_at_0.1_fppi']:.3f} |"
                for m in spec.metrics
            ),
            "",
        ]
    else:
        lines += ["Nothing was measured, as the data had no development part.", ""]
    return [
        *lines,
        "## Trained",
        "",
        f"- Data: {training['photos']:,} photos with {training['faces']:,} faces and {training['negatives']:,} without."
        + (_MARKED_BY if spec.name in (*TABLE, *SUPERSEDED) else ""),
        f"- Recipe: `{training['recipe']['name']}`, seed {training['recipe']['seed']}, {sum(s['epochs'] for s in training['recipe']['stages'])} epochs of "
        f"{training['recipe']['pictures']:,} pictures, {training['hours']} hours on {training['machine']}.",
        *_origins(training),
        *_face_head(training),
        f"- Licence: {spec.licence}.",
        *data_and_licences(["own"]),
    ]


def _face_head(training: Mapping[str, Any]) -> list[str]:
    """Say what the second network learnt besides landmarks."""
    if "face_head" not in training:
        return []
    head = training["face_head"]
    return [
        f"- Both networks are those of `{head['began_with']}`. To the second, which finds the landmarks, a logistic regression was added that doubts what "
        f"does not look like a face from near. It was fitted to {head['faces']:,} boxes on faces and {head['others']:,} on other things, {head['drawn']:,} of "
        "these in drawn pictures of text, stones, dials and cloth (`benchmarks/face_head.py`)."
    ]


def _origins(training: Mapping[str, Any]) -> list[str]:
    """Say what a training began with, and where its landmarks come from."""
    start = [f"- It began with the network of `{training['started_from']}`."] if "started_from" in training else []
    if "faces_with_landmarks" in training:
        views = "" if training["landmarks_of"] == "the labels" else ", turned upright, six views averaged"
        epochs, faces = training["recipe"]["points"]["epochs"], f"{training['faces_with_landmarks']:,}"
        return [*start, f"- Its landmarks were learnt in {epochs} epochs on {faces} faces, from {training['landmarks_of']}{views}."]
    return (
        [*start, f"- Its landmarks come from the second network of `{training['started_from']}`, which was not changed."] if start else []
    )
