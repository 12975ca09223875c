"""The training loop: a recipe and data in, a resumable run out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from ...classifiers.expression_classifier import ExpressionClassifier
from ...data.faces import Faces
from ...data.portraits import Portraits
from ...errors import DataError, InputError
from ...files import clear_partials
from ...image_files import expanded
from ...labels import CLASSES, FERPLUS8
from ...logits import log_softmax
from ..common.averaging import copy_averaged, settle
from ..common.checkpoint import load_weights, save_weights
from ..common.compiling import JIT
from ..common.keras_weights import load_keras, save_model
from ..common.listeners import Listeners, Step
from ..common.preflight import check_folder
from ..common.ranks import ALONE, Ranks
from ..common.run_folder import write_begun, write_curves, write_results
from ..common.runs import RunState, drawn_ahead, precision
from ..common.values import check_minutes, finite
from ..release.keras_to_onnx import to_onnx
from .answers import in_units, known_mean, loss_of, metric_of, soft_cross_entropy, validated
from .batches import Batches
from .distilling import Teacher, distillation_accuracy, distillation_loss
from .fused_normalisation import with_fused_normalisation
from .inputs import augmentation, fitted, normalise, prepare, unwatchable
from .networks import build_model
from .optimizer import best_epoch, learning_rate_after, make_optimizer, snapshot_steps, stops
from .photos import PhotoSource
from .product import PRODUCT, product_metric, with_product
from .reading import parts_of
from .recipe import Recipe
from .sharpness import sharpness_aware

__all__ = ["Run", "build_from_recipe", "compile_from_recipe", "fit", "predict_logits"]

_SHOWN = ("accuracy", "average_precision", "mae", "ccc")  # figures of an epoch's line, by the ends of their names
_BEST = "best.npz"  # the weights of the best epoch, where a recipe watches for it


@dataclass(frozen=True)
class Run:
    """The outcome of ``fit``.

    Attributes:
        recipe: As it was trained: without the heads that the data has no targets for.
        model: The network with its averaged (EMA) weights, float32, two or more heads as a dictionary of logits.
        history: One dictionary per epoch.
        finished: False if ``max_minutes`` stopped the run first.
        out: The run's folder.
    """

    recipe: Recipe
    model: keras.Model
    history: list[dict[str, float]]
    finished: bool
    out: Path


def compile_from_recipe(model: keras.Model, recipe: Recipe, steps_per_epoch: int) -> None:
    losses = {head.labels: loss_of(head) for head in recipe.heads}
    metrics = {head.labels: [metric_of(head)] for head in recipe.heads}
    if recipe.teacher:
        losses = dict.fromkeys(losses, distillation_loss(**recipe.teaching))
        accuracy = known_mean(distillation_accuracy) if recipe.joint else distillation_accuracy
        metrics = {name: [keras.metrics.MeanMetricWrapper(accuracy, name="accuracy")] for name in metrics}
    weights = {head.labels: head.weight for head in recipe.heads}
    if recipe.joint:
        losses[PRODUCT] = soft_cross_entropy
        metrics[PRODUCT] = [product_metric()]
        weights[PRODUCT] = float(recipe.photo_settings["weight"])
    model.compile(
        optimizer=make_optimizer(recipe, steps_per_epoch),
        loss=losses,
        loss_weights=weights,
        metrics=metrics,
        jit_compile=JIT,
    )
    model.optimizer.build(model.trainable_variables)


def _teacher(recipe: Recipe) -> Teacher | None:
    if not recipe.teacher:
        return None
    return Teacher(recipe.teacher.get("weights", ()), recipe.head_names, recipe.teaching["temperature"], recipe.precision, recipe.size)


def build_from_recipe(recipe: Recipe) -> keras.Model:
    options = {key: value for key, value in recipe.model.items() if key != "name"}
    outputs = {head.labels: len(head.label_set) for head in recipe.heads}
    model = build_model(recipe.model["name"], outputs, size=recipe.window, channels=recipe.channels, **options)
    side = model.input_shape[1]
    if side is not None and any(stage.size != side for stage in recipe.stages):
        raise InputError(
            f"Recipe {recipe.name!r}: architecture {recipe.model['name']!r} has a fixed input of {side} pixels, the window; "
            f"its stages train at {', '.join(str(stage.size) for stage in recipe.stages)}."
        )
    return model


def _begin_from(weights: str, model: keras.Model) -> None:
    """Give a network that was just built the values of trained weights with the same layers and heads."""
    trained = load_keras(weights, ExpressionClassifier(weights))
    shapes = [[tuple(w.shape) for w in network.weights] for network in (trained, model)]
    if shapes[0] != shapes[1] or sorted(trained.output_names) != sorted(model.output_names):
        raise InputError(
            f"A run cannot begin from {weights!r}: it is {trained.name!r} with {trained.count_params():,} parameters and outputs "
            f"{', '.join(trained.output_names)}; the recipe's network is {model.name!r} with {model.count_params():,} and "
            f"{', '.join(model.output_names)}. Give weights of the same network and heads as training.initial, or none."
        )
    model.set_weights(trained.get_weights())


def _averaged(model: keras.Model, recipe: Recipe) -> keras.Model:
    """Return a float32 copy of the model, uncompiled, with its EMA weights if the optimiser keeps any."""
    with precision("float32"):
        copy = build_from_recipe(recipe)
    copy_averaged(model, copy)
    return copy


def _settling(data: Faces, recipe: Recipe, batch_size: int = 256) -> Iterator[Any]:
    """Yield faces as prediction sees them: training's own are augmented and partly erased."""
    order = np.random.default_rng(recipe.seed).permutation(len(data))
    for number, start in enumerate(range(0, len(order) - batch_size + 1, batch_size) if len(order) >= batch_size else [0]):
        faces = prepare(data.images[order[start : start + batch_size]], recipe)
        yield normalise(faces[:, :, ::-1] if number % 2 else faces, recipe)


