"""Adopting a network of another maker: a folder of weights that everything in ferkit opens, from a file and a few facts about it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..crops import CropGeometry, Scale, normalised
from ..engines.feeding import SUFFIXES, Feeding, open_fed, tensors
from ..engines.onnx_file import Tensor, with_data_inside
from ..engines.opencv import quiet_opencv
from ..errors import InputError, MissingExtraError, WeightsError
from ..files import new_folder, writable, write_bytes, write_json
from ..image_files import expanded
from ..labels import CLASSES, LABELS, VALUES, LabelSet, label_set
from ..text import ESCAPES
from ..weights.hashes import file_entry, sha256_of
from ..weights.specs import ADOPTED_SCHEMA, SPEC_FILE, Output, WeightsSpec, load_classifier_spec
from ..weights.store import resolve
from .expression_classifier import ExpressionClassifier

__all__ = ["Network", "adopt", "inspected", "read_network_file"]

_AGREES = 1e-3  # of logits, between two engines that run the same network
PathLike = str | os.PathLike[str]
Values = float | Sequence[float]


@dataclass(frozen=True)
class Network:
    """A network file, understood: its bytes, how it is fed, the square that it takes, and its columns."""

    data: bytes
    feeding: Feeding
    size: int
    channels: int
    columns: int


def adopt(
    model: PathLike,
    out: PathLike,
    *,
    labels: Sequence[str] | LabelSet,
    input_size: int | None = None,
    mean: Values | None = None,
    std: Values | None = None,
    pixels: Literal["0-1", "0-255"] | None = None,
    order: Literal["rgb", "bgr"] = "rgb",
    layout: Literal["nchw", "nhwc"] | None = None,
    output_tensor: str | None = None,
    activation: Literal["logits", "probabilities"] | None = None,
    crop: CropGeometry | PathLike | None = None,
    name: str | None = None,
    licence: str = "not stated",
) -> Path:
    """Make a folder of weights of a network of any maker, which opens wherever weights do.

    The file is checked and run once before anything is written. It is not trusted: a Keras file that names code is refused, and an ONNX
    file may keep weights in its own folder alone.

    Args:
        model: A file ending in .onnx, .keras, .h5 or .tflite, with one picture as its input.
        out: A new folder; its name becomes the weights'.
        labels: Class names in the order of the output's columns, or the name of a set of them, such as ``"fer2013"``; or a LabelSet, whose
            ``kind`` may be ``"labels"``, several at once, or ``"values"``.
        input_size: Side of its square input in pixels, where the file leaves it open.
        mean, std: The input is ``(pixel - mean) / std``, one number or one for each channel; 0 and 1 by default.
        pixels: What pixels count before that: ``"0-1"``, or ``"0-255"``. None is 0-1, and 0-255 for a network that takes uint8.
        order: Of a color input's channels, as the network was trained.
        layout: ``"nchw"`` or ``"nhwc"``, where the file's own shape does not tell.
        output_tensor: The output's name, where there are several.
        activation: ``"logits"`` or ``"probabilities"``, of several labels each by itself; None is told from what it answers.
        crop: How a detected face is cut out for it, or weights by name that cut it likewise; None is a square on the box.
        name: Of the weights, instead of the folder's.
        licence: Of the weights, an SPDX name.

    Returns:
        ``out``, with ``spec.json``, the network and ``card.md``.

    Raises:
        InputError: A fact is missing or contradicts the file, or ``out`` already holds something.
        WeightsError: The file cannot be read, names code, or reads other files.
        MissingExtraError: No installed engine runs it.

    Examples:
        >>> from ferkit import ExpressionClassifier, adopt
        >>> labels = ["angry", "happy", "sad"]
        >>> folder = adopt("model.onnx", "theirs", labels=labels, pixels="0-255")
        >>> ExpressionClassifier(folder).labels.classes
        ('angry', 'happy', 'sad')
    """
    folder = writable(new_folder(expanded(out), "the weights"))
    path = expanded(model)
    classes = label_set(labels)
    if order not in ("rgb", "bgr"):
        raise InputError(f"order={order!r}; expected rgb or bgr.")
    found = inspected(path, input_size=input_size, layout=layout, output_tensor=output_tensor)
    if found.columns != len(classes):
        raise InputError(
            f"{path} answers {found.columns} numbers for {len(classes)} labels; name all of them in the order of its outputs: labels=['a', 'b'].",
            arguments=["labels"],
        )
    scale = _scale(mean, std, pixels, found)
    found = _judged(found, scale, path, activation, classes.kind)
    written = found.feeding.file
    spec = WeightsSpec(
        name=name or folder.resolve().name,
        files={written: file_entry(found.data)},
        input={
            "size": found.size,
            "window": found.size,
            "channels": found.channels,
            "order": order,
            "mean": scale["mean"],
            "std": scale["std"],
        },
        crop=_geometry(crop),
        outputs=(Output(classes.name, classes.classes, (tuple(range(found.columns)),), kind=classes.kind),),
        default_output=classes.name,
        training={"adopted": path.name, "sha256": sha256_of(path.read_bytes()), "data": "not stated"},
        selection="none",
        metrics=(),
        licence=licence,
        schema=ADOPTED_SCHEMA,
        network=found.feeding.to_dict(),
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / written, found.data)
    write_bytes(folder / "card.md", "\n".join(_card(spec)).encode("utf-8", ESCAPES))
    write_json(folder / SPEC_FILE, spec.to_dict())  # last: a folder without one is not weights
    ExpressionClassifier(folder).predict_proba(np.zeros((1, 8, 8), np.uint8))
    return folder


def read_network_file(path: Path) -> bytes:
    """Return a network file's bytes, all in one. Raises InputError for another kind of file, WeightsError if it cannot be read."""
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path} ends in {path.suffix or 'nothing'}; expected one of {', '.join(SUFFIXES)}.")
    if not path.is_file():
        raise WeightsError(f"{path} does not exist; expected a model file ({', '.join(SUFFIXES)}).")
    return with_data_inside(path) if path.suffix.lower() == ".onnx" else path.read_bytes()


