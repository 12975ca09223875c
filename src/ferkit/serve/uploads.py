"""From request bytes to images: bounded reading, multipart in memory, sniffing, decoding. Nothing touches a disk."""

from __future__ import annotations

import asyncio
import io
import warnings
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray
from starlette.requests import ClientDisconnect

from .._image import load_image
from ..errors import ImageError
from .problems import Problem

__all__ = ["Upload", "decode", "parse_multipart", "read_body", "sniff"]

_MAX_NAME = 200  # characters of a file name that are echoed
_MAX_SCANS = 64  # a progressive JPEG has about ten; every scan costs a pass over all its pixels


@dataclass(frozen=True)
class Upload:
    """One file of a request: its bytes, and the name the client gave it, for the answer only."""

    data: bytes = field(repr=False)
    name: str | None = None


async def read_body(
    chunks: AsyncIterator[bytes], announced: str | None, max_bytes: int, seconds: float, take: Callable[[int], None]
) -> bytes:
    """Read a request's body.

    Args:
        chunks: The body as it arrives.
        announced: The Content-Length header, or None.
        max_bytes: Longer bodies are refused, before they are read where their length was announced.
        seconds: Time for the whole body.
        take: Called with the size of every chunk before it is kept; raises Problem to refuse it.

    Raises:
        Problem: 413 too large, 408 too slow, or what ``take`` raises.
    """
    too_large = Problem(413, "too_large", f"The request is larger than {max_bytes:,} bytes; send fewer or smaller pictures.")
    if announced is not None and announced.isdecimal() and int(announced) > max_bytes:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in chunks:
                if len(body) + len(chunk) > max_bytes:
                    raise too_large
                take(len(chunk))
                body += chunk
    except ClientDisconnect:  # nobody will read this; it spares the log a traceback
        raise Problem(400, "incomplete", "The connection closed before the body was complete.") from None
    except TimeoutError:
        raise Problem(408, "too_slow", f"The request's body did not arrive within {seconds:g} s.") from None
    return bytes(body)


def parse_multipart(body: bytes, content_type: str, max_files: int) -> list[Upload]:
    """Return the files of a multipart/form-data body, in order; plain form fields are left aside.

    Raises:
        Problem: 400 for a malformed body or one without files, 413 for more than ``max_files``.
    """
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import MultipartParser, parse_options_header

    boundary = parse_options_header(content_type)[1].get(b"boundary")
    malformed = Problem(
        400, "bad_multipart", "The body is not multipart/form-data with one file a part. Try: curl -F image=@photo.jpg ADDRESS"
    )
    if not boundary:
        raise malformed
    files: list[Upload] = []
    header: list[bytearray] = [bytearray(), bytearray()]
    disposition = bytearray()
    data = bytearray()

    def begin() -> None:
        disposition.clear()
        data.clear()

    def add(target: bytearray) -> Callable[[bytes, int, int], None]:
        return lambda chunk, start, end: target.extend(chunk[start:end])

    def header_end() -> None:
        if header[0].lower() == b"content-disposition":
            disposition[:] = header[1]
        header[0].clear()
        header[1].clear()

    def part_end() -> None:
        options = parse_options_header(bytes(disposition))[1]
        if b"filename" not in options:
            return
        if len(files) == max_files:
            raise Problem(413, "too_many_images", f"More than {max_files} pictures in one request; send them in several.")
        files.append(Upload(bytes(data), _plain_name(options[b"filename"])))

    ended: list[bool] = []
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": begin,
                "on_part_data": add(data),
                "on_part_end": part_end,
                "on_header_field": add(header[0]),
                "on_header_value": add(header[1]),
                "on_header_end": header_end,
                "on_end": lambda: ended.append(True),
            },
        )
        parser.write(body)
        parser.finalize()
    except FormParserError:
        raise malformed from None
    if not ended or not files:
        raise malformed
    return files


def _plain_name(name: bytes) -> str | None:
    """Return a client's file name without folders and control characters: it is echoed, never opened."""
    text = name.decode("utf-8", "replace").replace("\\", "/")
    plain = "".join(c for c in PurePosixPath(text).name if c.isprintable())
    return plain[:_MAX_NAME] or None


def sniff(data: bytes) -> str | None:
    """Return Pillow's name of the format that the first bytes show, or None for one that the service does not read."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if data.startswith(b"BM"):
        return "BMP"
    return None


def decode(data: bytes, max_pixels: int) -> NDArray[np.uint8]:
    """Decode one picture: RGB uint8 ``(H, W, 3)``, 0-255, upright.

    Its format is what its bytes show, whatever its name or type says, and its size is checked before its pixels are.

    Raises:
        Problem: 400 empty or damaged, 413 too many pixels, 415 another format.
    """
    from PIL import Image

    if not data:
        raise Problem(400, "empty", "The picture is empty (0 bytes).")
    kind = sniff(data)
    if kind is None:
        raise Problem(415, "unsupported_type", "Not a JPEG, PNG, WebP, GIF or BMP file, whatever its name says.")
    too_many = Problem(413, "too_many_pixels", f"The picture has more than {max_pixels:,} pixels; make it smaller.")
    if kind == "JPEG" and data.count(b"\xff\xda") > _MAX_SCANS:
        raise Problem(413, "too_many_scans", f"A JPEG with more than {_MAX_SCANS} scans; save the picture again.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own pixel limit, and damaged metadata
            with Image.open(io.BytesIO(data), formats=[kind]) as picture:
                width, height = picture.size
        if width * height > max_pixels:
            raise too_many
        return load_image(data, max_pixels=max_pixels)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError):
        raise too_many from None
    except ImageError as error:
        # The reason without "the given bytes:" in front, which means nothing to a client.
        reason = str(error).partition(": ")[2] or str(error)
        raise Problem(400, "damaged", f"The picture cannot be decoded: {reason}") from None
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, OverflowError, KeyError, AttributeError) as error:
        raise Problem(400, "damaged", f"The picture cannot be decoded: {kind} with a damaged header.") from error