def predict_logits(model: keras.Model, images: NDArray[np.uint8], recipe: Recipe, batch_size: int = 256) -> dict[str, NDArray[np.float32]]:
    """Run the network on whole faces ``(n, H, W)`` uint8; returns ``{head: float32 (n, k)}``."""
    parts = []
    for start in range(0, len(images), batch_size):
        x = normalise(prepare(images[start : start + batch_size], recipe), recipe)
        parts.append({name: ops.convert_to_numpy(value) for name, value in model(x, training=False).items()})
    return {name: np.concatenate([part[name] for part in parts]).astype(np.float32) for name in parts[0]}


def _validate(model: keras.Model, faces: Faces, recipe: Recipe) -> dict[str, float]:
    """Measure an averaged model: ``val_loss``, cross-entropy alone on hard labels or votes, and each head's accuracy or figures."""
    scores, loss = dict[str, float](), 0.0
    logits = predict_logits(model, faces.images, recipe)
    for head in recipe.heads:
        if head.kind != CLASSES:
            cost, figures = validated(head, logits[head.labels], faces)
            loss, scores = loss + head.weight * cost, scores | figures
            continue
        name, own = head.labels, logits[head.labels].astype(np.float64)
        if name == FERPLUS8.name and faces.label_set.name != FERPLUS8.name:
            if faces.votes is None:
                continue
            keep, truth = faces.majority()
        else:
            keep, truth = np.ones(len(faces), bool), faces.labels
        scores[f"val_{name}_accuracy"] = float((own[keep].argmax(1) == truth[keep]).mean())
        target = faces.targets(name)
        costs = -(target * log_softmax(own)).sum(axis=1)
        loss += head.weight * float(costs.sum() / max(1.0, target.sum()))
    return {"val_loss": loss, **scores}