def inspected(
    path: Path, *, input_size: int | None = None, layout: Literal["nchw", "nhwc"] | None = None, output_tensor: str | None = None
) -> Network:
    """Read a network file and see what it takes and answers. Arguments and errors as ``adopt``'s; its activation is left open."""
    data, suffix = read_network_file(path), path.suffix.lower()
    inputs, outputs = tensors(data, suffix, str(path))
    if len(inputs) != 1:
        raise InputError(f"{path} takes {_listed(inputs)}; expected one input, a picture of a face.")
    if output_tensor is None and len(outputs) > 1:
        raise InputError(
            f"{path} answers {_listed(outputs)}; name the one that has the labels: output_tensor={outputs[0].name!r}.",
            arguments=["output_tensor"],
        )
    if output_tensor is not None and output_tensor not in [tensor.name for tensor in outputs]:
        raise InputError(f"{path} has no output {output_tensor!r}; expected one of {_listed(outputs)}.", arguments=["output_tensor"])
    given = inputs[0]
    batch, size, channels, layout = _layout(path, given, input_size, layout)
    feeding = Feeding(f"model{suffix}", output_tensor, layout, given.dtype, batch)
    found = Network(data, feeding, size, channels, 0)
    if suffix == ".onnx":
        return _with_engine(found, path)
    rows = open_fed(data, feeding, where=str(path)).run(_pictures(found))
    return replace(found, columns=_checked(rows, path).shape[1])


def _with_engine(found: Network, path: Path) -> Network:
    """Find which engines run an ONNX file, and whether they agree: OpenCV, which is always there, where it answers as onnxruntime."""
    batch, rows, failed = _pictures(found), dict[str, NDArray[np.float32]](), dict[str, Exception]()
    for runtime in ("onnxruntime", "opencv"):
        try:
            with quiet_opencv():
                feeding = replace(found.feeding, runtime=runtime)
                rows[runtime] = open_fed(found.data, feeding, where=str(path), runtime=runtime).run(batch)
        except Exception as error:  # the engines' errors share no root; what none can run is told below
            failed[runtime] = error
    if not rows:
        reason = failed["onnxruntime"]
        if isinstance(reason, MissingExtraError):
            raise reason
        raise WeightsError(f"{path} is a network that neither OpenCV nor onnxruntime can run: {reason}") from reason
    agrees = "opencv" in rows and ("onnxruntime" not in rows or _close(rows["opencv"], rows["onnxruntime"]))
    chosen = "opencv" if agrees else "onnxruntime"
    return replace(found, feeding=replace(found.feeding, runtime=chosen), columns=_checked(rows[chosen], path).shape[1])


