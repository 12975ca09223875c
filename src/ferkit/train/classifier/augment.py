"""Augmentation as one backend-neutral Keras layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from ...errors import InputError

__all__ = ["FaceAugmentation"]


@keras.saving.register_keras_serializable(package="ferkit")
class FaceAugmentation(keras.layers.Layer):
    """Random affine transform, flip, blur, brightness, contrast, noise and erasing, in a single resampling.

    The face is read once, bilinearly, with reflected or repeated borders, so that no augmentation invents black pixels
    and no two interpolations blur in turn.

    Args:
        crop: Side of the source window in pixels; the window is centred before the random shift.
        rotation: Largest rotation either way, radians.
        scale: Range of the magnification (1 keeps the size, above 1 enlarges the face).
        shift: Largest shift either way along each axis, source pixels.
        flip: Probability of mirroring left and right.
        brightness: Largest additive change, as a fraction of the full range.
        contrast: Largest relative change of the deviation from the image's mean.
        erase: Probability of covering one random box, filled with the image's mean
            (Zhong et al., "Random Erasing Data Augmentation", AAAI 2020).
        erase_area: Range of the box's share of the area.
        shear: Largest shear angle either way, radians.
        gain: Range of a factor on all pixel values.
        fill: What lies outside the face: ``"reflect"``, or ``"nearest"``, which repeats the border.
        degrade: Probability that a face is blurred and gets noise.
        blur: Largest standard deviation of the Gaussian blur, source pixels; each degraded face draws its own.
        noise: Largest standard deviation of the Gaussian noise, grey levels; each degraded face draws its own.
        seed: Used when ``call`` is given no seed.
    """

    def __init__(
        self,
        crop: int = 44,
        rotation: float = 0.2,
        scale: tuple[float, float] = (0.88, 1.15),
        shift: float = 3.0,
        flip: float = 0.5,
        brightness: float = 0.1,
        contrast: float = 0.2,
        erase: float = 0.4,
        erase_area: tuple[float, float] = (0.02, 0.2),
        shear: float = 0.0,
        gain: tuple[float, float] = (1.0, 1.0),
        fill: str = "reflect",
        degrade: float = 0.0,
        blur: float = 0.0,
        noise: float = 0.0,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        if fill not in _FILLS:
            raise InputError(f"Unknown fill {fill!r} of the augmentation; expected one of {', '.join(_FILLS)}.")
        super().__init__(dtype=kwargs.pop("dtype", "float32"), **kwargs)
        self.crop, self.rotation, self.scale, self.shift, self.flip = crop, rotation, tuple(scale), shift, flip
        self.brightness, self.contrast, self.erase, self.erase_area = brightness, contrast, erase, tuple(erase_area)
        self.shear, self.gain, self.fill = shear, tuple(gain), fill
        self.degrade, self.blur, self.noise = degrade, blur, noise
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def get_config(self) -> dict[str, Any]:
        names = (
            "crop",
            "rotation",
            "scale",
            "shift",
            "flip",
            "brightness",
            "contrast",
            "erase",
            "erase_area",
            "shear",
            "gain",
            "fill",
            "degrade",
            "blur",
            "noise",
            "seed",
        )
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (input_shape[0], self.crop, self.crop, 3 if len(input_shape) == 4 and input_shape[-1] == 3 else 1)

    def call(self, faces: Any, size: int | None = None, seed: int | None = None, rows: Any = None) -> Any:
        """Augment a batch.

        Args:
            faces: ``(n, H, W)``, ``(n, H, W, 1)`` or, in color, ``(n, H, W, 3)``, values 0-255.
            size: Side of the output; the crop's own side by default.
            seed: Makes the draw a pure function of the arguments, which is what lets a run resume exactly.
            rows: Which of the batch's faces to work on, row numbers: their numbers are those that they have in the
                whole batch, the others cost no more than the drawing. None is all.

        Returns:
            float32 ``(n, size, size, 1)``, in color ``(n, size, size, 3)``, values 0-255; of ``rows`` alone where they are given.
        """
        drawn_for = int(faces.shape[0])
        faces = ops.convert_to_tensor(faces if rows is None else ops.take(faces, rows, axis=0), "float32")
        n, height, width = faces.shape[:3]
        size = size or self.crop
        channels = 3 if len(faces.shape) == 4 and faces.shape[-1] == 3 else 1
        flats = [ops.reshape(faces if channels == 1 else faces[..., k], (n, height * width)) for k in range(channels)]

        def drawn(draw: Callable[..., Any], columns: int, salt: int) -> Any:
            return draw((drawn_for, columns), seed=self.seed_generator if seed is None else seed ^ salt)

        def own(values: Any) -> Any:
            """Keep what the rows are due. Functions are computed for the whole batch first: the last ones of an array may come
            out otherwise in the last bit, since processors compute several at once, and the remainder one by one."""
            return values if rows is None else ops.take(values, rows, axis=0)

        draw = drawn(keras.random.uniform, 12, 0)

        def signed(column: int) -> Any:
            return 2.0 * draw[:, column, None] - 1.0

        def between(column: int, low: float, high: float) -> Any:
            return low + (high - low) * draw[:, column, None]

        angle = self.rotation * signed(0)
        step = 1.0 / between(1, *self.scale)
        mirror = own(1.0 - 2.0 * ops.cast(draw[:, 2, None] < self.flip, "float32"))
        cos, sin = own(ops.cos(angle) * step), own(ops.sin(angle) * step)

        axis = (ops.arange(size, dtype="float32") + 0.5) * (self.crop / size) - self.crop / 2
        y = ops.reshape(ops.repeat(axis, size), (1, -1))
        x = ops.reshape(ops.tile(axis, (size,)), (1, -1))
        sheared, factor = x, 1.0
        if self.shear or self.gain != (1.0, 1.0):
            # Drawn apart, so that recipes without these keep the random numbers that they were trained with.
            more = drawn(keras.random.uniform, 2, 1)
            sheared = x + y * own(ops.tan(self.shear * (2.0 * more[:, 0, None] - 1.0)))
            factor = own(self.gain[0] + (self.gain[1] - self.gain[0]) * more[:, 1, None])
        source_x = mirror * (cos * sheared - sin * y) + (width - 1) / 2 + own(self.shift * signed(3))
        source_y = sin * sheared + cos * y + (height - 1) / 2 + own(self.shift * signed(4))
        at_x, at_y = _FILLS[self.fill](source_x, width), _FILLS[self.fill](source_y, height)
        planes = [_bilinear(flat, at_x, at_y, height, width) for flat in flats]
        degraded = None
        if self.degrade:
            # Drawn apart too. A lens blurs before a sensor adds its noise.
            degraded = drawn(keras.random.uniform, 3, 2)
            sigma = ops.where(degraded[:, 0] < self.degrade, self.blur * degraded[:, 1], 0.0) * (size / self.crop)
            kernels = own(_gaussians(sigma))
            planes = [ops.reshape(_blurred(ops.reshape(plane, (n, size, size)), kernels), (n, size * size)) for plane in planes]

        means = [ops.mean(plane, axis=1, keepdims=True) for plane in planes]
        mean = means[0] if channels == 1 else sum(means) / channels
        contrast, light = own(1.0 + self.contrast * signed(5)), own(255.0 * self.brightness * signed(6))
        planes = [(mean + (plane - mean) * contrast + light) * factor for plane in planes]
        if degraded is not None:
            deviation = own(ops.where(degraded[:, 0] < self.degrade, self.noise * degraded[:, 2], 0.0))[:, None]
            grains = [own(drawn(keras.random.normal, size * size, 3 + 4 * k)) for k in range(channels)]
            planes = [plane + deviation * grain for plane, grain in zip(planes, grains, strict=True)]

        area = between(8, *self.erase_area)
        aspect = ops.exp(signed(9))  # from 1/e to e
        half_w, half_h = own(ops.sqrt(area * aspect) * self.crop / 2), own(ops.sqrt(area / aspect) * self.crop / 2)
        centre_x, centre_y = own(signed(10) * self.crop / 2), own(signed(7) * self.crop / 2)
        inside = ops.logical_and(ops.abs(x - centre_x) < half_w, ops.abs(y - centre_y) < half_h)
        hidden = ops.logical_and(inside, own(draw[:, 11, None] < self.erase))
        planes = [
            ops.reshape(ops.clip(ops.where(hidden, middle, plane), 0.0, 255.0), (n, size, size))
            for middle, plane in zip(means, planes, strict=True)
        ]
        return ops.stack(planes, axis=-1)


def _reflect(coordinate: Any, length: int) -> Any:
    last = float(length - 1)
    return ops.clip(last - ops.abs(last - ops.abs(coordinate)), 0.0, last)


def _nearest(coordinate: Any, length: int) -> Any:
    return ops.clip(coordinate, 0.0, float(length - 1))


_TAPS = 3  # either way: beyond, a Gaussian of one pixel has less than a hundredth of its height


def _gaussians(sigma: Any) -> Any:
    """Return the weights ``(n, 2 * _TAPS + 1)`` of Gaussians of ``sigma`` (n), pixels; one of 0 leaves a face as it is."""
    offsets = ops.arange(-_TAPS, _TAPS + 1, dtype="float32")
    kernel = ops.exp(-0.5 * (offsets[None] / ops.maximum(sigma, 1e-3)[:, None]) ** 2)
    return kernel / ops.sum(kernel, axis=1, keepdims=True)


def _blurred(faces: Any, kernel: Any) -> Any:
    """Blur faces ``(n, S, S)``, each with weights of its own ``(n, 2 * _TAPS + 1)``; borders are reflected."""
    side = faces.shape[1]
    padded = ops.pad(faces, ((0, 0), (_TAPS, _TAPS), (_TAPS, _TAPS)), mode="reflect")
    rows = sum(kernel[:, k, None, None] * padded[:, k : k + side] for k in range(2 * _TAPS + 1))
    return sum(kernel[:, k, None, None] * rows[:, :, k : k + side] for k in range(2 * _TAPS + 1))


_FILLS = {"reflect": _reflect, "nearest": _nearest}


def _bilinear(flat: Any, x: Any, y: Any, height: int, width: int) -> Any:
    """Sample ``flat`` (n, H*W) at pixel coordinates ``x, y`` (n, m) inside it; pixel centres are whole numbers."""
    x0, y0 = ops.floor(x), ops.floor(y)
    fx, fy = x - x0, y - y0
    x0, y0 = ops.cast(x0, "int32"), ops.cast(y0, "int32")
    x1, y1 = ops.minimum(x0 + 1, width - 1), ops.minimum(y0 + 1, height - 1)
    pixels = ops.reshape(flat, (-1,))
    base = ops.arange(flat.shape[0], dtype="int32")[:, None] * (height * width)

    def at(row: Any, column: Any) -> Any:
        return ops.take(pixels, base + row * width + column)

    top = at(y0, x0) * (1.0 - fx) + at(y0, x1) * fx
    bottom = at(y1, x0) * (1.0 - fx) + at(y1, x1) * fx
    return top * (1.0 - fy) + bottom * fy
