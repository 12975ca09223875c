"""Models of other projects: a bare .onnx, .keras, .h5 or .tflite file, told how to feed it and what its outputs mean."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..crops import CropGeometry, normalised
from ..errors import InputError, MissingExtraError, WeightsError
from ..image_files import expanded
from ..images import to_grey
from ..labels import FER7, LabelSet
from ..pickling import ByArguments

__all__ = ["SUFFIXES", "ModelFileClassifier"]

SUFFIXES = (".onnx", ".keras", ".h5", ".tflite")
_BATCH = 32

Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]


class ModelFileClassifier(ByArguments):
    """A network file as a classifier that ``evaluate`` measures. Nothing is guessed but what the file itself says.

    Args:
        path: A file ending in .onnx, .keras, .h5 or .tflite, with one picture input and one row of scores or probabilities out.
        labels: Class names in the order of its outputs; None is FER2013's order.
        input_size: Side of its square input, pixels; None reads it from the file.
        mean, std: The input is ``(pixel / 255 - mean) / std``.
        tta: None, or ``"flip"``.

    Raises:
        InputError: Another kind of file, an input that is no grey or RGB square, a wrong number of outputs, unknown tta.
        WeightsError: The file cannot be read.
        MissingExtraError: Its engine is not installed.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        labels: Sequence[str] | None = None,
        input_size: int | None = None,
        mean: float = 0.0,
        std: float = 1.0,
        tta: str | int | None = None,
    ) -> None:
        path = expanded(path)
        if path.suffix.lower() not in SUFFIXES:
            raise InputError(f"{path} ends in {path.suffix or 'nothing'}; expected one of {', '.join(SUFFIXES)}.")
        if not path.is_file():
            raise WeightsError(f"{path} does not exist; expected a model file ({', '.join(SUFFIXES)}).")
        if tta not in (None, "none", "flip"):
            raise InputError(f"tta={tta!r} for a bare model file; expected None or 'flip'.")
        if not std > 0:
            raise InputError(f"std={std}; expected a number above 0.")
        self.name, self.tta, self.crop = path.name, tta or "none", CropGeometry()
        self.labels = LabelSet("custom", tuple(labels)) if labels is not None else FER7
        self._mean, self._std = mean, std
        self._run, shape = _OPENERS[path.suffix.lower()](path)
        self._size, self._channels, self._first = _layout(path, shape, input_size)
        columns = self._run(self._batch(np.zeros((1, self._size, self._size, self._channels), np.uint8))).shape[1]
        if columns != len(self.labels):
            raise InputError(
                f"{path} answers {columns} numbers for {len(self.labels)} labels; name them in order: labels=['a', 'b', 'c'].",
                arguments=["labels"],
            )

    def prepare(self, crops: Any) -> NDArray[np.uint8]:
        """Return crops as the network's squares, uint8 ``(n, size, size)`` or ``(n, size, size, 3)``."""
        import cv2

        out = []
        for given in crops:
            crop = np.asarray(given)
            crop = to_grey(crop) if self._channels == 1 else np.repeat(crop[:, :, None], 3, axis=2) if crop.ndim == 2 else crop
            how = cv2.INTER_AREA if min(crop.shape[:2]) > self._size else cv2.INTER_LINEAR
            out.append(cv2.resize(crop, (self._size, self._size), interpolation=how))
        shape = (0, self._size, self._size) + ((3,) if self._channels == 3 else ())
        return np.asarray(out, np.uint8) if out else np.zeros(shape, np.uint8)

    def predict_proba(self, crops: Any) -> NDArray[np.float32]:
        """Return probabilities, float32 ``(n, k)``: the network's own rows if they are such, else their softmax."""
        faces = self.prepare(crops)
        faces = faces[..., None] if self._channels == 1 else faces
        views = [faces, faces[:, :, ::-1]] if self.tta == "flip" else [faces]
        rows = [[self._run(self._batch(view[i : i + _BATCH])) for i in range(0, len(view), _BATCH)] for view in views]
        if not len(faces):
            return np.zeros((0, len(self.labels)), np.float32)
        return np.asarray(np.mean([_as_probabilities(np.concatenate(parts)) for parts in rows], axis=0), np.float32)

    def _batch(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        batch = normalised(faces, {"mean": self._mean, "std": self._std})
        return np.ascontiguousarray(np.moveaxis(batch, -1, 1) if self._first else batch, np.float32)


def _as_probabilities(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    values = rows.astype(np.float64)
    if (values >= 0).all() and np.abs(values.sum(axis=1) - 1).max() < 1e-3:
        return values
    exp = np.exp(values - values.max(axis=1, keepdims=True))
    return np.asarray(exp / exp.sum(axis=1, keepdims=True))


def _layout(path: Path, shape: Sequence[Any], size: int | None) -> tuple[int, int, bool]:
    """Return side, channels, and whether the channels come first, from a shape of four with unknown entries as None."""
    known = [int(v) if isinstance(v, (int, np.integer)) and v > 0 else None for v in shape]
    if len(known) == 4:
        first = known[1] in (1, 3) and known[3] not in (1, 3)
        channels = known[1] if first else known[3]
        side = size or (known[2] if first else known[1])
        if channels in (1, 3) and side:
            return int(side), int(channels), first
    raise InputError(
        f"{path} takes {tuple(shape)}; expected one grey or RGB square. If only the side is open, give it as input_size.",
        arguments=["input_size"],
    )


def _open_onnx(path: Path) -> tuple[Run, Sequence[Any]]:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("onnxruntime", "onnxruntime", f"Measuring {path.name}") from error
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # the engine's errors share no root
        raise WeightsError(f"{path} is no network that onnxruntime can read: {error}") from error
    given = session.get_inputs()[0]
    return lambda batch: np.asarray(session.run(None, {given.name: batch})[0]).reshape(len(batch), -1), given.shape


def _open_keras(path: Path) -> tuple[Run, Sequence[Any]]:
    try:
        import keras
    except ImportError as error:
        raise MissingExtraError("keras", "train", f"Measuring {path.name}") from error
    try:
        model = keras.models.load_model(path, compile=False)
    except (ValueError, OSError, TypeError) as error:
        raise WeightsError(f"{path} is no network that Keras {keras.__version__} can read: {error}") from error

    def run(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        answer = model(batch, training=False)
        return np.asarray(keras.ops.convert_to_numpy(next(iter(answer.values())) if isinstance(answer, dict) else answer))

    return run, model.inputs[0].shape


def _open_tflite(path: Path) -> tuple[Run, Sequence[Any]]:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise MissingExtraError("ai-edge-litert", "train", f"Measuring {path.name}") from error
    try:
        interpreter = Interpreter(model_path=str(path))
    except ValueError as error:
        raise WeightsError(f"{path} is no network that LiteRT can read: {error}") from error
    given, answer = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    if given["dtype"] != np.float32:
        raise InputError(f"{path} takes {np.dtype(given['dtype']).name}; expected float32 (a network that is quantised inside is fine).")

    def run(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        interpreter.resize_tensor_input(given["index"], batch.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(given["index"], batch)
        interpreter.invoke()
        return np.asarray(interpreter.get_tensor(answer["index"])).reshape(len(batch), -1)

    return run, list(given.get("shape_signature", given["shape"]))


_OPENERS = {".onnx": _open_onnx, ".keras": _open_keras, ".h5": _open_keras, ".tflite": _open_tflite}
