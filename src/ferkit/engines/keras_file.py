"""Keras files, opened as what they are: data of strangers. Nothing in them may name code that runs."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, MissingExtraError, WeightsError
from .onnx_file import Tensor, output_position

__all__ = ["KerasEngine", "load_network"]

# Layers that run code of the file's own, or read other files, when they are opened.
_REFUSED = {"Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer", "StringLookup", "IntegerLookup", "TextVectorization"}
# Keras's modules whose classes and functions only compute.
_ROOMS = (
    *("activations", "constraints", "dtype_policies", "initializers", "layers", "losses", "metrics"),
    *("models", "ops", "optimizers", "quantizers", "random", "regularizers"),
)


def load_network(data: bytes, where: str) -> Any:
    """Open a Keras network of unknown origin.

    Args:
        data: A file's bytes.
        where: Its name, for messages; one that ends in .h5 is read as HDF5.

    Returns:
        An uncompiled ``keras.Model``.

    Raises:
        WeightsError: It is no Keras network, or it names code: a Lambda layer, or a class that is not Keras's own and that this
            program has not registered itself.
        MissingExtraError: Keras is not installed.
    """
    import tempfile

    try:
        import keras
    except ImportError as error:
        raise MissingExtraError("keras", "train", f"Opening {where}") from error
    suffix = ".h5" if where.lower().endswith(".h5") else ".keras"
    _refuse_code(_config(data, where, suffix), where, keras)
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / f"model{suffix}"  # the very bytes that were checked
        path.write_bytes(data)
        try:
            return keras.models.load_model(path, compile=False, safe_mode=True)
        except (ValueError, OSError, TypeError, KeyError, AttributeError, NotImplementedError) as error:
            raise WeightsError(f"{where} is not a network that Keras {keras.__version__} can read: {error}") from error


def _config(data: bytes, where: str, suffix: str) -> Any:
    import zipfile

    try:
        if suffix == ".h5":
            import h5py

            with h5py.File(io.BytesIO(data), "r") as file:
                stored = file.attrs["model_config"]
                return json.loads(stored if isinstance(stored, str) else stored.decode())
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return json.loads(archive.read("config.json"))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, NotImplementedError) as error:
        raise WeightsError(f"{where} is not a network that Keras can read: {error}. Expected a whole saved model ({suffix}).") from error


def _refuse_code(config: Any, where: str, keras: Any) -> None:
    for table in _tables(config):
        name, module = str(table["class_name"]), str(table.get("module") or "keras")
        known = keras.saving.get_registered_object(str(table.get("registered_name"))) is not None  # by this very program
        if name in _REFUSED or name == "__lambda__" or not (known or (name.isidentifier() and _is_keras(module))):
            raise WeightsError(
                f"{where} has {name!r} of {module!r}, which runs code that the file names, or reads other files. Files of others are not "
                "trusted with that: export the network to ONNX where you trust it, or leave this layer out."
            )


def _is_keras(module: str) -> bool:
    """Return True for modules whose classes only compute: keras.utils and keras.config, for example, fetch files and lift the guards."""
    parts = module.split(".")
    inner = parts[2:3] if parts[1:2] == ["src"] else parts[1:2]
    return parts[0] == "keras" and (len(parts) == 1 or (bool(inner) and inner[0] in _ROOMS))


def _tables(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every table of a configuration that names a class, however deep."""
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            if "class_name" in found:
                yield found
            waiting += found.values()
        elif isinstance(found, list):
            waiting += found


class KerasEngine:
    """A Keras network as an engine; ``inputs`` and ``outputs`` say what it takes and answers."""

    def __init__(self, model: bytes, where: str, providers: Sequence[str] | None = None, output: str | None = None) -> None:
        if providers is not None:
            raise InputError(f"providers={list(providers)} are onnxruntime's, and {where} is a Keras file; leave them out.")
        self._network = network = load_network(model, where)
        self.inputs = [_tensor(tensor, tensor.name) for tensor in network.inputs]
        self.outputs = [_tensor(tensor, name) for tensor, name in zip(network.outputs, network.output_names, strict=True)]
        self._column = 0 if output is None else output_position(self.outputs, output, where)

    def run(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        import keras

        answers = keras.tree.flatten(self._network(batch, training=False))
        return np.asarray(keras.ops.convert_to_numpy(answers[self._column]), np.float32).reshape(len(batch), -1)


def _tensor(tensor: Any, name: str) -> Tensor:
    return Tensor(name, str(tensor.dtype), tuple(tensor.shape))
