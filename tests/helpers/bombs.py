"""Small files that claim, or unpack to, enormous pictures."""

from __future__ import annotations

import struct
import zlib
from functools import lru_cache

from tests.helpers.serving import noise

BOMBS = (
    "png that unpacks to 900 megapixels",
    "png that claims 4 billion squared",
    "png just over the limit",
    "png with 300 MB of compressed text",
    "gif canvas",
    "gif frame",
    "jpeg that claims 4 gigapixels",
    "jpeg with 200 scans",
    "bmp",
    "webp of 268 megapixels",
)


def png(width: int, height: int, depth: int = 1, colour: int = 0, body: bytes = b"", extra: bytes = b"") -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + extra + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@lru_cache(1)
def bombs() -> dict[str, bytes]:
    """Small files that claim, or unpack to, enormous pictures."""
    zeros = zlib.compress(bytes(30_000 * 3751), 9)  # 30,000 x 30,000 at one bit a pixel
    gif = bytearray(noise(8, 8, "GIF"))
    gif[6:10] = struct.pack("<HH", 65535, 65535)
    frame = bytearray(noise(8, 8, "GIF"))
    at = frame.index(b"\x2c", 13 + 3 * 2 ** ((frame[10] & 7) + 1))
    frame[at + 5 : at + 9] = struct.pack("<HH", 65535, 65535)  # the frame is larger than the picture
    jpeg = bytearray(noise(8, 8, "JPEG"))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", 65500, 65500)
    bmp = bytearray(noise(8, 8, "BMP"))
    bmp[18:26] = struct.pack("<ii", 2**31 - 1, 2**31 - 1)
    webp = bytearray(noise(8, 8, "WEBP"))
    webp[26:30] = struct.pack("<HH", 16383, 16383)
    scans = bytearray(noise(64, 64, "JPEG"))
    at = scans.index(b"\xff\xda")
    scans[at:at] = bytes(scans[at:-2]) * 200
    text = b"".join(
        struct.pack(">I", len(data)) + b"zTXt" + data + struct.pack(">I", zlib.crc32(b"zTXt" + data))
        for data in [b"k\0\0" + zlib.compress(bytes(10_000_000), 9)] * 30
    )
    return {
        "png that unpacks to 900 megapixels": png(30_000, 30_000, body=zeros),
        "png that claims 4 billion squared": png(2**31 - 1, 2**31 - 1),
        "png just over the limit": png(50_000_001, 1, body=zlib.compress(bytes(6_250_002))),
        "png with 300 MB of compressed text": png(8, 8, body=zlib.compress(bytes(16)), extra=text),
        "gif canvas": bytes(gif),
        "gif frame": bytes(frame),
        "jpeg that claims 4 gigapixels": bytes(jpeg),
        "jpeg with 200 scans": bytes(scans),
        "bmp": bytes(bmp),
        "webp of 268 megapixels": bytes(webp),
    }
