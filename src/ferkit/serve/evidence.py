"""What an answer rests on, small enough for the wire."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..explain.photo import Explanation
from ..resizing import resized_to
from .schemas import EvidenceOut

__all__ = ["Evidence"]

_CELLS = 24  # along a side of a map: twice as many as the patches' steps, of which it is made


@dataclass(frozen=True)
class Evidence:
    """One face's maps.

    Attributes:
        labels: In the order of the maps.
        maps: float32 ``(k, n, n)``, n being 24 or the face's side where that is less.
        crop: The face as the network sees it, as PNG.
        corners: float64 ``(4, 2)``, where its corners lie in the picture, in pixels.
    """

    labels: tuple[str, ...]
    maps: NDArray[np.float32] = field(repr=False)
    crop: bytes = field(repr=False)
    corners: NDArray[np.float64]

    @classmethod
    def of(cls, found: Explanation, corners: NDArray[np.float64]) -> Evidence:
        """Take an explanation, whose crop has its corners in the picture there."""
        from PIL import Image

        side = min(_CELLS, found.maps.shape[1])
        small = np.stack([resized_to(one, side, side) for one in found.maps])
        buffer = io.BytesIO()
        Image.fromarray(found.crop).save(buffer, "PNG")
        return cls(found.labels, small, buffer.getvalue(), corners)

    def out(self) -> EvidenceOut:
        """Return it for the wire."""
        # Three digits: where a network is sure, all of a map is far below a thousandth.
        maps = {label: [[float(f"{v:.3g}") for v in row] for row in one] for label, one in zip(self.labels, self.maps, strict=True)}
        return EvidenceOut(crop=base64.b64encode(self.crop).decode(), corners=np.round(self.corners, 2).tolist(), maps=maps)
