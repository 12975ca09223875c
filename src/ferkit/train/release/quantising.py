"""Networks in eight-bit integers, by onnxruntime's static quantisation, and what that costs in accuracy."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import MissingExtraError

__all__ = ["quantised"]


def quantised(network: bytes, batches: Iterable[NDArray[np.float32]], method: str = "Percentile") -> bytes:
    """Return a network whose weights and activations are int8 (QDQ; a scale for each channel of the weights).

    Args:
        network: ONNX, as the weights keep it.
        batches: What it takes, of the training part, some hundreds in all: they give the activations' ranges.
        method: Of onnxruntime, by which the ranges are chosen: ``"Percentile"`` or ``"MinMax"``.

    Raises:
        MissingExtraError: onnxruntime or onnx is not installed.
    """
    try:
        from onnxruntime import quantization
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as error:
        raise MissingExtraError("onnxruntime", "onnxruntime", "Exporting in int8") from error

    class Ranges(quantization.CalibrationDataReader):
        def __init__(self, name: str) -> None:
            self._batches: Iterator[dict[str, Any]] = ({name: batch} for batch in batches)

        def get_next(self) -> dict[str, Any] | None:
            return next(self._batches, None)

    with tempfile.TemporaryDirectory() as temporary:
        given, folded, made = (Path(temporary) / name for name in ("given.onnx", "folded.onnx", "made.onnx"))
        given.write_bytes(network)
        quant_pre_process(str(given), str(folded), skip_symbolic_shape=True)
        with redirect_stdout(sys.stderr):  # it prints how far it is, and standard output has the files
            quantization.quantize_static(
                str(folded),
                str(made),
                Ranges(_input_name(network)),
                per_channel=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                calibrate_method=quantization.CalibrationMethod[method],
            )
        return made.read_bytes()


def _input_name(network: bytes) -> str:
    import onnx

    return str(onnx.load_from_string(network).graph.input[0].name)
