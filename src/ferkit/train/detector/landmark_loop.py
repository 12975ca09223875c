"""Training of the landmarks' network: a recipe and faces in, a resumable run out."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from ...detectors.ferkit_face_format import POINTS_SIZE
from ...errors import DataError
from ...files import write_arrays, write_bytes
from ...image_files import expanded
from ..common.averaging import copy_averaged, settle
from ..common.checkpoint import read_arrays
from ..common.compiling import JIT
from ..common.fingerprints import check_same_data, fingerprint
from ..common.loggers import to_stderr
from ..common.runs import RunState, drawn_ahead
from ..common.schedule import CosineCycles
from ..common.values import finite
from .landmark_crops import Detect, PointAugmentation, PointCrops, cut_faces, point_batch
from .networks import build_points
from .photos import LabelledPhoto, parts_of
from .recipe import PointRecipe
from .to_onnx import checked_onnx

__all__ = ["SoftArgmax", "fit_points", "stored_crops"]


@keras.saving.register_keras_serializable(package="ferkit")
class SoftArgmax(layers.Layer):
    """From heat maps ``(n, s, s, 5)`` to the means of their softmax ``(n, 5, 2)``: from the centre, in units of the side."""

    def call(self, maps: Any) -> Any:
        side = maps.shape[1]
        share = ops.softmax(ops.reshape(maps, (-1, side * side, 5)), axis=1)
        line = (np.arange(side, dtype=np.float32) + 0.5) / side - 0.5
        grid = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
        return ops.einsum("nkp,kc->npc", share, grid)


def _cost(target: Any, answer: Any) -> Any:
    return ops.sum(ops.abs(target - answer), axis=(1, 2))


def _compiled(recipe: PointRecipe) -> keras.Model:
    network = build_points(**recipe.model)
    model = keras.Model(network.input, SoftArgmax()(network.output["points"]))
    cycle = recipe.epochs * recipe.steps
    optimizer = keras.optimizers.AdamW(
        CosineCycles([(cycle, cycle, recipe.learning_rate)], recipe.steps),
        weight_decay=recipe.weight_decay,
        use_ema=True,
        ema_momentum=recipe.ema,
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    optimizer.build(model.trainable_variables)
    model.compile(optimizer=optimizer, loss=_cost, jit_compile=JIT)
    return model


def fit_points(
    photos: Sequence[LabelledPhoto],
    out: str | Path,
    recipe: PointRecipe,
    *,
    teacher: Detect | None = None,
    until: float | None = None,
    log: Callable[[str], None] = to_stderr,
) -> bool:
    """Train the landmarks' network, or go on with it.

    Args:
        photos: As ``read_photos`` returns them.
        out: Folder for ``points.npz`` (the checkpoint, replaced atomically each epoch), ``faces.npz`` (the faces and their steadied
            landmarks) and, at the end, ``points.onnx``.
        recipe: The choices.
        teacher: Finds faces with landmarks; see ``steady_landmarks``. None: the labels are taken as they are.
        until: Stop cleanly after the epoch that passes this time (``time.monotonic()``).
        log: Called with a line now and then.

    Returns:
        True if the run has reached its end.

    Raises:
        DataError: No face with landmarks.
        InputError: ``out`` holds a run of another recipe, or of other faces.
    """
    out = expanded(out)
    crops = stored_crops(photos, out / "faces.npz", teacher, log)
    augmentation = PointAugmentation(**recipe.augment)
    keras.utils.set_random_seed(recipe.seed)
    state = RunState(_compiled(recipe), recipe, out / "points.npz", data={"faces": fingerprint(crops.pixels, crops.points, crops.sides)})
    state.restore(log)
    model = state.model

    def batch(number: int) -> tuple[Any, Any]:
        """A pure function of (seed, number), so that a run can resume exactly."""
        views, targets = point_batch(crops, recipe.batch_size, augmentation, np.random.default_rng((recipe.seed, number)))
        return (views.astype(np.float32) - 127.5) / 128.0, targets

    while state.epoch < recipe.epochs:
        started, losses = time.monotonic(), []
        for step, drawn in enumerate(drawn_ahead(lambda step: batch(state.epoch * recipe.steps + step), recipe.steps), 1):
            losses.append(model.train_on_batch(*drawn))
            finite(losses[-1], f"epoch {state.epoch + 1} of {recipe.epochs} of the landmarks, step {step} of {recipe.steps}")
        state.epoch += 1
        loss, seconds = round(float(np.mean(losses)), 5), round(time.monotonic() - started, 1)
        state.history.append({"epoch": state.epoch, "loss": loss, "seconds": seconds})
        state.keep()
        if state.epoch % 10 == 0 or state.epoch == recipe.epochs:
            log(f"landmarks: epoch {state.epoch}/{recipe.epochs}  loss {loss:.4f}  {seconds:.0f} s")
        if until is not None and time.monotonic() >= until and state.epoch < recipe.epochs:
            log(state.stopped(state.minutes, " of the landmarks"))
            return False
    copy_averaged(model, model)
    settle(model, (batch(recipe.epochs * recipe.steps + n)[0] for n in range(40)))
    network = keras.Model(model.input, {"points": model.get_layer("points").output})
    write_bytes(out / "points.onnx", checked_onnx(network, POINTS_SIZE, POINTS_SIZE))
    return True


def stored_crops(photos: Sequence[LabelledPhoto], path: Path, teacher: Detect | None, log: Callable[[str], None] = to_stderr) -> PointCrops:
    """Return the faces with landmarks that a run learns from, cut out once and kept in a file.

    Raises:
        DataError: There are none.
        InputError: The file is of other photos, or another teacher's.
        WeightsError: It is damaged.
    """
    made_of = {**parts_of(photos), "teacher": _name(teacher)}
    if not path.exists():
        log("Cutting out faces" + ("" if teacher is None else " and steadying their landmarks") + " ...")
        crops = cut_faces(photos, teacher)
        if not len(crops.pixels):
            raise DataError(
                f"None of {len(photos)} photos has a face whose landmarks could be learnt; expected faces from 20 px with landmarks."
            )
        about = np.array(json.dumps(made_of))
        write_arrays(path, {"pixels": crops.pixels, "points": crops.points, "sides": crops.sides, "made_of": about}, compress=False)
    stored = read_arrays(path)
    check_same_data(path, json.loads(str(stored["made_of"])) if "made_of" in stored else {}, made_of, log)
    crops = PointCrops(stored["pixels"], stored["points"], stored["sides"])
    log(f"{len(crops.pixels):,} faces with landmarks")
    return crops


def _name(teacher: Detect | None) -> str:
    """Return what a teacher is called: a detector's method by the detector; a function has no name to rely on."""
    return "the labels" if teacher is None else str(getattr(getattr(teacher, "__self__", None), "name", "a function"))
