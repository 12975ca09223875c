"""What a player shows of a decoded picture: its colors, the shape of its pixels, and which way is up."""

from __future__ import annotations

import struct
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import av
    from av.video.reformatter import VideoReformatter
    from av.video.stream import VideoStream

__all__ = ["PixelShape", "shown", "turned"]

_LONGEST = Fraction(8)  # a pixel longer than this is a mistake in a header, not the shape of a picture


class PixelShape:
    """The width of a stream's pixels over their height, 1 where nothing (or nonsense) is said.

    The container's word goes before the codec's, as in FFmpeg; but a broadcast may change the codec's in mid-stream.
    """

    def __init__(self, stream: VideoStream) -> None:
        self._codec = stream.codec_context
        self._first, self._container = self._codec.sample_aspect_ratio, stream.sample_aspect_ratio
        self._ratio: Fraction | None = None

    def of(self, picture: av.VideoFrame) -> Fraction:
        """Return the shape of the next picture's pixels; asked once for each, in their order.

        The decoder is some pictures ahead, so that a change holds from the next key frame on.
        """
        if self._ratio is None or picture.key_frame:
            codec = self._codec.sample_aspect_ratio
            changed = self._first is not None and codec != self._first
            ratio = (codec if changed else self._container) or codec or Fraction(1)
            self._ratio = ratio if 1 / _LONGEST <= ratio <= _LONGEST else Fraction(1)
        return self._ratio


def shown(picture: av.VideoFrame, reformatter: VideoReformatter, pixel_shape: Fraction = Fraction(1)) -> NDArray[np.uint8]:
    """Return a decoded picture as RGB uint8 ``(H, W, 3)``, as a player shows it.

    The matrix and the range are those that the picture is tagged with. Pixels that are not square are made so by
    another width: lines stay lines. Then the display matrix is applied.
    """
    width = max(1, round(picture.width * pixel_shape))
    scaled = reformatter.reformat(picture, width=width, height=picture.height, format="rgb24", interpolation="BICUBIC")
    return turned(np.asarray(scaled.to_ndarray(), np.uint8), _matrix(picture))


def turned(pixels: NDArray[np.uint8], matrix: tuple[int, ...] | None) -> NDArray[np.uint8]:
    """Apply a display matrix ``a b u c d v x y w`` of the container, to the nearest quarter turn, mirrored or not.

    It takes the stored (x, y) to (a x + c y, b x + d y).
    """
    if matrix is None:
        return np.ascontiguousarray(pixels)
    a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
    if abs(a) + abs(d) < abs(b) + abs(c):
        pixels, a, d = pixels.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def _matrix(picture: av.VideoFrame) -> tuple[int, ...] | None:
    data: Any = picture.side_data.get("DISPLAYMATRIX")
    return None if data is None else struct.unpack("=9i", bytes(data)[:36])
