"""Moving pictures that FFmpeg does not decode and Pillow does: WebP."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from ..errors import ImageError
from ..flattening import flat
from ..images import MAX_PIXELS
from ..webp import read_webp
from .extent import missing_bytes
from .frame import Frame, Span

__all__ = ["animation_frames", "is_animation"]

_HEAD = 64  # bytes, in which the size is told


def is_animation(name: str) -> bool:
    """Return True for a WebP file, one picture or many."""
    if not Path(name).is_file():
        return False
    try:
        with open(name, "rb") as file:
            head = file.read(12)
    except OSError:
        return False  # whoever opens it as a video says why it cannot be read
    return head[:4] == b"RIFF" and head[8:] == b"WEBP"


def animation_frames(name: str, span: Span) -> Iterator[Frame]:
    """Yield the frames of an animation once through, as ``ferkit.frames`` does; the first is at 0 s. Transparent parts are white, as in pictures."""
    sampler, time_s, index = span.sampler(), 0.0, 0
    with open(name, "rb") as file:
        head = read_webp(file.read(_HEAD))
    if head is not None and head.width * head.height > MAX_PIXELS:
        raise ImageError(f"{name}: {head.width}x{head.height} pixels are more than {MAX_PIXELS:,}; make the animation smaller.")
    try:
        with _opened(name) as picture:
            for index in range(getattr(picture, "n_frames", 1)):
                picture.seek(index)
                picture.load()
                duration_s = float(picture.info.get("duration", 0)) / 1000
                if sampler.over(time_s):
                    return
                if sampler.takes(time_s):
                    yield Frame(index, time_s, flat(picture), duration_s or None)
                time_s += duration_s
    except GeneratorExit:
        raise
    except Exception as error:  # Pillow's decoders raise many kinds
        lacking = missing_bytes(name)
        what = f"truncated; {lacking} bytes are missing" if lacking else f"damaged ({error})"
        raise ImageError(f"{name}: {what}. {index} frames could be read before.") from error


def _opened(name: str) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # Pillow has a limit of its own; ours was looked at
        return Image.open(name)