def fit(
    recipe: str | Path | Recipe,
    data: Faces,
    out: str | Path,
    *,
    validation: Faces | None = None,
    resume: bool = False,
    max_minutes: float | None = None,
    log: Callable[[str], None] | None = None,
    photos: Portraits | None = None,
    callbacks: Sequence[Any] = (),
    ranks: Ranks = ALONE,
) -> Run:
    """Train a recipe.

    Every epoch ends with a checkpoint that is replaced atomically. A run that was killed, at any moment, and is
    resumed computes the same weights as one that was not interrupted.

    Args:
        recipe: Name, TOML path or Recipe.
        data: The Training split.
        out: Folder for ``checkpoint.npz``, ``history.json``, ``results.csv``, ``recipe.toml`` as it was resolved, ``environment.json``, the
            ``snapshots`` that the recipe keeps and, at the end, ``model.keras`` and ``curves.png``.
        validation: PublicTest, measured every ``training.validate_every`` epochs with the averaged weights.
        resume: Continue from ``out/checkpoint.npz`` if it is there.
        max_minutes: Stop cleanly after the epoch that passes this many minutes.
        log: Called with one line per epoch; standard error by default.
        callbacks: Objects with methods of ``ferkit.train.Callback``, told of every step and epoch.
        photos: Portraits for a recipe with ``[photos]``, as ``ferkit.data.portraits.read_portraits`` reads them.
        ranks: The processes that train together, for those who start them themselves; ``ferkit.train.train(workers=...)`` does it.

    Raises:
        InputError: ``out`` already holds a run and ``resume`` is False, the checkpoint is of another recipe or
            of other data, or the recipe asks for what its architecture lacks.
        DataError: Fewer faces than one batch, labels that no head of the recipe has, or a recipe that watches a figure
            of the validation where there is none.
        WeightsError: A file cannot be written, for example on a full disk. The last checkpoint is kept.
    """
    told = Listeners(log, callbacks)
    check_minutes(max_minutes)
    recipe, data, validation = fitted(recipe, data, validation, photos, told)
    if len(data) < recipe.batch_size:
        raise DataError(
            f"{len(data)} faces are fewer than one batch of {recipe.batch_size}; give more, or a recipe with a smaller batch_size."
        )
    ranks.rows(recipe.batch_size)
    out = expanded(out)
    if ranks.first:
        check_folder(out, resume)
        out.mkdir(parents=True, exist_ok=True)
        clear_partials(out)
    keras.utils.set_random_seed(recipe.seed)
    with precision(recipe.precision):
        augment, teacher = augmentation(recipe, data.images.shape[1]), _teacher(recipe)
        source = None if photos is None or teacher is None else PhotoSource(photos, recipe, teacher)
        batches = partial(Batches, data, recipe, augment, teacher=teacher, photos=source, ranks=ranks)
        checkpoint = out / "checkpoint.npz"
        with ranks.together():
            model = _begun(recipe, None if checkpoint.exists() else recipe.training.get("initial"))
            compile_from_recipe(model, recipe, len(batches(epoch=0)))
            state = RunState(model, recipe, checkpoint, max_minutes, out / "history.json", data=parts_of(data, photos))
            if resume:
                state.restore(told.line)
        return _Training(state, recipe, data, validation, batches, ranks, told).run()


def _begun(recipe: Recipe, initial: str | None) -> keras.Model:
    """Return the network as a run begins with it, not compiled yet."""
    model = build_from_recipe(recipe)
    to_onnx(model, recipe.head_names, recipe.window)  # a layer that cannot be exported is told now, not after the last epoch
    if initial is not None:
        _begin_from(str(initial), model)
    model = with_fused_normalisation(model)
    model = with_product(model, recipe) if recipe.joint else model
    return sharpness_aware(model, float(recipe.optimizer["sam"])) if "sam" in recipe.optimizer else model


