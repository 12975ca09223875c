"""Networks of other makers as engines: what they want to be fed, and which of their answers is meant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..protocols import Engine
from .keras_file import KerasEngine
from .litert import LiteRTEngine
from .onnx_file import Tensor, onnx_tensors, with_output
from .table import open_engine

__all__ = ["SUFFIXES", "Fed", "Feeding", "open_fed", "tensors"]

_OPENERS: dict[str, type[KerasEngine] | type[LiteRTEngine]] = {".keras": KerasEngine, ".h5": KerasEngine, ".tflite": LiteRTEngine}
SUFFIXES = (".onnx", *_OPENERS)
_LEAST = 1e-12  # of a probability, before its logarithm


@dataclass(frozen=True)
class Feeding:
    """How a network of another maker is fed, and read. Part of its spec, as ``network``.

    Attributes:
        file: Its file's name, ``model.onnx``, ``model.keras``, ``model.h5`` or ``model.tflite``.
        output: The output's name; None is the first.
        layout: ``"nchw"`` or ``"nhwc"``.
        dtype: Of its input: ``"float32"``, ``"float16"``, ``"float64"`` or ``"uint8"``.
        batch: Faces in a batch, if that is fixed.
        activation: What the output is: ``"logits"``, or values; ``"probabilities"``, which are 0 or more and taken as shares; or
            ``"sigmoid"``, a probability of each label by itself.
        runtime: The engine of an ONNX file that the library's default, OpenCV, cannot run.
    """

    file: str = "model.onnx"
    output: str | None = None
    layout: Literal["nchw", "nhwc"] = "nchw"
    dtype: str = "float32"
    batch: int | None = None
    activation: Literal["logits", "probabilities", "sigmoid"] = "logits"
    runtime: str = "opencv"

    def __post_init__(self) -> None:
        if self.suffix not in SUFFIXES or self.file != f"model{self.suffix}":
            raise InputError(f"A network file named {self.file!r}; expected model{', model'.join(SUFFIXES)}.")
        if self.layout not in ("nchw", "nhwc") or self.activation not in ("logits", "probabilities", "sigmoid"):
            raise InputError(
                f"A network with layout {self.layout!r} and activation {self.activation!r}; expected nchw or nhwc, logits, probabilities or sigmoid."
            )
        if self.dtype not in ("float32", "float16", "float64", "uint8"):
            raise InputError(f"A network that takes {self.dtype}; expected float32, float16, float64 or uint8 pictures.")
        if self.batch is not None and self.batch < 1:
            raise InputError(f"A network with batches of {self.batch}; expected 1 or more, or None.")

    @property
    def suffix(self) -> str:
        return "." + self.file.rpartition(".")[2]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def of(table: Mapping[str, Any]) -> Feeding:
        """Return the feeding that ``to_dict`` gave; entries of a newer ferkit are left out."""
        known = {field.name for field in fields(Feeding)}
        return Feeding(**{key: value for key, value in table.items() if key in known})


class Fed:
    """An engine that takes faces as every other, float32 ``(n, C, H, W)``, and feeds a network as it wants.

    Args:
        engine: Runs the network.
        feeding: What it wants.
        columns: Of its answer; what comes after these, its features, is handed on as it is.
    """

    def __init__(self, engine: Engine, feeding: Feeding, columns: int | None = None) -> None:
        self._engine, self._feeding, self._columns = engine, feeding, columns

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        given: NDArray[Any] = batch if self._feeding.layout == "nchw" else np.moveaxis(batch, 1, -1)
        if self._feeding.dtype == "uint8":
            given = np.rint(given).clip(0, 255)
        given = np.ascontiguousarray(given, self._feeding.dtype)
        step = self._feeding.batch or max(1, len(given))
        rows = np.concatenate([self._rows(given[start : start + step], step) for start in range(0, len(given), step)])
        if self._feeding.activation != "logits":
            own = np.maximum(rows[:, : self._columns].astype(np.float64), _LEAST)
            others = 1.0 if self._feeding.activation == "probabilities" else np.maximum(1 - own, _LEAST)
            rows = np.concatenate([np.log(own / others), rows[:, own.shape[1] :]], axis=1)
        return np.asarray(rows, np.float32)

    def _rows(self, part: NDArray[Any], step: int) -> NDArray[np.float32]:
        missing = step - len(part)  # of the last batch, where batches are fixed: the last face again
        whole = np.concatenate([part, np.repeat(part[-1:], missing, axis=0)]) if missing else part
        return self._engine.run(whole)[: len(part)]


def open_fed(
    model: bytes,
    feeding: Feeding,
    *,
    where: str,
    runtime: str = "opencv",
    columns: int | None = None,
    providers: Sequence[str] | None = None,
    threads: int | None = None,
) -> Fed:
    """Open a network of another maker as an engine.

    Args:
        model: The file's bytes.
        feeding: How it is fed.
        where: Its name, for messages.
        runtime: Of an ONNX file; ``"opencv"`` is the library's default, and gives way to the feeding's own. The others have one engine.
        columns: Of its answer, see ``Fed``.
        providers, threads: As ``ferkit.engines.table.open_engine`` takes them, for an ONNX file.

    Raises:
        InputError, MissingExtraError, WeightsError: As open_engine.
    """
    opener = _OPENERS.get(feeding.suffix)
    if opener is not None:
        return Fed(opener(model, where, providers, feeding.output), feeding, columns)
    data = model if feeding.output is None else with_output(model, feeding.output, where)
    name = feeding.runtime if runtime == "opencv" else runtime
    return Fed(open_engine(name, data, providers, threads), feeding, columns)


def tensors(model: bytes, suffix: str, where: str) -> tuple[list[Tensor], list[Tensor]]:
    """Return the inputs and the outputs of a network file. Raises as ``open_fed``."""
    opener = _OPENERS.get(suffix)
    if opener is None:
        return onnx_tensors(model, where)
    opened = opener(model, where)
    return opened.inputs, opened.outputs
