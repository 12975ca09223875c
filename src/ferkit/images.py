"""Reading images: whatever a caller has, as one RGB uint8 array."""

from __future__ import annotations

import io
import os
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .errors import ImageError, ImageNotFoundError, InputError
from .flattening import flat, shrunk_to
from .gate import native
from .heif import missing_bytes, opened_heif
from .image_files import expanded, is_heif
from .resizing import resized_to
from .tensors import to_array
from .webp import read_webp

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["MAX_PIXELS", "ImageLike", "Loaded", "is_drawn_elsewhere", "load", "load_image", "pixels_of", "to_grey"]

ImageLike = Any  # path | bytes | file object | PIL.Image.Image | NDArray | tensor; spelt out in load_image's docstring

# 100 megapixels are 300 MB as RGB: above every camera of today, below what a decompression bomb would take.
MAX_PIXELS = 100_000_000

_SHOWN = 80  # characters of a path that is none, which may be a whole picture as base64
_BAND = 256  # rows of a deep picture that are reduced to 8 bits at once
_ORIENTATION = 0x0112  # the EXIF tag


class _Limits(NamedTuple):
    pixels: int
    side: int | None


class Loaded(NamedTuple):
    """A picture as it was read: its pixels, RGB uint8 ``(h, w, 3)``, and the width and height that it has, upright, at its own scale."""

    pixels: NDArray[np.uint8]
    width: int
    height: int


def load_image(
    image: ImageLike, *, color: Literal["rgb", "bgr"] = "rgb", max_pixels: int = MAX_PIXELS, max_side: int | None = None
) -> NDArray[np.uint8]:
    """Read an image.

    Args:
        image: One of: a path (str or Path; ``~`` is the home folder); the bytes of an encoded file; a file object opened for
            reading bytes, read from its start; a ``PIL.Image.Image``; an array, grey ``(H, W)`` or ``(H, W, 1)``, color
            ``(H, W, 3)`` or with alpha ``(H, W, 4)``, of dtype uint8 (0-255), uint16 (0-65535) or bool; anything that NumPy
            turns into such an array, as tensors do. A torch tensor may be ``(C, H, W)``, as torchvision reads files.
        color: Channel order of a bare array: ``"rgb"``, or ``"bgr"`` for arrays that OpenCV read. Files know theirs.
        max_pixels: Larger pictures are refused before they are decoded.
        max_side: Read the picture at a scale that brings its longer side to at most so many pixels; None is its own scale. A JPEG is
            decoded at a half, a quarter or an eighth where that suffices, which takes a tenth of the time and of the memory.

    Returns:
        A new array, RGB uint8 ``(H, W, 3)``, 0-255, upright (EXIF orientation applied), first frame of an animation,
        transparent parts over white.

    Raises:
        ImageNotFoundError: The path does not exist, or is an address, which is not fetched (also a FileNotFoundError).
        ImageError: The file cannot be decoded, is truncated or too large (also an OSError). Whatever a file contains, no
            other error leaves.
        InputError: The argument is none of these kinds, or an array of another shape or dtype (also a ValueError).
    """
    return load(image, color=color, max_pixels=max_pixels, max_side=max_side).pixels


def load(image: ImageLike, *, color: Literal["rgb", "bgr"] = "rgb", max_pixels: int = MAX_PIXELS, max_side: int | None = None) -> Loaded:
    """As ``load_image``, with the picture's own size beside its pixels."""
    if color not in ("rgb", "bgr"):
        raise InputError(f"color={color!r}; expected 'rgb' or 'bgr'.")
    if max_side is not None and max_side < 1:
        raise InputError(f"max_side={max_side}; expected a number of pixels, at least 1.")
    limits = _Limits(max_pixels, max_side)
    if isinstance(image, (bytes, bytearray, memoryview)):
        return _decode(io.BytesIO(bytes(image)), "the given bytes", limits)
    if isinstance(image, (str, os.PathLike)):
        return _from_path(os.fsdecode(image), limits)
    from PIL import Image

    if isinstance(image, Image.Image):
        with _only_image_errors("the given PIL image"):
            image.load()  # as it is: to decode it at another scale would change the caller's object
            return _from_pil(image, "the given PIL image", limits)
    array = to_array(image)
    if array is not None:
        return _from_array(array, color, limits)
    if callable(getattr(image, "read", None)):
        return _from_file(image, limits)
    raise InputError(
        f"{type(image).__name__} is not an image; expected a path, bytes, a PIL image or a numpy array, or a file object or a tensor."
    )


def pixels_of(data: bytes) -> int:
    """Return how many pixels decoding a picture takes, without decoding it; some decoders hold a picture more than once.

    Raises ImageError as load_image.
    """
    if (webp := read_webp(data)) is not None:
        return webp.width * webp.height * (1 + webp.animated)
    from PIL import Image

    with _only_image_errors("the given bytes"):
        try:
            picture = _opened(io.BytesIO(data), "the given bytes")
        except Image.DecompressionBombError:  # more than Pillow itself opens
            return sys.maxsize
        twice = picture.format == "AVIF" or (picture.format == "HEIF" and picture.info.get("bit_depth", 8) > 8)
        return picture.width * picture.height * (1 + twice)


