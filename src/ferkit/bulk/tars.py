"""Tars of pictures, as WebDataset packs them: read in one pass, or from one member to another."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from typing import IO

from .listing import kind_of
from .storage import open_input

__all__ = ["cuts", "members"]


class _Window(io.RawIOBase):
    """A file's bytes from one place to another, as a file."""

    def __init__(self, file: IO[bytes], start: int, stop: int) -> None:
        self._file, self._left = file, stop - start
        file.seek(start)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self._file.read(min(len(buffer), self._left))
        buffer[: len(data)] = data
        self._left -= len(data)
        return len(data)


class _Marked(tarfile.TarInfo):
    """The header of a tar that ends with its mark, an empty block. Without one, and at a damaged header, tarfile stops without a word."""

    ends: tuple[type[tarfile.TarError], ...] = (tarfile.EOFHeaderError,)  # type: ignore[attr-defined]

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> tarfile.TarInfo:  # type: ignore[override]
        try:
            return super().fromtarfile(tar)
        except cls.ends:
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"at byte {tar.offset}: {error}") from error


class _Piece(_Marked):
    """The header of a piece of a tar, which just ends."""

    ends = (tarfile.EOFHeaderError, tarfile.EmptyHeaderError)  # type: ignore[attr-defined]


def cuts(key: str, size: int, most: int) -> list[int]:
    """Return where to cut a tar so that no piece is much larger than ``most`` bytes: offsets of members' headers, the first one 0.

    A compressed tar cannot be entered in the middle, and one that is damaged is told of when it is read: both stay whole.
    """
    places = [0]
    try:
        with open_input(key, "") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                if member.offset_data + member.size - places[-1] > most and member.offset > places[-1]:
                    places.append(member.offset)
                tar.members = []  # type: ignore[attr-defined]  # else it keeps them all
    except (tarfile.TarError, OSError):
        return [0]
    return [place for place in places if place < size]


def members(key: str, base: str, start: int, stop: int, size: int) -> Iterator[tuple[str, bytes | None, str]]:
    """Yield the pictures of a tar, or of its bytes from ``start`` to ``stop`` (-1: its end): ``key#member``, the bytes, and why there
    are none: of a link, since what it leads to has gone by in a stream, or is not there at all, and of a tar in the tar.

    Members whose names are not pictures' are left out: labels and captions lie beside pictures.

    Raises:
        tarfile.TarError, OSError, EOFError: It is damaged or cut; what came before was yielded.
    """
    whole = start == 0 and stop < 0
    with open_input(key, base) as file:
        source: IO[bytes] = file if whole else io.BufferedReader(_Window(file, start, size if stop < 0 else stop))
        with tarfile.open(fileobj=source, mode="r|*", tarinfo=_Marked if stop < 0 else _Piece) as tar:
            for member in tar:
                what = kind_of(member.name)
                if (member.issym() or member.islnk()) and what == "images":
                    yield (
                        f"{key}#{member.name}",
                        None,
                        "is a link; expected the picture itself in the tar (tar --dereference --hard-dereference).",
                    )
                elif member.isfile() and what == "tar":
                    yield (
                        f"{key}#{member.name}",
                        None,
                        "is a tar in a tar; expected its pictures. Unpack it, and name it as an input of its own.",
                    )
                elif member.isfile() and what == "images":
                    body = tar.extractfile(member)
                    data = b"" if body is None else body.read()
                    if len(data) < member.size:
                        raise tarfile.ReadError(f"{member.name} ends after {len(data)} of {member.size} bytes")
                    yield f"{key}#{member.name}", data, ""
                tar.members = []  # type: ignore[attr-defined]
