"""Reading images: whatever a caller has, as one RGB uint8 array."""

from __future__ import annotations

import io
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from .errors import ImageError, ImageNotFoundError, InputError
from .image_files import expanded, is_heif

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["MAX_PIXELS", "ImageLike", "is_one_image", "load_image", "to_array", "to_grey"]

ImageLike = Any  # path | bytes | file object | PIL.Image.Image | NDArray | tensor; spelt out in load_image's docstring

# 100 megapixels are 300 MB as RGB: above every camera of today, below what a decompression bomb would take.
MAX_PIXELS = 100_000_000

_CHANNELS = (1, 3, 4)
_SHOWN = 80  # characters of a path that is none, which may be a whole picture as base64
_ORIENTATION = 0x0112  # the EXIF tag


def load_image(image: ImageLike, *, color: Literal["rgb", "bgr"] = "rgb", max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Read an image.

    Args:
        image: One of: a path (str or Path; ``~`` is the home folder); the bytes of an encoded file; a file object opened for
            reading bytes, read from its start; a ``PIL.Image.Image``; an array, grey ``(H, W)`` or ``(H, W, 1)``, color
            ``(H, W, 3)`` or with alpha ``(H, W, 4)``, of dtype uint8 (0-255), uint16 (0-65535) or bool; anything that NumPy
            turns into such an array, as tensors do. A torch tensor may be ``(C, H, W)``, as torchvision reads files.
        color: Channel order of a bare array: ``"rgb"``, or ``"bgr"`` for arrays that OpenCV read. Files know theirs.
        max_pixels: Larger pictures are refused before they are decoded.

    Returns:
        A new array, RGB uint8 ``(H, W, 3)``, 0-255, upright (EXIF orientation applied), first frame of an animation,
        transparent parts over white.

    Raises:
        ImageNotFoundError: The path does not exist, or is an address, which is not fetched (also a FileNotFoundError).
        ImageError: The file cannot be decoded, is truncated or too large (also an OSError). Whatever a file contains, no
            other error leaves.
        InputError: The argument is none of these kinds, or an array of another shape or dtype (also a ValueError).
    """
    if color not in ("rgb", "bgr"):
        raise InputError(f"color={color!r}; expected 'rgb' or 'bgr'.")
    if isinstance(image, (bytes, bytearray, memoryview)):
        return _decode(io.BytesIO(bytes(image)), "the given bytes", max_pixels)
    if isinstance(image, (str, os.PathLike)):
        return _from_path(os.fsdecode(image), max_pixels)
    from PIL import Image

    if isinstance(image, Image.Image):
        with _only_image_errors("the given PIL image"):
            return _from_pil(image, "the given PIL image", max_pixels)
    array = to_array(image)
    if array is not None:
        return _from_array(array, color, max_pixels)
    if callable(getattr(image, "read", None)):
        return _from_file(image, max_pixels)
    raise InputError(
        f"{type(image).__name__} is not an image; expected a path, bytes, a PIL image or a numpy array, or a file object or a tensor."
    )


def to_array(value: Any) -> NDArray[Any] | None:
    """Return an array as it is, and a tensor (torch, TensorFlow, JAX, ...) as an array, channels last; None for anything else.

    Raises:
        InputError: The tensor cannot be read from here, for example because it is on a GPU.
    """
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, (str, bytes)) or not any(hasattr(value, name) for name in ("__array__", "__array_interface__", "__dlpack__")):
        return None
    try:
        array = np.asarray(value) if hasattr(value, "__array__") or hasattr(value, "__array_interface__") else np.from_dlpack(value)
    except Exception as error:  # every library raises its own
        raise InputError(
            f"{type(value).__name__} cannot be read as an array ({error}); give an array, for torch: tensor.detach().cpu().numpy()"
        ) from error
    # Torch alone has channels first by convention; a numpy array of that shape is left to its owner.
    if _is_torch(value) and array.ndim == 3 and array.shape[0] in _CHANNELS and array.shape[2] not in _CHANNELS:
        array = np.moveaxis(array, 0, -1)
    return array


def _is_torch(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "torch"


def is_one_image(value: Any) -> bool:
    """Return True for what is one image where many are expected: to iterate over it would give its rows, lines or bytes."""
    if isinstance(value, (str, bytes, bytearray, memoryview, os.PathLike)) or callable(getattr(value, "read", None)):
        return True
    shape = getattr(value, "shape", None)
    if shape is None:
        from PIL import Image

        return isinstance(value, Image.Image)
    shape = tuple(shape)
    # (n, H, W) are n grey images, unless the last axis can only be channels; of torch, the first can.
    one = len(shape) == 3 and (shape[2] in _CHANNELS or (_is_torch(value) and shape[0] in _CHANNELS))
    return len(shape) in (0, 2) or one


def to_grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return RGB ``(H, W, 3)`` as grey ``(H, W)`` (ITU-R 601 luma); a grey array comes back as it is."""
    if image.ndim == 2:
        return image
    import cv2

    return np.asarray(cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY), np.uint8)


