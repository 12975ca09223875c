"""Weights as single files for other runtimes, with the preprocessing inside: uint8 pictures in, probabilities out.

A file answers what ``ferkit.ExpressionClassifier`` answers for one view. Both formats compute the same arithmetic:
grey by ITU-R 601, resizing to the network's face (averaging areas when shrinking, else bilinear) as two products with
matrices that depend on the picture's size alone, the middle window, normalisation, the network, its label set's mixture
and temperature, a softmax.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...classifiers.expression_classifier import ExpressionClassifier
from ...crops import normalised_by
from ...data.faces import Faces
from ...data.reading import Source, read_faces, read_folder
from ...engines.opencv import quiet_opencv
from ...errors import DataError, FerkitError, InputError, MissingExtraError
from ...evaluation.outputs import mean_figures
from ...files import writable, write_arrays, write_bytes, write_json
from ...image_files import expanded
from ...images import load_image
from ...labels import CLASSES, VALUES, LabelSet
from ...pipeline import Pipeline
from ...weights.specs import DetectorSpec, load_spec
from ...weights.store import read_verified, resolve_any
from .detector_files import detector_difference, export_detector
from .golden import LUMA, patterns
from .half_precision import halved_onnx
from .quantising import quantised
from .records import Beside, ClassesMeasured, ClassifierExport, OutputsMeasured

__all__ = ["FORMATS", "PRECISIONS", "check", "export"]

FORMATS = {"onnx": ".onnx", "litert": ".tflite"}
PRECISIONS = ("float32", "float16", "int8")
_CALIBRATION = 512  # faces that give the activations' ranges
# Of probabilities. OpenCV resizes bytes with 11-bit weights and rounds; a grey level of difference moves them this much at most.
TOLERANCE = 0.02
# Of the golden pictures: as they are, shrunk, not square, shrunk along one side, enlarged.
_SIZES = ((48, 48), (64, 64), (120, 100), (60, 48), (40, 30))
_UNDERSTOOD = {"size", "window", "channels", "layout", "mean", "std", "interpolation", "standardise"}


def export(
    weights: str | os.PathLike[str] | None,
    out: str | Path,
    formats: str | Sequence[str] = ("onnx", "litert"),
    labels: str | None = None,
    *,
    precision: str = "float32",
    data: str | Path | None = None,
    photo: str | os.PathLike[str] | None = None,
) -> list[Path]:
    """Write weights as single files.

    Args:
        weights: As ``ferkit.ExpressionClassifier`` takes them: of one network, or of an ensemble, which becomes one ONNX file. Or a face
            detector's, ``"ferkit-face-v4"`` or a folder, of which ``ferkit.train.release.detector_files`` writes one ONNX file.
        out: Folder. It gets ``NAME.onnx`` and ``NAME.tflite``, ``NAME.golden.npz`` with pictures and ferkit's answers to
            them, and ``NAME.json`` with the labels, what goes in and out and, with ``data``, what was measured.
        formats: Of ``"onnx"`` and ``"litert"``; the latter needs TensorFlow and the weights' ``model.keras``.
        labels: Which of the weights' label sets to answer in.
        precision: Of the ONNX file's weights: ``"float32"`` as they are, ``"float16"``, half the size, or ``"int8"``, which is for
            onnxruntime and needs ``data``. The name gets it, ``NAME-int8.onnx``.
        data: Labelled faces, as ``ferkit.data.read_faces`` reads them: its Training part gives int8 its ranges, and its PublicTest
            part, or all of it, tells what the export answers beside ferkit. Of a detector a folder as ``train_detector`` reads it.
        photo: A photo with faces: ``NAME.photo.npz`` has it, and what ferkit finds, cuts and answers, step by step.

    Returns:
        The files of the networks. Input ``image``: uint8 ``(n, H, W, 3)``, RGB face crops of any size (repeat a grey one three
        times). Outputs: ``logits``, float32 ``(n, k)``, calibrated, and ``probabilities``, their softmax, or of several labels at once
        their sigmoid; of weights for values ``values``.

    Raises:
        InputError: Unknown format, precision or labels, another Keras backend, or weights whose preprocessing is not of this kind.
        WeightsError: The weights cannot be found, or are damaged.
        MissingExtraError: onnx or TensorFlow is not installed.
        DataError: As the readers; or none of the faces has a label that the weights answer.

    Examples:
        >>> from ferkit.train import export
        >>> (file,) = export("fer2013-n-v6", "exported", formats=("onnx",))
        >>> file.name
        'fer2013-n-v6.onnx'
    """
    formats = (formats,) if isinstance(formats, str) else tuple(formats)
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise InputError(f"Unknown export format {', '.join(unknown) or 'none'}; expected {' or '.join(FORMATS)}.")
    if precision not in PRECISIONS:
        raise InputError(f"Unknown precision {precision!r}; expected one of {', '.join(PRECISIONS)}.", arguments=["precision"])
    if precision == "int8" and data is None:
        raise InputError(
            "precision='int8' needs faces that give the activations' ranges: data='fer2013.csv', or a folder.", arguments=["data"]
        )
    out = writable(expanded(out))
    spec = load_spec(resolve_any(weights))
    if isinstance(spec, DetectorSpec):
        if labels is not None or "litert" in formats:
            raise InputError(f"{spec.name} is a face detector: it has no labels, and is exported as formats=('onnx',).")
        out.mkdir(parents=True, exist_ok=True)
        return export_detector(resolve_any(weights), spec, out, precision=precision, data=data, photo=photo)
    classifier = ExpressionClassifier(weights, labels=labels)
    for member in classifier.members:
        _check_exportable(member)
    if "litert" in formats and (len(classifier.members) > 1 or precision != "float32"):
        raise InputError("LiteRT files are of one network in float32; an ensemble, float16 and int8 are exported as formats=('onnx',).")
    out.mkdir(parents=True, exist_ok=True)
    name = classifier.name if precision == "float32" else f"{classifier.name}-{precision}"
    about = _about(classifier)
    written = []
    for kind in formats:
        network = _onnx(classifier, precision, data, about) if kind == "onnx" else _litert(weights, classifier)
        written.append(write_bytes(out / (name + FORMATS[kind]), network))
    answers: dict[str, NDArray[Any]] = {}
    for height, width in _SIZES:
        pictures = patterns(6, height, width)
        answers |= {f"images_{height}x{width}": pictures, f"probabilities_{height}x{width}": classifier.predict_proba(pictures)}
    write_arrays(out / f"{name}.golden.npz", answers)
    if photo is not None:
        write_arrays(out / f"{name}.photo.npz", _steps(classifier, photo))
    if data is not None and "onnx" in formats:
        about["measured"] = _measured(written[formats.index("onnx")], classifier, data)
    write_json(out / f"{name}.json", about)
    return written


def _check_exportable(member: ExpressionClassifier) -> None:
    spec = member.spec
    extra = set(spec.input) - _UNDERSTOOD
    if extra or spec.channels != 1 or spec.network:
        what = ", ".join(sorted(extra)) or ("colors" if spec.channels != 1 else "another maker's network")
        raise InputError(f"Weights {member.name!r} prepare faces with {what}, which exports do not know.")


def _about(classifier: ExpressionClassifier) -> ClassifierExport:
    specs = [member.spec for member in classifier.members]
    licences = sorted({spec.licence for spec in specs})
    return {
        "weights": classifier.name,
        "labels": list(classifier.labels),
        "input": {"name": "image", "dtype": "uint8", "shape": ["n", "height", "width", 3], "colour": "RGB", "range": [0, 255]},
        "outputs": {name: {"dtype": "float32", "shape": ["n", len(classifier.labels)]} for name in _answers(classifier)},
        "crop": classifier.crop.to_dict(),
        "licence": licences[0] if len(licences) == 1 else "not stated",
    }


def _answers(classifier: ExpressionClassifier) -> tuple[str, ...]:
    """Return the names of an export's outputs."""
    return ("values",) if classifier.labels.kind == VALUES else ("logits", "probabilities")


