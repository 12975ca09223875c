"""Pillow's pictures made plain: transparent parts over white, and smaller."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["flat", "is_transparent", "shrunk_to"]

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


def shrunk_to(picture: Image.Image, factor: int, size: tuple[int, int]) -> Image.Image:
    """Return a picture averaged to a whole fraction of its scale, and from there to a size: ``picture.reduce(factor).resize(size)``, bilinear.

    But band by band: Pillow holds what it averages, and what is transparent before it is shrunk, whole a second and a third time. The same to the
    bit where both sides shrink alike; else Pillow may begin with the other side, and round otherwise by a level or two.
    Neither a palette's numbers nor a color that stands for none can be averaged, so these become RGB or RGBA.
    """
    from PIL import Image

    odd = picture.mode in ("1", "P", "PA") or "transparency" in picture.info
    mode = ("RGBA" if is_transparent(picture) else "L" if picture.mode == "1" else "RGB") if odd else picture.mode
    weighed = {"RGBA": "RGBa", "LA": "La"}.get(mode, mode)  # colors count as much as they are seen
    across: Image.Image | None = None
    for top in range(0, picture.height, _BAND * factor):
        band = picture.crop((0, top, picture.width, min(picture.height, top + _BAND * factor)))
        band.info = picture.info
        band = band.convert(mode)
        band = (band if factor == 1 else band.reduce(factor)).convert(weighed)
        band = band.resize((size[0], band.height), Image.Resampling.BILINEAR)  # across, as Pillow begins too
        if across is None:
            across = Image.new(weighed, (size[0], -(-picture.height // factor)))
        across.paste(band, (0, top // factor))
    assert across is not None
    return across.resize(size, Image.Resampling.BILINEAR).convert(mode)