def is_drawn_elsewhere(picture: Image.Image) -> bool:
    """Return True for a format of which Pillow knows the head alone, and leaves the pixels to another program: EPS, WMF, HDF5.

    EPS is a program itself, which Ghostscript runs where it is installed: nothing for a stranger's file.
    """
    from PIL import ImageFile

    return picture.format == "EPS" or isinstance(picture, ImageFile.StubImageFile)


def to_grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return RGB ``(H, W, 3)`` as grey ``(H, W)`` (ITU-R 601 luma); a grey array comes back as it is."""
    if image.ndim == 2:
        return image
    import cv2

    with native:
        return np.asarray(cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY), np.uint8)


def _from_path(name: str, limits: _Limits) -> Loaded:
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
        return _decode(file if file.seekable() else io.BytesIO(file.read()), str(path), limits)


def _from_file(file: Any, limits: _Limits) -> Loaded:
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
    return _decode(io.BytesIO(bytes(data)), source, limits)


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
        # Pillow's own limit, twice what it warns of: max_pixels alone does not lift it.
        raise ImageError(f"{source}: {error} Make it smaller, or raise PIL.Image.MAX_IMAGE_PIXELS and max_pixels.") from error
    except MemoryError as error:
        raise ImageError(f"{source}: damaged, or larger than this machine's memory; make the picture smaller.") from error
    except Exception as error:
        raise ImageError(f"{source}: damaged or truncated ({error}); save the picture again.") from error


def _decode(file: Any, source: str, limits: _Limits) -> Loaded:
    with _only_image_errors(source):
        start = file.read(64)
        file.seek(0)
        heif = is_heif(start)
        if heif and (lacking := missing_bytes(file)):
            raise ImageError(f"{source}: damaged or truncated (its last {lacking:,} bytes are missing); copy it again.")
        loaded = None
        if limits.side is not None and heif:
            loaded = _decode_heif(file, source, limits)
        elif limits.side is not None and start[8:12] == b"WEBP":
            loaded = _decode_webp(file, source, limits)
        if loaded is not None:
            return loaded
        with _opened(file, source) as picture:
            return _from_pil(picture, source, limits)


def _decode_webp(file: Any, source: str, limits: _Limits) -> Loaded | None:
    """Decode a still WebP that has to be shrunk with OpenCV, which takes a third of Pillow's memory. None leaves it to Pillow."""
    data = file.read()
    file.seek(0)
    webp = read_webp(data)
    if webp is None or webp.animated or max(webp.width, webp.height) <= (limits.side or 0):
        return None
    _check_size(webp.width, webp.height, source, limits)
    import cv2
    from PIL import Image

    with native:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        if pixels is None or pixels.ndim != 3:
            return None
        pixels = _shrunk(pixels, limits.side)
        picture = Image.fromarray(cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB))
    exif = Image.Exif()
    with suppress(Exception):  # an EXIF that cannot be read says nothing
        exif.load(webp.exif)
    upright = picture if (how := _turn(exif)) is None else picture.transpose(how)
    across = (upright.width > upright.height) == (webp.width > webp.height)
    return Loaded(flat(upright), *((webp.width, webp.height) if across else (webp.height, webp.width)))


def _decode_heif(file: Any, source: str, limits: _Limits) -> Loaded | None:
    """Decode a HEIF picture that has to be shrunk from its decoder's memory, which takes half of Pillow's. None leaves it to Pillow."""
    heif = opened_heif(file)
    file.seek(0)
    if heif is None or max(heif.width, heif.height) <= (limits.side or 0):
        return None
    _check_size(heif.width, heif.height, source, limits)
    from PIL import Image

    pixels = heif.pixels()
    return Loaded(flat(Image.fromarray(_shrunk(pixels, limits.side))), pixels.shape[1], pixels.shape[0])


def _opened(file: Any, source: str) -> Image.Image:
    """Read a picture's head; its pixels are decoded when they are needed."""
    from PIL import Image, UnidentifiedImageError

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
        picture = Image.open(file)
    if is_drawn_elsewhere(picture):
        raise UnidentifiedImageError(picture.format)
    return picture


def _register_heif(source: str) -> None:
    try:
        import pillow_heif
    except ImportError as error:
        raise ImageError(
            f'{source}: a HEIC picture, which needs one more package. Run: pip install pillow-heif (or "ferkit[heif]")'
        ) from error
    pillow_heif.register_heif_opener()


def _from_pil(picture: Image.Image, source: str, limits: _Limits) -> Loaded:
    width, height = picture.size
    _check_size(width, height, source, limits)
    upright, turned = _upright(picture, limits.side)
    own = (height, width) if turned else (width, height)
    mode = upright.mode
    if mode.startswith("I") or mode == "F":
        return Loaded(np.repeat(_shrunk(_from_deep(upright, source), limits.side)[:, :, None], 3, axis=2), *own)
    return Loaded(flat(upright), *own)


