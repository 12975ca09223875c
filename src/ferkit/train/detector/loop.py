"""The detector's training loop: a recipe and photos in, a resumable run out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

from ...errors import DataError
from ...evaluation.detection import AnnotatedPhoto, measure_ap50
from ...files import clear_partials, write_bytes
from ...image_files import expanded
from ..common.averaging import copy_averaged, settle
from ..common.compiling import JIT
from ..common.keras_weights import save_model
from ..common.loggers import to_stderr
from ..common.preflight import check_folder
from ..common.runs import RunState, drawn_ahead, precision
from ..common.schedule import CosineCycles
from ..common.values import check_minutes, finite
from .networks import build_detector
from .photos import LabelledPhoto, PhotoPool, parts_of, sample
from .recipe import DetectorRecipe, Stage, load_detector_recipe
from .starting import start_from
from .targets import cell_targets, detection_loss
from .to_onnx import checked_onnx, to_onnx

__all__ = ["DetectorData", "fit_detector"]


def _with_flat_output(detector: keras.Model) -> keras.Model:
    flat = [layers.Reshape((-1, 15), dtype="float32")(level) for level in reversed(detector.output.values())]
    return keras.Model(detector.input, layers.Concatenate(axis=1, dtype="float32")(flat))


@dataclass(frozen=True)
class _Source:
    """What batches are drawn from; each is a pure function of (seed, epoch, step), so that a run can resume exactly."""

    photos: PhotoPool
    negatives: list[LabelledPhoto]
    recipe: DetectorRecipe

    def batch(self, epoch: int, step: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        recipe, augmentation = self.recipe, self.recipe.augmentation_at(epoch)
        rng = np.random.default_rng((recipe.seed, epoch, step))
        pictures = [sample(self.photos, self.negatives, recipe.size, augmentation, rng) for _ in range(recipe.batch_size)]
        pixels = (np.stack([p.pixels for p in pictures]).astype(np.float32) - 127.5) / 128.0
        return pixels, np.stack([cell_targets(p, recipe.size) for p in pictures])

    def batches(self, epoch: int, steps: int) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        return drawn_ahead(partial(self.batch, epoch), steps)

    def averaged(self, model: keras.Model, steps: int) -> keras.Model:
        """Return a float32 detector with the averaged weights and the batch statistics that belong to them."""
        with precision("float32"):
            detector = build_detector(**self.recipe.model)
            copy = _with_flat_output(detector)  # the variables in the same order as the model's
        copy_averaged(model, copy)
        settle(detector, (pixels for pixels, _ in self.batches(self.recipe.epochs, steps)))
        return detector


def _compiled(recipe: DetectorRecipe, start: bytes | None, batches: Iterable[NDArray[np.float32]]) -> keras.Model:
    detector = build_detector(**recipe.model)
    if start is not None:
        start_from(start, detector, batches)
    model = _with_flat_output(detector)
    cycles = [(stage.epochs * recipe.steps, stage.epochs * recipe.steps, stage.learning_rate) for stage in recipe.stages]
    schedule = CosineCycles(cycles, int(recipe.warmup_epochs * recipe.steps))
    optimizer = keras.optimizers.AdamW(
        schedule, weight_decay=recipe.weight_decay, use_ema=True, ema_momentum=recipe.ema, global_clipnorm=10.0
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    optimizer.build(model.trainable_variables)
    model.optimizer = optimizer
    return model


def _ask(model: keras.Model, stage: Stage) -> None:
    """Set the loss of a stage; the optimiser keeps what it knows."""
    loss = partial(detection_loss, landmarks=stage.landmarks, precise=stage.precise, seen=stage.seen)
    model.compile(optimizer=model.optimizer, loss=loss, jit_compile=JIT)


@dataclass(frozen=True)
class DetectorData:
    """Photos with boxes and photos without faces, as ``read_photos`` returns them; pictures with all faces marked to be measured on."""

    photos: list[LabelledPhoto]
    negatives: list[LabelledPhoto] = field(default_factory=list)
    validation: list[AnnotatedPhoto] | None = None


def fit_detector(
    data: DetectorData,
    out: str | Path,
    *,
    recipe: DetectorRecipe | None = None,
    start: bytes | None = None,
    resume: bool = False,
    max_minutes: float | None = None,
    log: Callable[[str], None] = to_stderr,
) -> bool:
    """Train a face detector.

    Every epoch ends with a checkpoint that is replaced atomically; a resumed run computes what an uninterrupted one does.

    Args:
        data: To learn from and to be measured on, every ``validate_every`` epochs.
        out: Folder for ``checkpoint.npz``, ``history.json`` and, at the end, ``model.keras`` and ``model.onnx``.
        recipe: None is ferkit's own.
        start: ``model.onnx`` of a detector with the recipe's ``model``, to go on from; None: from nothing.
        resume: Continue from ``out/checkpoint.npz`` if it is there.
        max_minutes: Stop cleanly after the epoch that passes this many minutes.
        log: Called with one line per epoch.

    Returns:
        True if the run has reached its end.

    Raises:
        WeightsError: ``start`` is of another network.
        InputError: ``out`` already holds a run and ``resume`` is False, or the checkpoint is of another recipe or of other data.
        DataError: No photo with a face.
    """
    recipe = recipe or load_detector_recipe()
    check_minutes(max_minutes)
    out = expanded(out)
    if not any((~photo.ignore).any() for photo in data.photos):
        raise DataError(f'None of {len(data.photos)} photos has a face to learn from; expected labels with "use": "pos".')
    check_folder(out, resume)
    out.mkdir(parents=True, exist_ok=True)
    clear_partials(out)
    keras.utils.set_random_seed(recipe.seed)
    checkpoint = out / "checkpoint.npz"
    with precision(recipe.precision):
        source = _Source(PhotoPool(data.photos), data.negatives, recipe)
        begin = None if checkpoint.exists() else start  # a checkpoint holds all that a run knows
        model = _compiled(recipe, begin, (pixels for pixels, _ in source.batches(recipe.epochs, 8)))
        state = RunState(model, recipe, checkpoint, max_minutes, out / "history.json", data=parts_of(data.photos, data.negatives))
        state.restore(log)
        if not _epochs(state, recipe, source, data.validation, log):
            return False
        final = source.averaged(model, min(100, recipe.steps))
        save_model(out / "model.keras", final)
        write_bytes(out / "model.onnx", checked_onnx(final, 64, 96))
        return True


def _epochs(
    state: RunState, recipe: DetectorRecipe, source: _Source, validation: list[AnnotatedPhoto] | None, log: Callable[[str], None]
) -> bool:
    """Train the epochs that are left; False if the time was over first."""
    model, asked = state.model, None
    while state.epoch < recipe.epochs:
        started, losses = time.monotonic(), []
        if asked is not recipe.stage_at(state.epoch):
            asked = recipe.stage_at(state.epoch)
            _ask(model, asked)
        for step, batch in enumerate(source.batches(state.epoch, recipe.steps), 1):
            losses.append(model.train_on_batch(*batch))
            finite(losses[-1], f"epoch {state.epoch + 1} of {recipe.epochs}, step {step} of {recipe.steps}")
        state.epoch += 1
        row: dict[str, float] = {"epoch": state.epoch, "loss": round(float(np.mean(losses)), 5)}
        row["learning_rate"] = float(ops.convert_to_numpy(model.optimizer.learning_rate))
        if validation and (state.epoch % recipe.validate_every == 0 or state.epoch == recipe.epochs):
            onnx = to_onnx(source.averaged(model, min(20, recipe.steps)))
            row["val_ap50"] = round(measure_ap50(onnx, validation), 5)
        row["seconds"] = round(time.monotonic() - started, 1)
        state.history.append(row)
        state.keep()
        shown = f"  AP50 {row['val_ap50']:.4f}" if "val_ap50" in row else ""
        log(f"epoch {state.epoch}/{recipe.epochs}  loss {row['loss']:.4f}{shown}  {row['seconds']:.0f} s  ({state.minutes:.1f} min)")
        if state.late(state.minutes):
            log(state.stopped(state.minutes))
            return False
    return True
