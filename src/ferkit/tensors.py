"""Arrays of other makers: tensors as NumPy arrays, and one image told from many."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import InputError

__all__ = ["is_one_image", "many", "to_array"]

_CHANNELS = (1, 3, 4)


def to_array(value: Any) -> NDArray[Any] | None:
    """Return an array as it is, and a tensor (torch, TensorFlow, JAX, ...) as an array, channels last; None for anything else.

    Raises:
        InputError: The tensor cannot be read from here, for example because it is on a GPU.
    """
    if isinstance(value, np.ndarray):
        return np.asarray(value)  # of a subclass its plain array: a matrix would stay flat, whatever is asked of it
    if isinstance(value, (str, bytes)) or not any(hasattr(value, name) for name in ("__array__", "__array_interface__", "__dlpack__")):
        return None
    try:
        array = np.asarray(value) if hasattr(value, "__array__") or hasattr(value, "__array_interface__") else np.from_dlpack(value)
    except Exception as error:  # every library raises its own
        raise InputError(
            f"{type(value).__name__} cannot be read as an array ({error}); give an array, for torch: tensor.detach().cpu().numpy()"
        ) from error
    # Torch alone has channels first by convention; a numpy array of that shape is left to its owner.
    if _is_torch(value) and array.ndim == 3 and array.shape[0] in _CHANNELS and array.shape[2] not in _CHANNELS:
        array = np.moveaxis(array, 0, -1)
    return array


def many(values: Any) -> Any:
    """Return what holds many images as something to iterate over: what only NumPy can read, as an array; all else as it is."""
    array = None if isinstance(values, Iterable) else to_array(values)
    return values if array is None else array


def _is_torch(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "torch"


def is_one_image(value: Any) -> bool:
    """Return True for what is one image where many are expected: to iterate over it would give its rows, lines or bytes."""
    if isinstance(value, (str, bytes, bytearray, memoryview, os.PathLike)) or callable(getattr(value, "read", None)):
        return True
    shape = getattr(value, "shape", None)
    if shape is None:
        from PIL import Image

        return isinstance(value, Image.Image)
    shape = tuple(shape)
    # (n, H, W) are n grey images, unless the last axis can only be channels; of torch, the first can.
    one = len(shape) == 3 and (shape[2] in _CHANNELS or (_is_torch(value) and shape[0] in _CHANNELS))
    return len(shape) in (0, 2) or one
