"""OpenCV's dnn module as an engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, WeightsError
from ..gate import native
from .spares import Spares
from .threads import limit_opencv

if TYPE_CHECKING:
    import cv2

__all__ = ["OpenCVEngine", "quiet_opencv", "read_network"]


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """Keep OpenCV from printing errors, where what it cannot read is an answer."""
    import cv2

    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)


def read_network(onnx: bytes, where: str) -> cv2.dnn.Net:
    """Open a network in OpenCV. Raises WeightsError, which says ``where`` it came from."""
    import cv2

    limit_opencv()
    with native:
        try:
            return cv2.dnn.readNetFromONNX(np.frombuffer(onnx, np.uint8))
        except cv2.error as error:
            raise WeightsError(f"{where} is not a network that OpenCV {cv2.__version__} can read: {error}") from error


class OpenCVEngine:
    """OpenCV's dnn module: the default, because it is already a dependency and starts fast."""

    def __init__(self, model: bytes, providers: Sequence[str] | None = None, threads: int | None = None) -> None:
        if providers is not None:
            raise InputError(f'providers={list(providers)} are onnxruntime\'s; pass runtime="onnxruntime" too, or no providers.')
        # A Net keeps its buffers between calls: shared by threads it answers wrong numbers silently. So each has one to itself.
        self._nets = Spares(partial(read_network, model, "model.onnx"))
        if threads is not None:
            limit_opencv(threads)

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        import cv2

        with self._nets.one() as net:
            net.setInput(batch)
            try:
                out = np.array(net.forward(), np.float32)
            except cv2.error:
                if len(batch) != 1:
                    raise
                # After several rows OpenCV 4.10 cannot work on one where outputs are put side by side: two are the way out.
                net.setInput(np.repeat(batch, 2, axis=0))
                out = np.array(net.forward(), np.float32)[:1]
        return out.reshape(len(batch), -1)  # OpenCV 4 answers (n, 1, k) for some exports

    def release_buffers(self) -> None:
        """Let go of the networks that are idle, with their buffers: a later call reads its network anew."""
        self._nets.forget()

    def output_names(self) -> list[str]:
        """Return the names of what the network answers."""
        with self._nets.one() as net:
            return list(net.getUnconnectedOutLayersNames())

    def maps(self, batch: NDArray[np.float32], names: Sequence[str]) -> list[NDArray[np.float32]]:
        """Return several outputs by their names, in the shapes that they have."""
        with self._nets.one() as net:
            net.setInput(batch)
            return [np.array(one, np.float32) for one in net.forward(list(names))]