def _from_path(name: str, max_pixels: int) -> NDArray[np.uint8]:
    shown = name if len(name) <= 2 * _SHOWN else f"{name[:_SHOWN]}..."
    if name.startswith("data:"):
        raise ImageNotFoundError(f"{shown} is a data: address; give its bytes: base64.b64decode(text.partition(',')[2])")
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", name):
        raise ImageNotFoundError(f"{shown} is an address, and addresses are not fetched; download the picture, and give its path or bytes.")
    path = expanded(name)
    if os.path.isdir(path) and os.access(path, os.R_OK | os.X_OK):  # noqa: PTH112 - pathlib's raises on names that are too long
        raise ImageError(f"{path} is a folder; expected an image file. To read a whole folder type: ferkit predict {path}")
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed below; what decoding raises is no fault of the path
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ImageNotFoundError(f"{path if shown == name else shown} does not exist; expected an image file.") from error
    except (OSError, ValueError) as error:
        raise ImageError(
            f"{shown!r} cannot be read: {getattr(error, 'strerror', None) or error}. Expected the path of an image file."
        ) from error
    with file:
        return _decode(file if file.seekable() else io.BytesIO(file.read()), str(path), max_pixels)


def _from_file(file: Any, max_pixels: int) -> NDArray[np.uint8]:
    name = getattr(file, "name", None)
    source = name if isinstance(name, str) else "the given file"
    try:
        if callable(getattr(file, "seek", None)) and (not hasattr(file, "seekable") or file.seekable()):
            file.seek(0)
        data = file.read()
    except OSError as error:
        raise ImageError(f"{source} cannot be read: {error.strerror or error}.") from error
    except Exception as error:  # a closed file is a ValueError; other people's objects raise what they like
        raise InputError(f"{source} cannot be read ({error}); expected a file object opened for reading bytes.") from error
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise InputError(f"{source} gives {type(data).__name__}; expected bytes, as of open(path, 'rb').")
    return _decode(io.BytesIO(bytes(data)), source, max_pixels)


@contextmanager
def _only_image_errors(source: str) -> Iterator[None]:
    """Turn whatever a decoder raises into an ImageError: on damaged files Pillow's raise errors of every kind."""
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            # Pillow warns of damaged metadata, which is no reason to lose a picture, and at a size limit of its own; ours is
            # checked in _from_pil, before decoding.
            warnings.simplefilter("ignore")
            yield
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(f"{source}: not an image that Pillow can read; expected JPEG, PNG, WebP, GIF, BMP or TIFF.") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"{source}: {error} Make it smaller, or pass a larger max_pixels.") from error
    except MemoryError as error:
        raise ImageError(f"{source}: damaged, or larger than this machine's memory; make the picture smaller.") from error
    except Exception as error:
        raise ImageError(f"{source}: damaged or truncated ({error}); save the picture again.") from error


def _decode(file: Any, source: str, max_pixels: int) -> NDArray[np.uint8]:
    from PIL import Image, UnidentifiedImageError

    with _only_image_errors(source):
        start = file.read(64)
        if not start:
            raise ImageError(f"{source}: empty (0 bytes); expected an image file.")
        file.seek(0)
        try:
            picture = Image.open(file)
        except UnidentifiedImageError:
            if not is_heif(start):
                raise
            _register_heif(source)
            file.seek(0)
            try:
                picture = Image.open(file)
            except UnidentifiedImageError as error:
                raise ImageError(
                    f"{source}: a HEIC picture that pillow-heif cannot read: damaged or truncated; save the picture again."
                ) from error
        with picture:
            return _from_pil(picture, source, max_pixels)


def _register_heif(source: str) -> None:
    try:
        import pillow_heif
    except ImportError as error:
        raise ImageError(
            f'{source}: a HEIC picture, which needs one more package. Run: pip install pillow-heif (or "ferkit[heif]")'
        ) from error
    pillow_heif.register_heif_opener()


def _from_pil(picture: Image.Image, source: str, max_pixels: int) -> NDArray[np.uint8]:
    from PIL import Image

    width, height = picture.size
    if width < 1 or height < 1:
        raise ImageError(f"{source}: {width}x{height} pixels; expected at least 1x1.")
    if width * height > max_pixels:
        raise ImageError(f"{source}: {width}x{height} pixels are more than {max_pixels:,}; make it smaller, or pass a larger max_pixels.")
    upright = _upright(picture)
    mode = upright.mode
    if mode.startswith("I") or mode == "F":
        return _from_deep(np.asarray(upright), source)
    if mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in upright.info:
        rgba = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", rgba.size, (255, 255, 255, 255)), rgba)
    return np.array(upright.convert("RGB"), np.uint8)


def _upright(picture: Image.Image) -> Image.Image:
    """Return a picture turned as its EXIF says. ``ImageOps.exif_transpose`` would also write the EXIF anew, and fail on odd entries."""
    from PIL import Image

    picture.load()  # TIFF turns itself while it loads
    try:
        value = picture.getexif().get(_ORIENTATION)
        orientation = int(value[0] if isinstance(value, (tuple, bytes)) else value or 1)
    except Exception:  # an EXIF that cannot be read says nothing
        orientation = 1
    turn = Image.Transpose
    how = {
        2: turn.FLIP_LEFT_RIGHT,
        3: turn.ROTATE_180,
        4: turn.FLIP_TOP_BOTTOM,
        5: turn.TRANSPOSE,
        6: turn.ROTATE_270,
        7: turn.TRANSVERSE,
        8: turn.ROTATE_90,
    }.get(orientation)
    return picture if how is None else picture.transpose(how)


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
