"""``ferkit train-detector``: photos with boxes read, the networks trained, their weights written."""

from __future__ import annotations

import json
import time
from pathlib import Path

from ...detectors.face_detector import FaceDetector
from ...detectors.ferkit_face_format import POINTS_FILE
from ...errors import InputError
from ...evaluation.detection import read_annotated
from ...files import write_bytes
from ...image_files import expanded
from ...weights.records import Training
from ...weights.releases import SUPERSEDED, TABLE
from ...weights.specs import DetectorSpec
from ...weights.store import read_verified, resolve, resolve_detector
from ..common.checkpoint import progress, read_arrays
from ..common.preflight import check_folder
from ..common.values import check_minutes
from .landmark_loop import fit_points, stored_crops
from .loop import DetectorData, fit_detector
from .networks import build_detector, build_points
from .photos import read_photos
from .recipe import DetectorRecipe, load_detector_recipe
from .release import write_detector
from .to_onnx import to_onnx

__all__ = ["train_detector"]


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
        teacher: Tells the landmarks to learn, of every face that is large enough; see ``steady_landmarks``. None: the labels do.
        start: A detector to go on from, of the recipe's ``model``: its folder, or a name that comes with ferkit. Its network for landmarks is
            kept where the recipe trains none. None: from nothing.
        resume, max_minutes: As in ``ferkit.train.fit``.
        licence: Of the weights, for their card: an SPDX name.

    Returns:
        ``out``. If ``max_minutes`` stopped the run it holds a checkpoint but no weights yet.

    Raises:
        DataError, InputError, WeightsError: As the readers and fit_detector.
    """
    recipe = recipe if isinstance(recipe, DetectorRecipe) else load_detector_recipe(recipe)
    data, out = expanded(data), expanded(out)
    base = None if start is None else _folder(start)
    _preflight(recipe, out, teacher, resume, max_minutes)
    photos = DetectorData(*read_photos(data), read_annotated(data / "dev") if (data / "dev").is_dir() else None)
    until = None if max_minutes is None else time.monotonic() + 60 * max_minutes
    spec = None if base is None else DetectorSpec.load(base)
    onnx = None if base is None or spec is None else read_verified(base, spec)
    ask = None if teacher is None else teacher.detect_rgb
    if not resume:  # of a run that ended before its first checkpoint, maybe on other photos or with another teacher
        (out / "faces.npz").unlink(missing_ok=True)
    if recipe.points:  # without landmarks to learn, the detector's epochs would be for nothing
        out.mkdir(parents=True, exist_ok=True)
        stored_crops(photos.photos, out / "faces.npz", ask)
    finished = fit_detector(photos, out, recipe=recipe, start=onnx, resume=resume, max_minutes=max_minutes)
    if finished and base is not None and spec is not None and POINTS_FILE in spec.files and not recipe.points:
        write_bytes(out / POINTS_FILE, read_verified(base, spec, POINTS_FILE))
    if finished and recipe.points:
        finished = fit_points(photos.photos, out, recipe.landmarks, teacher=ask, until=until)
    if finished:
        about: Training = {"data": data.resolve().name, **_about(photos, out)}
        if spec is not None:
            about["started_from"] = spec.name
        if recipe.points:
            about["landmarks_of"] = "the labels" if teacher is None else teacher.name
        write_detector(out, recipe, photos.validation, about, licence, None if spec is None else spec.architecture)
    return out


def _about(photos: DetectorData, out: Path) -> Training:
    """Return what a finished run learnt from, and how long it took."""
    history = json.loads((out / "history.json").read_text(encoding="utf-8"))["epochs"]
    if (out / "points.npz").exists():
        history = [*history, *progress(out / "points.npz")[1]]  # the landmarks' network took its time too
    about: Training = {"photos": len(photos.photos), "negatives": len(photos.negatives)}
    about["faces"] = int(sum((~photo.ignore).sum() for photo in photos.photos))
    about["hours"] = round(sum(row["seconds"] for row in history) / 3600, 2)
    if (out / "faces.npz").exists():
        about["faces_with_landmarks"] = len(read_arrays(out / "faces.npz", "points")["points"])
    return about


def _preflight(recipe: DetectorRecipe, out: Path, teacher: FaceDetector | None, resume: bool, max_minutes: float | None) -> None:
    """Look for what would end the run later, before the photos are read."""
    check_minutes(max_minutes)
    check_folder(out, resume)
    if teacher is not None and not callable(getattr(teacher, "detect_rgb", None)):
        raise InputError(f"The teacher is {type(teacher).__name__}; expected a detector, such as FaceDetector('yunet').")
    to_onnx(build_detector(**recipe.model))
    if recipe.points:
        to_onnx(build_points(**recipe.landmarks.model))


def _folder(start: str | Path) -> Path:
    if (folder := expanded(start)).is_dir():
        return folder
    if str(start) in SUPERSEDED:
        return resolve(str(start))
    known = [name for name, release in TABLE.items() if release.kind == "detector" and release.hub is None]
    if str(start) not in known:
        raise InputError(f"Start {str(start)!r} is not a folder; expected a ferkit detector's folder, or one of {', '.join(known)}.")
    return resolve_detector(str(start))