def _measured(file: Path, classifier: ExpressionClassifier, data: str | Path) -> ClassesMeasured | OutputsMeasured:
    """Compare an export with ferkit on labelled faces: what it costs."""
    faces = _faces(data, "PublicTest", classifier.labels)
    run, names = _open_onnxruntime(file), list(classifier.labels)
    if classifier.labels.kind != CLASSES and faces.soft is not None:
        pictures = in_three_channels(faces.images)
        answers = {"ferkit": classifier.predict_proba(pictures), "export": _in_batches(run, pictures)}
        truth = faces.soft[:, faces.label_set.columns(classifier.labels)]
        told = {name: {k: round(v, 4) for k, v in mean_figures(own, truth, classifier.labels).items()} for name, own in answers.items()}
        differs = round(float(np.abs(answers["ferkit"] - answers["export"]).max()), 6)
        return {"n": len(faces), "ferkit": told["ferkit"], "export": told["export"], "differs": differs}
    keep = np.array([faces.label_set[int(label)] in names for label in faces.labels], bool)
    if not keep.any():
        raise DataError(f"The faces' labels are {', '.join(faces.label_set)}; {classifier.name} answers {', '.join(names)}.")
    truth = np.array([names.index(faces.label_set[int(label)]) for label in faces.labels[keep]], np.int64)
    pictures = in_three_channels(faces.images[keep])
    own = classifier.predict_proba(pictures).argmax(axis=1)
    other = _in_batches(run, pictures).argmax(axis=1)
    accuracy: Beside = {"ferkit": round(float((own == truth).mean()), 4), "export": round(float((other == truth).mean()), 4)}
    return {"n": len(truth), "accuracy": accuracy, "changed": int((own != other).sum())}


