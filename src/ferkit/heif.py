"""Pixels of a HEIF picture as its decoder holds them: Pillow would hold them a second time, which phones' 48 megapixels are too many for."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Heif", "missing_bytes", "opened_heif"]

_BOXES = (b"ftyp", b"meta", b"mdat", b"moov")
_CHANNELS = {"RGB": 3, "RGBA": 4}


class Heif:
    """A HEIF picture whose head was read.

    Attributes:
        width, height: Upright, pixels.
        depth: Bits a channel in the file; decoding makes 8 of them.
    """

    def __init__(self, picture: Any) -> None:
        self._picture = picture
        self.width, self.height = picture.size
        self.depth = int(picture.info.get("bit_depth", 8))

    def pixels(self) -> NDArray[np.uint8]:
        """Decode it: RGB or RGBA uint8 ``(H, W, 3)`` or ``(H, W, 4)``, upright, in the decoder's own memory. Raises as pillow-heif."""
        data = self._picture.data  # decoded here, and of the size that it then has
        width, height = self._picture.size
        channels = _CHANNELS[self._picture.mode]
        return np.ndarray((height, width, channels), np.uint8, data, strides=(self._picture.stride, channels, 1))


def opened_heif(file: Any) -> Heif | None:
    """Read the head of a HEIF picture. None where pillow-heif is not there, or the picture is grey or of another kind: that is Pillow's.

    Args:
        file: At its beginning; left anywhere.
    """
    try:
        import pillow_heif
    except ImportError:
        return None
    picture = pillow_heif.open_heif(file, convert_hdr_to_8bit=True, remove_stride=False)
    return Heif(picture) if picture.mode in _CHANNELS else None


def missing_bytes(file: Any) -> int:
    """Return how many bytes a HEIF file lacks at its end, by the sizes of its boxes (ISO/IEC 14496-12): libheif paints what lacks black.

    Args:
        file: Seekable; left at its beginning.
    """
    size, place = int(file.seek(0, 2)), 0
    while 0 <= place < size:
        file.seek(place)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        elif length == 0:  # to the end of the file
            length = size - place
        place += max(length, 8)
        if place > size and head[4:8] not in _BOXES:  # something else that was put behind the picture
            place = size
    file.seek(0)
    return max(0, place - size)
