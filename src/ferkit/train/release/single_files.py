"""Weights as single files for other runtimes, with the preprocessing inside: uint8 pictures in, probabilities out.

A file answers what :class:`ferkit.ExpressionClassifier` answers for one view. Both formats compute the same arithmetic:
grey by ITU-R 601, resizing to the network's face (averaging areas when shrinking, else bilinear) as two products with
matrices that depend on the picture's size alone, the middle window, normalisation, the network, its label set's mixture
and temperature, a softmax.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...classifiers.expression_classifier import ExpressionClassifier
from ...crops import normalised_by
from ...errors import FerkitError, InputError, MissingExtraError
from ...files import writable, write_bytes, write_json
from ...image_files import expanded
from ...weights.store import read_verified, resolve
from .golden import LUMA, patterns

__all__ = ["FORMATS", "check", "export"]

FORMATS = {"onnx": ".onnx", "litert": ".tflite"}
# Of probabilities. OpenCV resizes bytes with 11-bit weights and rounds; a grey level of difference moves them this much at most.
TOLERANCE = 0.02
_SIZES = ((48, 48), (64, 64), (120, 100), (40, 30))  # of the golden pictures: as they are, shrunk, not square, enlarged
_UNDERSTOOD = {"size", "window", "channels", "layout", "mean", "std", "interpolation", "standardise"}


def export(
    weights: str | os.PathLike[str] | None, out: str | Path, formats: tuple[str, ...] = ("onnx", "litert"), labels: str | None = None
) -> list[Path]:
    """Write weights as single files.

    Args:
        weights: As :class:`ferkit.ExpressionClassifier` takes them.
        out: Folder. It gets ``NAME.onnx`` and ``NAME.tflite``, ``NAME.golden.npz`` with pictures and ferkit's answers to
            them, and ``NAME.json`` with the labels and what goes in and out.
        formats: Of ``"onnx"`` and ``"litert"``; the latter needs TensorFlow and the weights' ``model.keras``.
        labels: Which of the weights' label sets to answer in.

    Returns:
        The files of the networks. Input ``image``: uint8 ``(n, H, W, 3)``, RGB face crops of any size (repeat a grey one three
        times). Outputs: ``logits``, float32 ``(n, k)``, calibrated, and ``probabilities``, their softmax.

    Raises:
        InputError: Unknown format or labels, another Keras backend, or weights whose preprocessing is not of this kind.
        WeightsError: The weights cannot be found, or are damaged.
        MissingExtraError: onnx or TensorFlow is not installed.
    """
    out = expanded(out)
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise InputError(f"Unknown export format {', '.join(unknown) or 'none'}; expected {' or '.join(FORMATS)}.")
    writable(out, 50 << 20)
    classifier = ExpressionClassifier(weights, labels=labels)
    extra = set(classifier.spec.input) - _UNDERSTOOD
    if extra:
        raise InputError(f"Weights {classifier.name!r} prepare faces with {', '.join(sorted(extra))}, which exports do not know.")
    made = {name: (_onnx if name == "onnx" else _litert)(weights, classifier) for name in formats}  # all or none
    out.mkdir(parents=True, exist_ok=True)
    written = [write_bytes(out / (classifier.name + FORMATS[name]), data) for name, data in made.items()]
    answers: dict[str, Any] = {}
    for height, width in _SIZES:
        pictures = patterns(6, height, width)
        answers |= {f"images_{height}x{width}": pictures, f"probabilities_{height}x{width}": classifier.predict_proba(pictures)}
    np.savez_compressed(out / f"{classifier.name}.golden.npz", allow_pickle=False, **answers)
    about = {
        "weights": classifier.name,
        "labels": list(classifier.labels),
        "input": {"name": "image", "dtype": "uint8", "shape": ["n", "height", "width", 3], "colour": "RGB", "range": [0, 255]},
        "outputs": {name: {"dtype": "float32", "shape": ["n", len(classifier.labels)]} for name in ("logits", "probabilities")},
        "crop": classifier.crop.to_dict(),
        "licence": classifier.spec.licence,
    }
    write_json(out / f"{classifier.name}.json", about)
    return written


def check(files: list[Path]) -> dict[str, float | None]:
    """Run exported files on the golden pictures beside them.

    Returns:
        ``{"FILE, ENGINE": largest difference of a probability from ferkit's own}``; None where an engine lacks an operation.

    Raises:
        MissingExtraError: onnxruntime or ai-edge-litert is not installed.
        FerkitError: An engine's answer differs by more than 0.02.
    """
    found: dict[str, float | None] = {}
    for path in files:
        with np.load(path.with_name(f"{path.stem}.golden.npz")) as golden:
            for engine, opened in _ENGINES[path.suffix].items():
                key = f"{path.name}, {engine}"
                try:
                    run = opened(path)
                    pairs = [(run(golden[k]), golden[k.replace("images", "probabilities")]) for k in golden.files if k.startswith("images")]
                except _UnreadableError:
                    found[key] = None
                    continue
                found[key] = max(float(np.abs(answer - expected).max()) for answer, expected in pairs)
    wrong = [f"{key} by {worst:.4f}" for key, worst in found.items() if worst is not None and not worst <= TOLERANCE]
    if wrong:
        raise FerkitError(f"Exports disagree with ferkit's own answers: {'; '.join(wrong)}; at most {TOLERANCE} is allowed.")
    return found


class _UnreadableError(Exception):
    """An engine that has not all of the file's operations."""


def _onnx(weights: Any, classifier: ExpressionClassifier) -> bytes:
    try:
        from .onnx_graph import with_preprocessing
    except ImportError as error:
        raise MissingExtraError("onnx", "train", "Exporting to ONNX") from error
    spec = classifier.spec
    return with_preprocessing(read_verified(resolve(weights), spec), spec.input, np.asarray(classifier.mix, np.float32))


def _litert(weights: Any, classifier: ExpressionClassifier) -> bytes:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        import keras
        import tensorflow as tf
    except ImportError as error:
        raise MissingExtraError("tensorflow", "train", "Exporting to LiteRT") from error
    if keras.backend.backend() != "tensorflow":
        raise InputError(f"LiteRT is exported by TensorFlow; Keras runs on {keras.backend.backend()}. Unset KERAS_BACKEND.")
    from ..common.keras_weights import head_names, load_keras

    spec = classifier.spec
    network = load_keras(weights, classifier)
    heads = head_names(classifier)
    size, window = int(spec.input["size"]), int(spec.input.get("window", spec.input["size"]))
    offset = (size - window) // 2
    mix = classifier.mix.astype(np.float32)

    def resizing(length: Any, shrink: Any) -> Any:
        step = length / size
        row, column = tf.range(size, dtype=tf.float32)[:, None], tf.range(length)[None]
        areas = tf.maximum(0.0, tf.minimum(column + 1, (row + 1) * step) - tf.maximum(column, row * step)) / step
        middle = tf.minimum(tf.maximum((row + 0.5) * step - 0.5, 0.0), length - 1)
        return tf.where(shrink, areas, tf.maximum(0.0, 1.0 - tf.abs(middle - column)))

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, name="image")])
    def answer(image: Any) -> dict[str, Any]:
        grey = tf.floor(tf.reduce_sum(tf.cast(image, tf.float32) * tf.constant(LUMA), axis=-1) + 0.5)
        lengths = tf.cast(tf.shape(image)[1:3], tf.float32)
        shrink = tf.reduce_min(lengths) > float(size)
        tall = tf.einsum("sh,nhw->nsw", resizing(lengths[0], shrink), grey)
        face = tf.floor(tf.einsum("nsw,tw->nst", tall, resizing(lengths[1], shrink)) + 0.5)
        seen = tf.ensure_shape(face[:, offset : offset + window, offset : offset + window, None], [None, window, window, 1])
        seen = normalised_by(keras.ops, seen, spec.input)
        raw = network(seen, training=False)
        logits = tf.matmul(tf.concat([raw[name] for name in heads], axis=1), mix)
        return {"logits": logits, "probabilities": tf.nn.softmax(logits)}

    # By way of a saved model: a concrete function alone loses the values of Keras 3's variables, and answers NaN.
    module = tf.Module()
    module.answer, module.kept = answer, [variable.value for variable in network.variables]
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures={"serving_default": answer})
        return bytes(tf.lite.TFLiteConverter.from_saved_model(folder).convert())


def _open_onnxruntime(path: Path) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("onnxruntime", "onnxruntime", "Checking an ONNX export") from error
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda images: np.asarray(session.run(["probabilities"], {"image": images})[0])


def _open_opencv(path: Path) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    import cv2

    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # what it cannot read is an answer here, no error
    try:
        network = cv2.dnn.readNetFromONNX(str(path))
    except cv2.error as error:
        raise _UnreadableError from error
    finally:
        cv2.utils.logging.setLogLevel(level)

    def run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        try:
            network.setInput(images)
            return np.asarray(network.forward("probabilities")).reshape(len(images), -1)
        except cv2.error as error:
            raise _UnreadableError from error

    return run


def _open_litert(path: Path) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise MissingExtraError("ai-edge-litert", "train", "Checking a LiteRT export") from error
    runner = Interpreter(model_path=str(path)).get_signature_runner()
    return lambda images: np.asarray(runner(image=images)["probabilities"])


_ENGINES: dict[str, dict[str, Callable[[Path], Callable[[NDArray[np.uint8]], NDArray[np.float32]]]]] = {
    ".onnx": {"onnxruntime": _open_onnxruntime, "opencv": _open_opencv},
    ".tflite": {"ai-edge-litert": _open_litert},
}