def _close(a: NDArray[np.float32], b: NDArray[np.float32]) -> bool:
    return a.shape == b.shape and bool(np.abs(a - b).max() <= _AGREES * max(1.0, float(np.abs(b).max())))


def _checked(rows: NDArray[np.float32], path: Path) -> NDArray[np.float32]:
    if rows.ndim != 2 or not np.isfinite(rows).all():
        raise WeightsError(f"{path} answers {rows.shape} with values that are not finite; expected a row of numbers for each face.")
    return rows


def _pictures(found: Network) -> NDArray[np.float32]:
    """Draw three faces' worth of smooth noise, float32 ``(3, C, S, S)``, 0-255."""
    rng = np.random.default_rng(0)
    coarse = rng.uniform(0, 255, (3, found.channels, 4, 4))
    times = -(-found.size // 4)
    return np.repeat(np.repeat(coarse, times, 2), times, 3)[:, :, : found.size, : found.size].astype(np.float32)


def _layout(
    path: Path, given: Tensor, size: int | None, layout: Literal["nchw", "nhwc"] | None
) -> tuple[int | None, int, int, Literal["nchw", "nhwc"]]:
    """Return the fixed batch, side, channels and layout of a picture input."""
    if len(given.shape) != 4:
        raise InputError(f"{path} takes {given.name} {_shape(given)}; expected one grey or RGB square.")
    batch, *rest = given.shape
    first, last = rest[0] in (1, 3), rest[2] in (1, 3)
    if layout is None:
        if first == last:
            raise InputError(
                f"{path} takes {given.name} {_shape(given)}, which does not tell where its channels are: give layout='nchw' or 'nhwc'.",
                arguments=["layout"],
            )
        layout = "nchw" if first else "nhwc"
    channels, sides = (rest[0], rest[1:]) if layout == "nchw" else (rest[2], rest[:2])
    known = {side for side in sides if side is not None}
    if channels not in (None, 1, 3) or len(known) > 1:
        raise InputError(f"{path} takes {given.name} {_shape(given)} as {layout}; expected one grey or RGB square.")
    if not known and size is None:
        raise InputError(
            f"{path} takes pictures of any size ({given.name} {_shape(given)}): give the side that it was trained on: input_size=224.",
            arguments=["input_size"],
        )
    if known and size is not None and size not in known:
        raise InputError(f"{path} takes squares of {known.pop()} pixels; expected that side instead of {size}.")
    return batch, size or known.pop(), channels or 3, layout


def _scale(mean: Values | None, std: Values | None, pixels: str | None, found: Network) -> Scale:
    """Return ``mean`` and ``std`` of pixels / 255, as every spec has them."""
    if pixels not in (None, "0-1", "0-255"):
        raise InputError(f"pixels={pixels!r}; expected 0-1 or 0-255.")
    if found.feeding.dtype == "uint8":
        if mean is not None or std is not None or pixels == "0-1":
            raise InputError("The network takes uint8 pictures, 0-255 as they are; leave mean, std and pixels out.")
        pixels = "0-255"
    scale: Scale = {
        "mean": _numbers("mean", 0.0 if mean is None else mean, found),
        "std": _numbers("std", 1.0 if std is None else std, found),
    }
    if not all(value > 0 for value in _listing(scale["std"])):
        raise InputError(f"std={std}; expected numbers above 0.")
    if pixels != "0-255":
        if any(abs(value) > 2 for value in _listing(scale["mean"])):
            raise InputError(
                f"mean={mean} for pixels of 0-1; for a network that was trained on 0-255 give pixels='0-255' as well.", arguments=["pixels"]
            )
        return scale
    return {"mean": _on_255(scale["mean"]), "std": _on_255(scale["std"])}


def _on_255(values: Values) -> Values:
    return [value / 255 for value in values] if isinstance(values, Sequence) else values / 255


def _numbers(name: str, given: Values, found: Network) -> float | list[float]:
    values = [float(value) for value in _listing(given)]
    if not np.isfinite(values).all() or len(values) not in (1, found.channels):
        raise InputError(f"{name}={given}; expected one finite number, or one for each of the network's {found.channels} channel(s).")
    return values[0] if len(values) == 1 else values


def _listing(given: Any) -> Sequence[float]:
    return given if isinstance(given, Sequence) else (given,)


def _judged(found: Network, scale: Scale, path: Path, activation: str | None, kind: str) -> Network:
    """Tell logits from probabilities by what the network answers to pictures on its own scale."""
    if activation not in (None, "logits", "probabilities"):
        raise InputError(f"activation={activation!r}; expected logits or probabilities.")
    if kind == VALUES and activation is not None:
        raise InputError(f"activation={activation!r} of a network that answers values; expected none.", arguments=["activation"])
    batch = np.moveaxis(normalised(np.moveaxis(_pictures(found), 1, -1), scale), -1, 1)
    rows = _checked(open_fed(found.data, found.feeding, where=str(path)).run(batch), path)
    shares = bool((rows >= -1e-6).all() and np.abs(rows.sum(axis=1) - 1).max() < 1e-2)
    if activation == "probabilities" and (rows < 0).any():
        raise InputError(f"{path} answers numbers below 0 ({rows.min():.3g}); these are logits, not probabilities.")
    within = bool((rows >= 0).all() and (rows <= 1).all())
    if kind == CLASSES and within and not shares and activation is None:
        raise InputError(
            f"{path} answers numbers from 0 to 1 that do not sum to 1, such as {', '.join(f'{v:.3f}' for v in rows[0])}: of several labels at once, each by "
            "itself? Then say so, with a LabelSet of that kind (kind='labels'); if they are shares, activation='probabilities'; else 'logits'.",
            arguments=["kind", "activation"],
        )
    chosen: Any = activation or ("probabilities" if (shares if kind == CLASSES else within and kind == LABELS) else "logits")
    chosen = "sigmoid" if chosen == "probabilities" and kind == LABELS else chosen
    return replace(found, feeding=replace(found.feeding, activation=chosen))


def _geometry(crop: CropGeometry | PathLike | None) -> CropGeometry:
    if crop is None or isinstance(crop, CropGeometry):
        return crop or CropGeometry()
    spec = load_classifier_spec(resolve(crop))
    if not isinstance(spec, WeightsSpec):
        raise InputError(f"crop={os.fspath(crop)!r} is an ensemble; expected weights of one network, whose crop is to be used.")
    return spec.crop


def _listed(found: Sequence[Tensor]) -> str:
    return ", ".join(f"{tensor.name} {_shape(tensor)}" for tensor in found) or "nothing"


def _shape(tensor: Tensor) -> str:
    return f"{tensor.dtype} ({', '.join('any' if n is None else str(n) for n in tensor.shape)})"


def _card(spec: WeightsSpec) -> list[str]:
    given, fed = spec.input, spec.network
    colors = "grey" if spec.channels == 1 else str(given["order"]).upper()
    return [
        f"# {spec.name}",
        "",
        f"A network of another maker, adopted from `{spec.training['adopted']}` (SHA-256 {spec.training['sha256']}).",
        "",
        f"- Input: {given['size']}x{given['size']} pixels, {colors}, {fed['dtype']}, {fed['layout']}; (pixel / 255 - mean) / std with mean {given['mean']}, std {given['std']}.",
        f"- Output: {fed['output'] or 'the only one'}, {fed['activation']} of {', '.join(spec.outputs[0].labels)}.",
        "- Measured: nothing. Its probabilities are as calibrated as its maker left them; `ferkit evaluate --weights` measures it on your data.",
        f"- Licence: {spec.licence}. What it was trained on is not known here.",
        "",
    ]