def _check_size(width: int, height: int, source: str, limits: _Limits) -> None:
    if width < 1 or height < 1:
        raise ImageError(f"{source}: {width}x{height} pixels; expected at least 1x1.")
    if width * height > limits.pixels:
        raise ImageError(
            f"{source}: {width}x{height} pixels are more than {limits.pixels:,}; make it smaller, or pass a larger max_pixels."
        )


def _decoded(picture: Image.Image, side: int | None) -> Image.Image:
    """Decode a picture, to at most ``side`` pixels; deep pixels keep their scale, which their own conversion changes."""
    if side is None or max(picture.size) <= side:
        picture.load()  # TIFF turns itself while it loads
        return picture
    factor = side / max(picture.size)
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    # A JPEG's decoder can answer a half, a quarter or an eighth of the picture, no smaller than asked.
    picture.draft(None, size)
    picture.load()
    mode = picture.mode
    if mode.startswith("I") or mode == "F":
        return picture
    if (picture.width > picture.height) != (size[0] > size[1]) and picture.width != size[0]:
        size = (size[1], size[0])  # the TIFF that has turned itself
    return shrunk_to(picture, max(1, max(picture.size) // (2 * side)), size)


def _shrunk(pixels: NDArray[np.uint8], side: int | None) -> NDArray[np.uint8]:
    """Return pixels ``(H, W, channels)`` with a longer side of at most ``side``."""
    longer = max(pixels.shape[:2])
    if side is None or longer <= side:
        return pixels
    height, width = (max(1, round(length * side / longer)) for length in pixels.shape[:2])
    return resized_to(pixels, width, height)


def _upright(picture: Image.Image, side: int | None) -> tuple[Image.Image, bool]:
    """Return a picture, at most ``side`` pixels long, turned as its EXIF says, and whether its width became its height."""
    wide = picture.width > picture.height
    decoded = _decoded(picture, side)
    try:
        how = _turn(picture.getexif())
    except Exception:  # an EXIF that cannot be read says nothing
        how = None
    turned = decoded if how is None else decoded.transpose(how)
    return turned, (turned.width > turned.height) != wide


def _turn(exif: Mapping[int, Any]) -> Image.Transpose | None:
    """Return how an EXIF's orientation says to turn. ``ImageOps.exif_transpose`` would also write the EXIF anew, and fail on odd entries."""
    from PIL import Image

    try:
        value = exif.get(_ORIENTATION)
        orientation = int(value[0] if isinstance(value, (tuple, bytes)) else value or 1)
    except Exception:  # an EXIF that cannot be read says nothing
        return None
    turn = Image.Transpose
    return {
        2: turn.FLIP_LEFT_RIGHT,
        3: turn.ROTATE_180,
        4: turn.FLIP_TOP_BOTTOM,
        5: turn.TRANSPOSE,
        6: turn.ROTATE_270,
        7: turn.TRANSVERSE,
        8: turn.ROTATE_90,
    }.get(orientation)


def _from_deep(picture: Image.Image, source: str) -> NDArray[np.uint8]:
    """Reduce one 16- or 32-bit grey channel to 8 bits, ``(H, W)``, band by band; Pillow itself would clip at 255 and answer white."""
    grey = np.empty((picture.height, picture.width), np.uint8)
    ends: list[int] = []
    for top in range(0, picture.height, _BAND):
        values = np.asarray(picture.crop((0, top, picture.width, min(picture.height, top + _BAND))))
        if values.dtype.kind == "f":
            raise ImageError(f"{source}: floating-point pixels have no known range; save it with 8 or 16 bits a channel.")
        ends += [int(values.min()), int(values.max())]
        # Of values out of range too: they are told once the least and the greatest are known.
        grey[top : top + _BAND] = (values.astype(np.uint32) * 255 + 32767) // 65535
    if min(ends) < 0 or max(ends) > 65535:
        raise ImageError(f"{source}: pixel values {min(ends)} to {max(ends)}; expected 0 to 65535.")
    return grey


def _from_array(array: NDArray[Any], color: str, limits: _Limits) -> Loaded:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)) or 0 in array.shape:
        raise InputError(f"Array of shape {array.shape}; expected (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), none of them 0.")
    if array.shape[0] * array.shape[1] > limits.pixels:
        raise ImageError(
            f"Array of {array.shape[1]}x{array.shape[0]} pixels; at most {limits.pixels:,} are allowed: shrink it, or pass max_pixels."
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
    own = array.shape[1], array.shape[0]
    array = _shrunk(array, limits.side)
    if array.shape[2] == 1:
        return Loaded(np.repeat(array, 3, axis=2), *own)
    rgb = array[:, :, 2::-1] if color == "bgr" else array[:, :, :3]
    if array.shape[2] == 4:
        alpha = array[:, :, 3:].astype(np.uint16)
        rgb = (rgb * alpha + 255 * (255 - alpha) + 127) // 255
    return Loaded(np.array(rgb, np.uint8, order="C"), *own)
