"""Which files are pictures: by their names, else by their first bytes. Needs no Pillow."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["IMAGE_SUFFIXES", "SIGNATURES", "begins_like_an_image", "expanded", "image_files", "is_heif"]

# Every file with one of these names is tried, so that what cannot be read is named instead of left out: Pillow reads the first
# five rows (AVIF if it was built so), the extra "heif" the sixth, nothing here the last two, but for the previews in some raw photos.
IMAGE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".gif"),
    *(".apng", ".jpe", ".jfif", ".mpo", ".avif", ".avifs", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
    *(".dib", ".pbm", ".pgm", ".ppm", ".pnm", ".pfm", ".tga", ".psd", ".qoi", ".sgi", ".ras", ".pcx", ".dcx", ".dds"),
    *(".ico", ".cur", ".icns", ".pcd", ".xbm", ".xpm"),
    *(".rgb", ".rgba", ".bw", ".icb", ".vda", ".vst", ".im", ".msp", ".eps", ".wmf", ".emf", ".jif", ".jfi"),
    *(".heic", ".heif", ".hif", ".heics", ".heifs"),
    *(".jxl", ".jxr", ".svg", ".svgz", ".exr", ".hdr", ".xcf", ".kra", ".ora", ".afphoto"),
    *(
        ".dng",
        ".cr2",
        ".cr3",
        ".crw",
        ".nef",
        ".nrw",
        ".arw",
        ".srf",
        ".sr2",
        ".raf",
        ".orf",
        ".rw2",
        ".pef",
        ".srw",
        ".x3f",
        ".iiq",
        ".3fr",
    ),
)

_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1", b"mif2")
# The first bytes of formats that these alone tell, and what they are called.
SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"), (b"\x89PNG\r\n\x1a\n", "PNG"), (b"GIF87a", "GIF"), (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"), (b"MM\0*", "TIFF"), (b"II+\0", "TIFF"), (b"MM\0+", "TIFF"),  # the last two with offsets of 64 bits
)  # fmt: skip
# JPEG 2000, JPEG XL and Photoshop, which the service does not read.
_OTHERS = (b"\0\0\0\x0cjP  \r\n", b"\xff\x4f\xff\x51", b"\0\0\0\x0cJXL \r\n", b"8BPS\0\x01")
_ALL = (*(start for start, _ in SIGNATURES), *_OTHERS)


def expanded(name: str | os.PathLike[str]) -> Path:
    """Return a path with ``~`` as the home folder, unless a file of that very name exists."""
    text = os.fspath(name)
    return Path(text if os.path.lexists(text) else os.path.expanduser(text))  # noqa: PTH111 - pathlib's raises where there is no home


def is_heif(start: bytes) -> bool:
    """Return True if a file's first bytes are those of HEIF, the format of phones' .heic files."""
    return start[4:8] == b"ftyp" and start[8:12] in _HEIF_BRANDS


def image_files(folder: Path) -> list[Path]:
    """Return the pictures below a folder, sorted: named like one, or beginning like one; and folders that may not be read.

    All of them are for ``ferkit.load_image``, which says of each why it cannot be read.
    """
    return sorted(path for path in _files(folder) if path.suffix.lower() in IMAGE_SUFFIXES or begins_like_an_image(path))


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, and what should be one: links that lead nowhere, folders that may not be read."""
    closed: list[Path] = []
    for parent, _, names in os.walk(folder, onerror=lambda error: closed.append(Path(str(error.filename)))):
        paths = [Path(parent, name) for name in names]
        yield from (path for path in paths if os.path.isfile(path) or not os.path.exists(path))
    yield from closed


def begins_like_an_image(path: Path) -> bool:
    """Return True if a file's first bytes are those of a picture, and for a folder that may not be read."""
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError:
        return os.path.isdir(path)  # noqa: PTH112 - pathlib's raises. A folder that may not be read; of a file nothing says that it is a picture
    webp = start[:4] == b"RIFF" and start[8:12] == b"WEBP"
    avif = start[4:8] == b"ftyp" and start[8:12] in (b"avif", b"avis")
    bmp = start[:2] == b"BM" and start[6:10] == bytes(4)
    return webp or avif or bmp or is_heif(start) or start.startswith(_ALL)
