"""Reading images: whatever a caller has, as one RGB uint8 array."""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from .errors import ImageError, ImageNotFoundError, InputError

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["IMAGE_SUFFIXES", "MAX_PIXELS", "ImageLike", "load_image", "to_grey"]

ImageLike = Any  # path | bytes | PIL.Image.Image | NDArray; spelt out in load_image's docstring

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".gif")

# 100 megapixels are 300 MB as RGB: above every camera of today, below what a decompression bomb would take.
MAX_PIXELS = 100_000_000


def load_image(image: ImageLike, *, color: Literal["rgb", "bgr"] = "rgb", max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Read an image.

    Args:
        image: One of: a path (str or Path) of a file; the bytes of an encoded file; a ``PIL.Image.Image``; an array,
            grey ``(H, W)`` or ``(H, W, 1)``, colour ``(H, W, 3)`` or with alpha ``(H, W, 4)``, of dtype uint8
            (0-255), uint16 (0-65535) or bool.
        color: Channel order of a bare array: ``"rgb"``, or ``"bgr"`` for arrays that OpenCV read. Files know theirs.
        max_pixels: Larger pictures are refused before they are decoded.

    Returns:
        A new array, RGB uint8 ``(H, W, 3)``, 0-255, upright (EXIF orientation applied), first frame of an animation,
        transparent parts over white.

    Raises:
        ImageNotFoundError: The path does not exist (also a FileNotFoundError).
        ImageError: The file cannot be decoded, is truncated or too large (also an OSError).
        InputError: The argument is none of these kinds, or an array of another shape or dtype (also a ValueError).
    """
    if color not in ("rgb", "bgr"):
        raise InputError(f"color={color!r}; expected 'rgb' or 'bgr'.")
    if isinstance(image, np.ndarray):
        return _from_array(image, color, max_pixels)
    if isinstance(image, (bytes, bytearray, memoryview)):
        return _decode(io.BytesIO(bytes(image)), "the given bytes", max_pixels)
    if isinstance(image, (str, os.PathLike)):
        return _from_path(Path(image), max_pixels)
    from PIL import Image

    if isinstance(image, Image.Image):
        return _from_pil(image, "the given PIL image", max_pixels)
    raise InputError(f"{type(image).__name__} is no image; expected a path, bytes, a PIL image or a numpy array.")


def to_grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return RGB ``(H, W, 3)`` as grey ``(H, W)`` (ITU-R 601 luma); a grey array comes back as it is."""
    if image.ndim == 2:
        return image
    import cv2

    return np.asarray(cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY), np.uint8)


def _from_path(path: Path, max_pixels: int) -> NDArray[np.uint8]:
    if not path.exists():
        raise ImageNotFoundError(f"{path} does not exist; expected an image file.")
    if path.is_dir():
        raise ImageError(f"{path} is a folder; expected an image file. To read a whole folder type: ferkit predict {path}")
    try:
        with path.open("rb") as file:
            return _decode(file, str(path), max_pixels)
    except PermissionError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror}.") from error


def _decode(file: Any, source: str, max_pixels: int) -> NDArray[np.uint8]:
    from PIL import Image, UnidentifiedImageError

    start = file.read(1)
    if not start:
        raise ImageError(f"{source}: empty (0 bytes); expected an image file.")
    file.seek(0)
    try:
        with warnings.catch_warnings():
            # Pillow warns at its own limit, lower or higher than ours; ours is checked in _from_pil, before decoding.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(file) as picture:
                return _from_pil(picture, source, max_pixels)
    except UnidentifiedImageError as error:
        raise ImageError(f"{source}: not an image that Pillow can read; expected JPEG, PNG, WebP, GIF, BMP or TIFF.") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"{source}: {error} Make it smaller, or pass a larger max_pixels.") from error
    except ImageError:
        raise
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, OverflowError) as error:
        # Pillow's decoders raise all of these on damaged files.
        raise ImageError(f"{source}: damaged or truncated ({error}); save the picture again.") from error


def _from_pil(picture: Image.Image, source: str, max_pixels: int) -> NDArray[np.uint8]:
    from PIL import Image, ImageOps

    width, height = picture.size
    if width < 1 or height < 1:
        raise ImageError(f"{source}: {width}x{height} pixels; expected at least 1x1.")
    if width * height > max_pixels:
        raise ImageError(f"{source}: {width}x{height} pixels are more than {max_pixels:,}; make it smaller, or pass a larger max_pixels.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # damaged EXIF is no reason to lose the picture
        upright = ImageOps.exif_transpose(picture)
    mode = upright.mode
    if mode.startswith("I") or mode == "F":
        return _from_deep(np.asarray(upright), source)
    if mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in upright.info:
        rgba = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", rgba.size, (255, 255, 255, 255)), rgba)
    return np.array(upright.convert("RGB"), np.uint8)


def _from_deep(values: NDArray[Any], source: str) -> NDArray[np.uint8]:
    """Reduce one 16- or 32-bit grey channel to 8 bits; Pillow itself would clip at 255 and answer white."""
    if values.dtype.kind == "f":
        raise ImageError(f"{source}: floating-point pixels have no known range; save it with 8 or 16 bits a channel.")
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise ImageError(f"{source}: pixel values {low} to {high}; expected 0 to 65535.")
    grey = (values.astype(np.uint32) * 255 + 32767) // 65535
    return np.repeat(grey.astype(np.uint8)[:, :, None], 3, axis=2)


def _from_array(array: NDArray[Any], color: str, max_pixels: int) -> NDArray[np.uint8]:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)) or 0 in array.shape:
        raise InputError(f"Array of shape {array.shape}; expected (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), none of them 0.")
    if array.shape[0] * array.shape[1] > max_pixels:
        raise ImageError(
            f"Array of {array.shape[1]}x{array.shape[0]} pixels; at most {max_pixels:,} are allowed: shrink it, or pass max_pixels."
        )
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * 255
    elif array.dtype == np.uint16:
        array = ((array.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise InputError(
            f"Array of dtype {array.dtype}; expected uint8, 0-255. If its values are 0-1 type: (array * 255).round().astype('uint8'); "
            "if they are 0-255: array.astype('uint8')."
        )
    if array.ndim == 2:
        array = array[:, :, None]
    if array.shape[2] == 1:
        return np.repeat(array, 3, axis=2)
    rgb = array[:, :, 2::-1] if color == "bgr" else array[:, :, :3]
    if array.shape[2] == 4:
        alpha = array[:, :, 3:].astype(np.uint16)
        rgb = (rgb * alpha + 255 * (255 - alpha) + 127) // 255
    return np.array(rgb, np.uint8, order="C")
