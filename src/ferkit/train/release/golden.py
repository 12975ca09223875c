"""Golden vectors: fixed pictures and the answers to them, kept beside weights so that any copy can be checked anywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...files import write_arrays

__all__ = ["LUMA", "patterns", "write_golden"]

LUMA = (0.299, 0.587, 0.114)  # of red, green and blue: ITU-R 601


def patterns(count: int, height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Draw smooth pictures that are nobody's face, uint8 ``(count, height, width, 3)``: blobs over waves, coloured."""
    rng = np.random.default_rng((seed, height, width))
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    out = []
    for _ in range(count):
        cx, cy, size, a, b = rng.random(5)
        blob = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (0.02 + 0.2 * size)) + 0.5 * np.sin(6 * (a * x + b * y))
        grey = np.interp(blob, (blob.min(), blob.max()), (10, 245))
        out.append(np.clip(grey[:, :, None] * rng.uniform(0.6, 1.0, 3), 0, 255))
    return np.array(out).round().astype(np.uint8)


def write_golden(path: Path, pictures: NDArray[np.uint8], **answers: NDArray[np.float32]) -> None:
    """Write pictures and the answers to them as one compressed ``.npz``. Raises WeightsError if it cannot be written."""
    write_arrays(path, {"images": pictures, **answers})
