"""From request bytes to images: bounded reading, multipart in memory, sniffing, decoding. Nothing touches a disk."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import PurePosixPath

from starlette.requests import ClientDisconnect

from ..errors import ImageError
from ..image_files import SIGNATURES, is_heif
from ..images import Loaded, load, pixels_of
from .admission import PixelBudget
from .memory import LARGE, give_memory_back
from .pieces import scans_of_jpeg, too_many_pieces
from .problems import Problem
from .settings import Settings

__all__ = ["FORMATS", "Arrival", "Pace", "Upload", "chunks_of_body", "decode", "parse_multipart", "read_body", "sniff"]

FORMATS = "JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, and HEIC with the extra heif"
_MAX_PARTS = 100  # of a multipart body, files and plain fields together
_MAX_NAME = 200  # characters of a file name that are echoed
_SLOW, _GRACE_S = 32_000, 10.0  # bytes a second, a quarter of 1 Mbit/s, and seconds before a body is held to them
_MAX_SCANS = 64  # a progressive JPEG has about ten; every scan costs a pass over all its pixels


@dataclass(frozen=True)
class Upload:
    """One file of a request: its bytes, and the name the client gave it, for the answer only."""

    data: bytes = field(repr=False)
    name: str | None = None


@dataclass(frozen=True)
class Pace:
    """How slowly a body may arrive: without a pause of ``gap`` seconds, and at ``rate`` bytes a second.

    A body that came faster has saved up two gaps at most: one that comes nearly whole and then stands still is slow too.
    """

    gap: float
    rate: float


class Arrival:
    """One body on its way: how far it is, how fast it comes, and for how long its next bytes are waited for."""

    def __init__(self, pace: Pace) -> None:
        self.pace, self.bytes = pace, 0
        self._begun = self._last = time.monotonic()
        self._patience = pace.gap
        self._waiting: asyncio.Timeout | None = None

    def count(self, size: int) -> None:
        """Note that so many bytes have come."""
        now = time.monotonic()
        self._patience = min(2 * self.pace.gap, self._patience - (now - self._last) + size / self.pace.rate)
        self._last, self.bytes = now, self.bytes + size

    @property
    def slow(self) -> bool:
        """True if it has come for a while at a fraction of what a poor connection carries: where room is short, it goes first."""
        seconds = time.monotonic() - self._begun
        return seconds > _GRACE_S and self.bytes < _SLOW * seconds

    def give_up(self) -> None:
        """Wait no longer for it: whoever reads the body gets 408."""
        self._patience = 0.0
        if self._waiting is not None:
            self._waiting.reschedule(asyncio.get_running_loop().time())

    async def next_of(self, chunks: AsyncIterator[bytes]) -> bytes | None:
        """Return the next bytes of the body, or None at its end. Raises TimeoutError where they come too slowly."""
        try:
            async with asyncio.timeout(max(0.0, min(self.pace.gap, self._patience))) as self._waiting:
                return await anext(chunks, None)
        finally:
            self._waiting = None  # a timeout that is over takes no other time


async def chunks_of_body(chunks: AsyncIterator[bytes], announced: str | None, max_bytes: int, arrival: Arrival) -> AsyncIterator[bytes]:
    """Pass on a request's body as it arrives, within its limits.

    Args:
        chunks: The body as it arrives.
        announced: The Content-Length header, or None.
        max_bytes: Longer bodies are refused, before they are read where their length was announced.
        arrival: How slowly it may arrive; it counts the bytes.

    Raises:
        Problem: 413 too large, 408 too slow, 400 for a connection that closed.
    """
    too_large = Problem(413, "too_large", f"The request is larger than {max_bytes:,} bytes; send fewer or smaller files.")
    if announced is not None and announced.isdecimal() and int(announced) > max_bytes:
        raise too_large
    pace = arrival.pace
    while True:
        try:
            chunk = await arrival.next_of(chunks)
        except ClientDisconnect:  # nobody will read this; it spares the log a traceback
            raise Problem(400, "incomplete", "The connection closed before the body was complete.") from None
        except TimeoutError:
            raise Problem(
                408,
                "too_slow",
                f"The request's body arrived too slowly: nothing for {pace.gap:g} s, less than {pace.rate:g} bytes a second, or less than "
                f"{_SLOW:,} while others waited for the room.",
            ) from None
        if chunk is None:
            return
        arrival.count(len(chunk))
        if arrival.bytes > max_bytes:
            raise too_large
        yield chunk


async def read_body(
    chunks: AsyncIterator[bytes], announced: str | None, max_bytes: int, arrival: Arrival, take: Callable[[int], None]
) -> bytes:
    """Read a request's body into memory; arguments and errors as in ``chunks_of_body``.

    ``take`` is called with the size of every chunk before it is kept, and raises Problem to refuse it.
    """
    body = bytearray()
    async for chunk in chunks_of_body(chunks, announced, max_bytes, arrival):
        take(len(chunk))
        body += chunk
    return bytes(body)


def parse_multipart(body: bytes, content_type: str, max_files: int) -> list[Upload]:
    """Return the files of a multipart/form-data body, in order; plain form fields are left aside. Not for the event loop: it takes time.

    Raises:
        Problem: 400 for a malformed body or one without files, 413 for more than ``max_files``, or for 100 parts of any kind.
    """
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import MultipartParser, parse_options_header

    boundary = parse_options_header(content_type)[1].get(b"boundary")
    malformed = Problem(
        400, "bad_multipart", "The body is not multipart/form-data with one file a part. Try: curl -F image=@photo.jpg ADDRESS"
    )
    if not boundary:
        raise malformed
    parts = _Parts(max_files)
    try:
        parser = MultipartParser(boundary, parts.callbacks())  # type: ignore[arg-type]
        parser.write(body)
        parser.finalize()
    except FormParserError:
        raise malformed from None
    if not parts.ended or not parts.files:
        raise malformed
    return parts.files


class _Parts:
    """The parts of a multipart body, as a parser calls them out, and the files among them."""

    def __init__(self, max_files: int) -> None:
        self.files: list[Upload] = []
        self.ended = False
        self._most, self._begun = max_files, 0
        self._name, self._value, self._disposition, self._data = bytearray(), bytearray(), bytearray(), bytearray()

    def callbacks(self) -> dict[str, Callable[..., None]]:
        def add(target: bytearray) -> Callable[[bytes, int, int], None]:
            return lambda chunk, start, end: target.extend(chunk[start:end])

        return {
            "on_part_begin": self._begin,
            "on_part_data": add(self._data),
            "on_part_end": self._end,
            "on_header_field": add(self._name),
            "on_header_value": add(self._value),
            "on_header_end": self._header_end,
            "on_end": self._close,
        }

    def _begin(self) -> None:
        self._begun += 1
        if self._begun > _MAX_PARTS:
            raise Problem(413, "too_many_parts", f"The body has more than {_MAX_PARTS} parts; send only pictures, in several requests.")
        self._disposition.clear()
        self._data.clear()

    def _header_end(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition[:] = self._value
        self._name.clear()
        self._value.clear()

    def _end(self) -> None:
        from python_multipart.multipart import parse_options_header

        options = parse_options_header(bytes(self._disposition))[1]
        if b"filename" not in options:
            return
        if len(self.files) == self._most:
            raise Problem(413, "too_many_images", f"More than {self._most} pictures in one request; send them in several.")
        self.files.append(Upload(bytes(self._data), _plain_name(options[b"filename"])))

    def _close(self) -> None:
        self.ended = True


def _plain_name(name: bytes) -> str | None:
    """Return a client's file name without folders and control characters: it is echoed, never opened."""
    text = name.decode("utf-8", "replace").replace("\\", "/")
    plain = "".join(c for c in PurePosixPath(text).name if c.isprintable())
    return plain[:_MAX_NAME] or None


