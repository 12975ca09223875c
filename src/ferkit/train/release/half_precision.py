"""Weights stored in half precision: files of half the size that compute in float32 as before.

Only the storing is rounded, to 11 bits of mantissa. Casting back is done once, when a network is opened, so that every
engine computes what it did, in the same time.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np

from ...errors import FerkitError
from ...files import write_bytes

__all__ = ["halve_keras", "halve_onnx", "halved_onnx"]

_LEAST = 1024  # elements; whatever is smaller (biases, statistics) stays as it is and costs nothing


def halve_onnx(path: Path) -> None:
    """Store the large float32 initializers of an ONNX file as float16, each followed by a cast. The file is replaced.

    Raises:
        FerkitError: A weight is beyond float16's range of 65,504.
    """
    write_bytes(path, halved_onnx(path.read_bytes()))


def halved_onnx(network: bytes) -> bytes:
    """Return an ONNX network's bytes as ``halve_onnx`` writes them. Raises as it does."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load_from_string(network)
    casts = []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if _large(values.dtype, values.size):
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(_half(values, name), f"{name}_float16"))
            casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def halve_keras(path: Path) -> None:
    """Store the large float32 arrays of a ``.keras`` file as float16; Keras casts them back as it loads. The file is replaced.

    Raises:
        FerkitError: As ``halve_onnx``.
    """
    import h5py

    with zipfile.ZipFile(path) as archive:
        parts = {entry: archive.read(entry) for entry in archive.namelist()}
    weights = next(entry for entry in parts if entry.endswith(".weights.h5"))
    halved = io.BytesIO()
    # Copied rather than changed: an HDF5 file keeps the room of what is deleted from it.
    with h5py.File(io.BytesIO(parts[weights])) as old, h5py.File(halved, "w") as new:

        def copy(name: str, item: h5py.Group | h5py.Dataset) -> None:
            if isinstance(item, h5py.Group):
                made = new.create_group(name)
            else:
                made = new.create_dataset(name, data=_half(item[()], name) if _large(item.dtype, item.size) else item[()])
            made.attrs.update(item.attrs)

        new.attrs.update(old.attrs)
        old.visititems(copy)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, data in (parts | {weights: halved.getvalue()}).items():
            archive.writestr(entry, data)
    write_bytes(path, buffer.getvalue())


def _large(dtype: np.dtype, size: int) -> bool:
    return dtype == np.float32 and size >= _LEAST


def _half(values: np.ndarray, name: str) -> np.ndarray:
    with np.errstate(over="ignore"):  # said below, with the array's name
        halved = values.astype(np.float16)
    if not np.isfinite(halved).all():
        raise FerkitError(
            f'Weights {name!r} reach {np.abs(values).max():.4g}, beyond float16\'s 65,504; take precision = "float16" out of [release].'
        )
    return halved