@dataclass(frozen=True)
class _Training:
    """A run on its way: what it knows, what it learns from, who works on it, and who hears of it."""

    state: RunState
    recipe: Recipe
    data: Faces
    validation: Faces | None
    batches: Callable[..., Batches]
    ranks: Ranks
    told: Listeners

    @property
    def out(self) -> Path:
        return self.state.checkpoint.parent

    def run(self) -> Run:
        """Train the epochs that are left, or as many as the time allows."""
        state, recipe, first = self.state, self.recipe, self.ranks.first
        if first:
            write_begun(self.out, recipe.to_dict())
        facts = {"name": recipe.name, "out": self.out, "recipe": recipe.to_dict(), "faces": len(self.data)}
        try:
            self.told.start({**facts, "epochs": recipe.epochs, "epoch": state.epoch})
            finished = self._epochs()
            model = self._final() if finished and first else _averaged(state.model, recipe)
            if first:
                write_curves(self.out, state.history)
            self.told.end(finished)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                self.told.line(f"Interrupted. {self.out} holds what was done up to the last whole epoch; resume=True goes on from there.")
            self.told.fail(error)
            raise
        return Run(recipe, model, state.history, finished, self.out)

    def _epochs(self) -> bool:
        """Return True once the last epoch is done, or nothing gets better; False if the time was over first."""
        state, watch = self.state, self.recipe.early_stopping
        while state.epoch < self.recipe.epochs and not stops(state.history, watch):
            minutes = self._epoch()
            self.told.line(_line(state.history[-1], self.recipe.epochs, minutes))
            self.told.epoch(state.history[-1])
            if state.late(minutes) and not stops(state.history, watch):
                self.told.line(state.stopped(minutes))
                return False
        return True

    def _epoch(self) -> float:
        """Train one epoch, and keep what came of it; returns the run's minutes, the same for every process."""
        state, recipe, model = self.state, self.recipe, self.state.model
        started = time.monotonic()
        if model.optimizer.weight_decay != recipe.weight_decay_at(state.epoch):
            model.optimizer.weight_decay = recipe.weight_decay_at(state.epoch)
            model.make_train_function(force=True)  # a compiled step keeps the number that it was made with
        if recipe.schedule == "constant":
            model.optimizer.learning_rate = learning_rate_after(state.history, recipe)
        steps = _train_epoch(model, recipe, self.batches(epoch=state.epoch), self.out, self.told)
        row: dict[str, float] = {"epoch": state.epoch + 1, "size": recipe.size_at(state.epoch)}
        row |= {name: round(float(np.mean([logs[name] for logs in steps])), 5) for name in steps[0]}
        row["learning_rate"] = float(ops.convert_to_numpy(model.optimizer.learning_rate))
        state.epoch += 1
        averaged, every = None, int(recipe.training.get("validate_every", 1))
        if self.validation is not None and (state.epoch % every == 0 or state.epoch == recipe.epochs):
            averaged = _averaged(model, recipe)
            row |= {name: round(value, 5) for name, value in _validate(averaged, self.validation, recipe).items()}
        row["seconds"] = round(time.monotonic() - started, 1)
        self._check_watched(row, measured=averaged is not None)
        row = self.ranks.agreed(row | {"minutes": state.minutes})
        minutes = float(row.pop("minutes"))
        state.history.append(row)
        if self.ranks.first:
            # Before the checkpoint: a run killed in between repeats the epoch and writes the same file again.
            if self._restores and best_epoch(state.history, recipe.early_stopping) == state.epoch:
                save_weights(self.out / _BEST, averaged if averaged is not None else _averaged(model, recipe))
            state.keep()
            write_results(self.out, state.history)
        return minutes

    def _check_watched(self, row: Mapping[str, float], measured: bool) -> None:
        """Refuse to watch a figure that no epoch has: the run would never stop, or keep no best. Raises InputError."""
        for watch in (self.recipe.early_stopping, self.recipe.plateau):
            name = watch.get("monitor", "val_loss")
            if watch and name not in row and (measured or not name.startswith("val_")):
                raise unwatchable(self.recipe, name, row)

    @property
    def _restores(self) -> bool:
        watch = self.recipe.early_stopping
        return bool(watch.get("restore_best", bool(watch)))

    def _final(self) -> keras.Model:
        """Return the network that the run came to, and write it."""
        recipe, watch = self.recipe, self.recipe.early_stopping
        final = _averaged(self.state.model, recipe)
        if self._restores and (self.out / _BEST).exists():
            load_weights(self.out / _BEST, final)
            best = best_epoch(self.state.history, watch)
            self.told.line(f"The weights are those of epoch {best} of {self.state.epoch}, the best by {watch.get('monitor', 'val_loss')}.")
        self.state.write_history()  # a full disk may have kept an older one
        if recipe.training.get("settle"):
            settle(final, _settling(self.data, recipe))
        in_units(final, recipe.heads)
        save_model(self.out / "model.keras", final)
        return final


def _train_epoch(model: keras.Model, recipe: Recipe, batches: Batches, out: Path, told: Listeners) -> list[dict[str, float]]:
    """Step through one epoch, keeping the recipe's snapshots on the way; returns the metrics of every step."""
    # Not model.fit: on TensorFlow it draws batches inside its own thread pool, where the augmentation's operations
    # can wait for a free thread for ever (seen on two cores). A thread of our own is in nobody's pool.
    kept = set(snapshot_steps(recipe, len(batches)))
    logs = []
    for step, batch in enumerate(drawn_ahead(batches.__getitem__, len(batches))):
        with batches.ranks.together():
            logs.append(model.train_on_batch(*batch, return_dict=True))
        finite(logs[-1]["loss"], f"epoch {batches.epoch + 1} of {recipe.epochs}, step {step + 1} of {len(batches)}")
        told.step(Step(batches.epoch + 1, recipe.epochs, step + 1, len(batches), batches.own, logs[-1]))
        done = batches.epoch * len(batches) + step + 1
        if done in kept and batches.ranks.first:
            save_weights(snapshot_path(out, done), _averaged(model, recipe))
    return logs


def snapshot_path(out: Path, step: int) -> Path:
    """Return where a run's weights after a number of steps are kept."""
    return out / "snapshots" / f"{step:07d}.npz"


def _line(row: Mapping[str, float], epochs: int, minutes: float) -> str:
    shown = "  ".join(f"{k} {v:.4f}" for k, v in row.items() if k == "loss" or k.endswith(_SHOWN))
    return f"epoch {row['epoch']}/{epochs}  {row['size']} px  {shown}  {row['seconds']:.0f} s  ({minutes:.1f} min)"
