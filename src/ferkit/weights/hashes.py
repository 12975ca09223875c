"""SHA-256 of files, and the error where one differs."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ..errors import WeightsError
from .records import FileEntry

__all__ = ["check", "check_file", "file_entry", "sha256_of"]


def sha256_of(data: bytes) -> str:
    """Return the SHA-256 of some bytes as 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def file_entry(data: bytes) -> FileEntry:
    """Return what a spec's ``files`` say of a file with this content: its ``sha256`` and its ``size`` in bytes."""
    return {"sha256": sha256_of(data), "size": len(data)}


def check(path: Path, data: bytes, sha256: str, size: int, cure: str) -> None:
    """Raise WeightsError unless a file's content has this SHA-256; the message has both hashes and sizes, and the command that mends it."""
    _compare(path, file_entry(data), sha256, size, cure)


def check_file(path: Path, sha256: str, size: int, cure: str) -> None:
    """As ``check``, without holding the file in memory. Raises OSError too."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
        _compare(path, {"sha256": found, "size": file.tell()}, sha256, size, cure)


def _compare(path: Path, found: FileEntry, sha256: str, size: int, cure: str) -> None:
    if found["sha256"] != sha256:
        raise WeightsError(
            f"{path} is damaged: {found['size']} bytes with SHA-256 {found['sha256']}, expected {size} bytes with SHA-256 {sha256}. Run: {cure}"
        )
