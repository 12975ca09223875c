"""Augmentation as one backend-neutral Keras layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import keras
from keras import ops

from ...errors import InputError

__all__ = ["AugmentOptions", "FaceAugmentation"]


@dataclass(frozen=True)
class AugmentOptions:
    """How far ``FaceAugmentation`` goes.

    Attributes:
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
    """

    crop: int = 44
    rotation: float = 0.2
    scale: tuple[float, float] = (0.88, 1.15)
    shift: float = 3.0
    flip: float = 0.5
    brightness: float = 0.1
    contrast: float = 0.2
    erase: float = 0.4
    erase_area: tuple[float, float] = (0.02, 0.2)
    shear: float = 0.0
    gain: tuple[float, float] = (1.0, 1.0)
    fill: str = "reflect"
    degrade: float = 0.0
    blur: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        if self.fill not in _FILLS:
            raise InputError(f"Unknown fill {self.fill!r} of the augmentation; expected one of {', '.join(_FILLS)}.")
        for name in ("scale", "erase_area", "gain"):  # a recipe and a stored configuration have lists
            object.__setattr__(self, name, tuple(getattr(self, name)))


class _Draws:
    """Random numbers ``(n, columns)``, 0-1, of a whole batch: a row for each face.

    Functions are computed for the whole batch, and ``own`` keeps what the rows are due: the last ones of an array may come out otherwise
    in the last bit, since processors compute several at once, and the remainder one by one.
    """

    def __init__(self, values: Any, rows: Any) -> None:
        self.values, self._rows = values, rows

    def signed(self, column: int) -> Any:
        return 2.0 * self.values[:, column, None] - 1.0

    def between(self, column: int, low: float, high: float) -> Any:
        return low + (high - low) * self.values[:, column, None]

    def chosen(self, column: int, probability: float) -> Any:
        return self.values[:, column, None] < probability

    def own(self, values: Any) -> Any:
        return values if self._rows is None else ops.take(values, self._rows, axis=0)


@keras.saving.register_keras_serializable(package="ferkit")
class FaceAugmentation(keras.layers.Layer):
    """Random affine transform, flip, blur, brightness, contrast, noise and erasing, in a single resampling.

    The face is read once, bilinearly, with reflected or repeated borders, so that no augmentation invents black pixels
    and no two interpolations blur in turn.

    Args:
        seed: Used when ``call`` is given no seed.
        options: Of ``AugmentOptions``, by name, and Keras's own.
    """

    def __init__(self, seed: int = 0, **options: Any) -> None:
        own = {field.name: options.pop(field.name) for field in fields(AugmentOptions) if field.name in options}
        super().__init__(dtype=options.pop("dtype", "float32"), **options)
        self.options, self.seed = AugmentOptions(**own), seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **vars(self.options), "seed": self.seed}

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (input_shape[0], self.options.crop, self.options.crop, 3 if len(input_shape) == 4 and input_shape[-1] == 3 else 1)

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
        drawn_for, side, options = int(faces.shape[0]), size or self.options.crop, self.options
        faces = ops.convert_to_tensor(faces if rows is None else ops.take(faces, rows, axis=0), "float32")

        def drawn(draw: Callable[..., Any], columns: int, salt: int) -> _Draws:
            return _Draws(draw((drawn_for, columns), seed=self.seed_generator if seed is None else seed ^ salt), rows)

        draw = drawn(keras.random.uniform, 12, 0)
        axis = (ops.arange(side, dtype="float32") + 0.5) * (options.crop / side) - options.crop / 2
        y = ops.reshape(ops.repeat(axis, side), (1, -1))
        x = ops.reshape(ops.tile(axis, (side,)), (1, -1))
        # What came later is drawn apart, so that recipes without it keep the random numbers that they were trained with.
        more = drawn(keras.random.uniform, 2, 1) if options.shear or options.gain != (1.0, 1.0) else None
        planes = self._warped(faces, x, y, draw, more)  # one for grey, three in color
        degraded = drawn(keras.random.uniform, 3, 2) if options.degrade else None
        if degraded is not None:  # a lens blurs before a sensor adds its noise
            sigma = ops.where(degraded.chosen(0, options.degrade)[:, 0], options.blur * degraded.values[:, 1], 0.0) * (side / options.crop)
            kernels = draw.own(_gaussians(sigma))
            planes = [ops.reshape(_blurred(ops.reshape(plane, (-1, side, side)), kernels), (-1, side * side)) for plane in planes]
        means = [ops.mean(plane, axis=1, keepdims=True) for plane in planes]
        planes = self._lit(planes, means, draw, more)
        if degraded is not None:
            deviation = ops.where(degraded.chosen(0, options.degrade), options.noise * degraded.between(2, 0.0, 1.0), 0.0)
            grains = [drawn(keras.random.normal, side * side, 3 + 4 * k) for k in range(len(planes))]
            planes = [plane + draw.own(deviation) * grain.own(grain.values) for plane, grain in zip(planes, grains, strict=True)]
        hidden = self._erased(x, y, draw)
        planes = [ops.clip(ops.where(hidden, own, plane), 0.0, 255.0) for own, plane in zip(means, planes, strict=True)]
        return ops.stack([ops.reshape(plane, (-1, side, side)) for plane in planes], axis=-1)

    def _warped(self, faces: Any, x: Any, y: Any, draw: _Draws, more: _Draws | None) -> list[Any]:
        """Sample faces at the places ``x, y`` ``(1, m)`` of the window, turned, zoomed, mirrored, sheared and shifted; ``(n, m)`` a channel."""
        options = self.options
        n, height, width = faces.shape[:3]
        angle = options.rotation * draw.signed(0)
        step = 1.0 / draw.between(1, *options.scale)
        mirror = draw.own(1.0 - 2.0 * ops.cast(draw.chosen(2, options.flip), "float32"))
        cos, sin = draw.own(ops.cos(angle) * step), draw.own(ops.sin(angle) * step)
        sheared = x if more is None else x + y * draw.own(ops.tan(options.shear * more.signed(0)))
        source_x = mirror * (cos * sheared - sin * y) + (width - 1) / 2 + draw.own(options.shift * draw.signed(3))
        source_y = sin * sheared + cos * y + (height - 1) / 2 + draw.own(options.shift * draw.signed(4))
        fill = _FILLS[options.fill]
        at_x, at_y = fill(source_x, width), fill(source_y, height)
        channels = [faces[..., k] for k in range(3)] if len(faces.shape) == 4 and faces.shape[-1] == 3 else [faces]
        return [_bilinear(ops.reshape(channel, (n, height * width)), at_x, at_y, height, width) for channel in channels]

    def _lit(self, planes: list[Any], means: list[Any], draw: _Draws, more: _Draws | None) -> list[Any]:
        """Change contrast, light and gain."""
        options = self.options
        mean = means[0] if len(means) == 1 else sum(means) / len(means)
        contrast, light = draw.own(1.0 + options.contrast * draw.signed(5)), draw.own(255.0 * options.brightness * draw.signed(6))
        factor = 1.0 if more is None else draw.own(more.between(1, *options.gain))
        return [(mean + (plane - mean) * contrast + light) * factor for plane in planes]

    def _erased(self, x: Any, y: Any, draw: _Draws) -> Any:
        """Return which places of each face are covered, ``(n, m)``."""
        crop = self.options.crop
        area = draw.between(8, *self.options.erase_area)
        aspect = ops.exp(draw.signed(9))  # from 1/e to e
        half_w, half_h = draw.own(ops.sqrt(area * aspect) * crop / 2), draw.own(ops.sqrt(area / aspect) * crop / 2)
        centre_x, centre_y = draw.own(draw.signed(10) * crop / 2), draw.own(draw.signed(7) * crop / 2)
        inside = ops.logical_and(ops.abs(x - centre_x) < half_w, ops.abs(y - centre_y) < half_h)
        return ops.logical_and(inside, draw.own(draw.chosen(11, self.options.erase)))


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