def sniff(data: bytes) -> str | None:
    """Return the name of the format that the first bytes show, or None for one that the service does not read."""
    for start, kind in (*SIGNATURES, (b"BM", "BMP")):
        if data.startswith(start):
            return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:12] in (b"ftypavif", b"ftypavis"):
        return "AVIF"
    return "HEIF" if is_heif(data[:64]) else None


@cache
def _one_thread() -> None:
    """Have HEIC pictures decoded by one thread: lanes are what works beside one another, and each thread's memory stays its own."""
    import pillow_heif

    pillow_heif.options.DECODE_THREADS = 1


def decode(data: bytes, settings: Settings, budget: PixelBudget, make_room: Callable[[], None] = lambda: None) -> Loaded:
    """Decode one picture to at most ``settings.max_side`` pixels, waiting until its pixels fit into the budget.

    Its format is what its bytes show, whatever its name or type says, and its size is checked before its pixels are.

    Args:
        data: As it came.
        settings: Its limits.
        budget: Shared by all lanes.
        make_room: Called before a picture is decoded that takes more than half of the budget: whoever decodes it lets go of memory that it
            only keeps for later.

    Raises:
        Problem: 400 empty or damaged, 413 too many pixels, pieces or scans, 415 another format.
    """
    if not data:
        raise Problem(400, "empty", "The picture is empty (0 bytes).")
    kind = sniff(data)
    if kind is None:
        raise Problem(415, "unsupported_type", f"Not a picture in one of these formats, whatever its name says: {FORMATS}.")
    if kind == "HEIF" and find_spec("pillow_heif") is None:
        raise Problem(
            415, "unsupported_type", "A HEIC picture, which this service does not read; send it as JPEG, or ask for the extra heif."
        )
    if kind == "HEIF":
        _one_thread()
    if too_many_pieces(kind, data):
        raise Problem(
            413, "too_many_pieces", f"A {kind} made of tens of thousands of pieces, or with long gaps in it; save the picture again."
        )
    if kind == "JPEG" and scans_of_jpeg(data, _MAX_SCANS) > _MAX_SCANS:
        raise Problem(413, "too_many_scans", f"A JPEG with more than {_MAX_SCANS} scans; save the picture again.")
    try:
        pixels = pixels_of(data)
        if pixels > settings.max_pixels:
            raise Problem(
                413, "too_many_pixels", f"The picture has, or takes to decode, more than {settings.max_pixels:,} pixels; make it smaller."
            )
        with budget.hold(pixels):
            if 2 * pixels > settings.max_decoding_pixels:
                make_room()
            if pixels > LARGE:
                give_memory_back()  # what smaller pictures left must not lie beside this one
            return load(data, max_pixels=settings.max_pixels, max_side=settings.max_side)
    except ImageError as error:
        # The reason without "the given bytes:" in front, which means nothing to a client.
        reason = str(error).partition(": ")[2] or str(error)
        raise Problem(400, "damaged", f"The picture cannot be decoded: {reason}") from None
