"""From photos with boxes to a face detector that every command accepts: training, threshold, metrics, spec and card."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

from ..._detectors.own import POINTS_FILE, POINTS_SIZE, Own
from ..._specs import DetectorSpec
from ...detect import FaceDetector
from ...errors import InputError
from ...weights import TABLE, file_entry, read_verified, resolve_detector
from ..card import data_and_licences
from ..counting import machine, multiply_adds
from ..writing import write_bytes, write_json
from .evaluation import LEAST_SCORE, AnnotatedPhoto, read_annotated, score_detections
from .fitting import DetectorRecipe, fit_detector, load_detector_recipe
from .model import build_points
from .photos import read_photos
from .pointing import PointRecipe, fit_points

__all__ = ["train_detector", "write_detector"]


def train_detector(
    data: str | Path,
    out: str | Path,
    *,
    recipe: str | Path | DetectorRecipe | None = None,
    teacher: FaceDetector | None = None,
    start: str | Path | None = None,
    resume: bool = False,
    max_minutes: float | None = None,
    licence: str = "not stated",
) -> Path:
    """Train a face detector and, once it has finished, write its weights into the run's folder.

    Args:
        data: Folder with ``train/labels.json`` and its pictures, ``negatives/`` (pictures without faces) and, to be measured
            on, ``dev/gt.json`` with ``dev/images``; see docs/training.md.
        out: The run's folder; its name becomes the detector's.
        recipe: TOML path or DetectorRecipe; None is ferkit's own.
        teacher: Tells the landmarks to learn, of every face that is large enough; see :func:`steady_landmarks`. None: the labels do.
        start: A detector to go on from, of the recipe's ``model``: its folder, or a name that comes with ferkit. Its network for landmarks is
            kept where the recipe trains none. None: from nothing.
        resume, max_minutes: As in :func:`ferkit.train.fit`.
        licence: Of the weights, for their card: an SPDX name.

    Returns:
        ``out``. If ``max_minutes`` stopped the run it holds a checkpoint but no weights yet.

    Raises:
        DataError, InputError, WeightsError: As the readers and fit_detector.
    """
    recipe = recipe if isinstance(recipe, DetectorRecipe) else load_detector_recipe(recipe)
    data, out = Path(data), Path(out)
    photos, negatives = read_photos(data)
    dev = read_annotated(data / "dev") if (data / "dev").is_dir() else None
    until = None if max_minutes is None else time.monotonic() + 60 * max_minutes
    base = None if start is None else _folder(start)
    spec = None if base is None else DetectorSpec.load(base)
    onnx = None if base is None or spec is None else read_verified(base, spec)
    finished = fit_detector(photos, negatives, out, recipe=recipe, validation=dev, start=onnx, resume=resume, max_minutes=max_minutes)
    if finished and base is not None and spec is not None and POINTS_FILE in spec.files and not recipe.points:
        write_bytes(out / POINTS_FILE, read_verified(base, spec, POINTS_FILE))
    if finished and recipe.points:
        ask = None if teacher is None else teacher.detect_rgb
        finished = fit_points(photos, out, PointRecipe(**recipe.points), teacher=ask, until=until)
    if finished:
        about: dict[str, Any] = {"data": data.resolve().name, "photos": len(photos), "negatives": len(negatives)}
        about["faces"] = int(sum((~photo.ignore).sum() for photo in photos))
        history = json.loads((out / "history.json").read_text(encoding="utf-8"))["epochs"]
        about["hours"] = round(sum(row["seconds"] for row in history) / 3600, 2)
        if spec is not None:
            about["started_from"] = spec.name
        if recipe.points:
            with np.load(out / "faces.npz") as stored:
                about["faces_with_landmarks"] = len(stored["points"])
            about["landmarks_of"] = "the labels" if teacher is None else teacher.name
        write_detector(out, recipe, dev, about, licence)
    return out


def _folder(start: str | Path) -> Path:
    if Path(start).is_dir():
        return Path(start)
    known = [name for name, release in TABLE.items() if release.kind == "detector" and release.hub is None]
    if str(start) not in known:
        raise InputError(f"Start {str(start)!r} is no folder; expected a ferkit detector's folder, or one of {', '.join(known)}.")
    return resolve_detector(str(start))


def write_detector(
    out: Path, recipe: DetectorRecipe, dev: list[AnnotatedPhoto] | None, about: dict[str, Any], licence: str
) -> DetectorSpec:
    """Write ``spec.json`` and ``card.md`` beside ``model.onnx`` and ``model.keras`` of a finished run.

    The threshold is the score at which nine of ten detections on the development part are right; 0.5 without one.
    """
    files = {name: (out / name).read_bytes() for name in ("model.onnx", POINTS_FILE) if (out / name).exists()}
    onnx = files["model.onnx"]
    network = keras.saving.load_model(out / "model.keras", compile=False)
    metrics: list[dict[str, Any]] = []
    threshold = 0.5
    if dev:
        detector = Own.from_bytes(onnx, LEAST_SCORE)
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
    architecture = {"name": network.name, "parameters": int(network.count_params()), "macs_320": multiply_adds(network, 320)}
    if POINTS_FILE in files:
        points = build_points(**PointRecipe(**recipe.points).model)
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
    (out / "card.md").write_text("\n".join(_card(spec)) + "\n", encoding="utf-8")
    return spec


def _card(spec: DetectorSpec) -> list[str]:
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
            "On pictures whose faces people marked, none of them used for training; the threshold was chosen on them too.",
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
        lines += ["Not measured: the data had no development part.", ""]
    return [
        *lines,
        "## Trained",
        "",
        f"- Data: {training['photos']:,} photos with {training['faces']:,} faces and {training['negatives']:,} without. Most boxes and all "
        "landmarks come from a teacher (YuNet, MIT), a part of the boxes from people.",
        f"- Recipe: `{training['recipe']['name']}`, seed {training['recipe']['seed']}, {sum(s['epochs'] for s in training['recipe']['stages'])} epochs of "
        f"{training['recipe']['pictures']:,} pictures, {training['hours']} hours on {training['machine']}.",
        *(
            [
                f"- Landmarks: {training['recipe']['points']['epochs']} epochs on {training['faces_with_landmarks']:,} faces, as told by "
                f"{training['landmarks_of']}"
                + (", turned upright, six views averaged." if training["landmarks_of"] != "the labels" else ".")
            ]
            if "faces_with_landmarks" in training
            else []
        ),
        f"- Licence: {spec.licence}.",
        *data_and_licences(["own"]),
    ]