def in_three_channels(faces: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return grey faces ``(n, H, W)`` as exports take them, ``(n, H, W, 3)``; faces in color as they are."""
    return np.repeat(faces[..., None], 3, axis=3) if faces.ndim == 3 else faces


def _in_batches(run: Callable[[NDArray[np.uint8]], NDArray[np.float32]], pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.concatenate([run(pictures[i : i + 64]) for i in range(0, len(pictures), 64)])


def _faces(data: str | Path, split: str, labels: LabelSet) -> Faces:
    source = Source.of(data, wanted=labels)
    if labels.kind != CLASSES:
        return read_faces(source.path, split if source.has(split) else "Training", labels=labels)
    if source.has(split):
        return read_faces(source.path, split)
    return read_faces(source.path, "Training") if source.listing is None else read_folder(source.path)


def _steps(classifier: ExpressionClassifier, photo: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """Return golden values from the photo on: its pixels, the faces' boxes and landmarks, the crops, prepared, and the answers."""
    pixels = load_image(photo)
    pipeline = Pipeline(classifier=classifier)
    faces = pipeline.detector.detect_rgb(pixels)
    if not faces:
        raise InputError(f"{os.fspath(photo)} has no face that is found; expected a photo with one.", arguments=["photo"])
    crops = [pipeline.crop(pixels, face) for face in faces]
    found: dict[str, NDArray[Any]] = {"image": pixels, "boxes": np.array([face.box for face in faces])}
    found["scores"] = np.array([face.score for face in faces])
    found["landmarks"] = np.array([face.landmarks or [[np.nan] * 2] * 5 for face in faces])
    found |= {f"crop_{number}": crop for number, crop in enumerate(crops)}
    return found | {"prepared": classifier.prepare(crops), "probabilities": classifier.predict_proba(crops)}


def check(files: list[Path]) -> dict[str, float | None]:
    """Run exported files on the golden pictures beside them.

    Returns:
        ``{"FILE, ENGINE": largest difference of a probability from ferkit's own}``, of values relative to the largest above 1; None where an engine lacks an operation. Of a face
        detector ``detector_difference``, on its photo.

    Raises:
        MissingExtraError: onnxruntime or ai-edge-litert is not installed.
        FerkitError: An engine's answer differs by more than 0.02.
        InputError: A detector that was exported without a photo.
    """
    found: dict[str, float | None] = {}
    for path in files:
        about = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        if about.get("kind") == "detector":
            found[f"{path.name}, onnxruntime"] = detector_difference(path, about["min_score"])
            continue
        with np.load(path.with_name(f"{path.stem}.golden.npz")) as golden:
            for engine, opened in _ENGINES[path.suffix].items():
                key = f"{path.name}, {engine}"
                try:
                    run = opened(path)
                    pairs = [(run(golden[k]), golden[k.replace("images", "probabilities")]) for k in golden.files if k.startswith("images")]
                except _UnreadableError:
                    found[key] = None
                    continue
                found[key] = float(np.max([_off(answer, expected) for answer, expected in pairs]))  # which is NaN if one is
    wrong = [f"{key} by {worst:.4f}" for key, worst in found.items() if worst is not None and not worst <= TOLERANCE]
    if wrong:
        raise FerkitError(f"Exports disagree with ferkit's own answers: {'; '.join(wrong)}; at most {TOLERANCE} is allowed.")
    return found


def _off(answer: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Return the largest difference, relative to the largest number where that is above 1, as values may be."""
    return float(np.abs(answer - expected).max() / max(1.0, float(np.abs(expected).max())))


class _UnreadableError(Exception):
    """An engine that has not all of the file's operations."""


def _onnx(classifier: ExpressionClassifier, precision: str, data: str | Path | None, about: ClassifierExport) -> bytes:
    try:
        from .onnx_graph import combined_networks, with_metadata, with_preprocessing
    except ImportError as error:
        raise MissingExtraError("onnx", "train", "Exporting to ONNX") from error
    faces = _faces(data, "Training", classifier.labels).images[:_CALIBRATION] if precision == "int8" and data is not None else None
    networks = []
    for member in classifier.members:
        network = read_verified(member.folder, member.spec)
        if precision == "float16":
            network = halved_onnx(network)
        if faces is not None:
            prepared = member.prepare(faces)
            network = quantised(network, (member.normalise(prepared[i : i + 64]) for i in range(0, len(prepared), 64)))
        mix = member.mix[:, member.labels.columns(classifier.labels)]
        networks.append(with_preprocessing(network, member.spec.input, np.asarray(mix, np.float32), classifier.labels.kind))
    whole = networks[0]
    committee = classifier.committee
    if committee is not None:
        whole = combined_networks(networks, committee.weights.tolist(), committee.combine, committee.temperature)
    return with_metadata(whole, {**about, "precision": precision})


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
    size, window = spec.input["size"], spec.window
    offset = (size - window) // 2
    mix, kind = classifier.mix.astype(np.float32), classifier.labels.kind

    def resizing(length: Any, shrink: Any) -> Any:
        step = length / size
        row, column = tf.range(size, dtype=tf.float32)[:, None], tf.range(length)[None]
        areas = tf.maximum(0.0, tf.minimum(column + 1, (row + 1) * step) - tf.maximum(column, row * step)) / step
        middle = tf.minimum(tf.maximum((row + 0.5) * step - 0.5, 0.0), length - 1)
        return tf.where(shrink, areas, tf.maximum(0.0, 1.0 - tf.abs(middle - column)))

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, name="image")])
    def answer(image: Any) -> Mapping[str, Any]:
        grey = tf.floor(tf.reduce_sum(tf.cast(image, tf.float32) * tf.constant(LUMA), axis=-1) + 0.5)
        lengths = tf.cast(tf.shape(image)[1:3], tf.float32)
        shrink = tf.reduce_min(lengths) >= float(size)  # as resized_to: a side that stays is no reason to sample the other
        tall = tf.einsum("sh,nhw->nsw", resizing(lengths[0], shrink), grey)
        face = tf.floor(tf.einsum("nsw,tw->nst", tall, resizing(lengths[1], shrink)) + 0.5)
        seen = tf.ensure_shape(face[:, offset : offset + window, offset : offset + window, None], [None, window, window, 1])
        seen = normalised_by(keras.ops, seen, spec.input)
        raw = network(seen, training=False)
        logits = tf.matmul(tf.concat([raw[name] for name in heads], axis=1), mix)
        if kind == VALUES:
            return {"values": logits}
        return {"logits": logits, "probabilities": tf.nn.softmax(logits) if kind == CLASSES else tf.sigmoid(logits)}

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
    answer = session.get_outputs()[-1].name
    return lambda images: np.asarray(session.run([answer], {"image": images})[0])


def _open_opencv(path: Path) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    import cv2

    try:
        with quiet_opencv():
            network = cv2.dnn.readNetFromONNX(str(path))
    except cv2.error as error:
        raise _UnreadableError from error

    def run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        try:
            network.setInput(images)
            return np.asarray(network.forward(network.getUnconnectedOutLayersNames()[-1])).reshape(len(images), -1)
        except cv2.error as error:
            raise _UnreadableError from error

    return run


def _open_litert(path: Path) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise MissingExtraError("ai-edge-litert", "train", "Checking a LiteRT export") from error
    runner = Interpreter(model_path=str(path)).get_signature_runner()
    answer = "probabilities" if "probabilities" in runner.get_output_details() else "values"
    return lambda images: np.asarray(runner(image=images)[answer])


_ENGINES: dict[str, dict[str, Callable[[Path], Callable[[NDArray[np.uint8]], NDArray[np.float32]]]]] = {
    ".onnx": {"onnxruntime": _open_onnxruntime, "opencv": _open_opencv},
    ".tflite": {"ai-edge-litert": _open_litert},
}
