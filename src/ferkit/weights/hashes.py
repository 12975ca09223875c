"""SHA-256 of files, and the error where one differs."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ..errors import WeightsError
from .records import FileEntry

__all__ = ["check", "file_entry", "sha256_of"]


def sha256_of(data: bytes) -> str:
    """Return the SHA-256 of some bytes as 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def file_entry(data: bytes) -> FileEntry:
    """Return what a spec's ``files`` say of a file with this content: its ``sha256`` and its ``size`` in bytes."""
    return {"sha256": sha256_of(data), "size": len(data)}


def check(path: Path, data: bytes, sha256: str, size: int, cure: str) -> None:
    """Raise WeightsError unless a file's content has this SHA-256; the message has both hashes and sizes, and the command that mends it."""
    found = sha256_of(data)
    if found != sha256:
        raise WeightsError(
            f"{path} is damaged: {len(data)} bytes with SHA-256 {found}, expected {size} bytes with SHA-256 {sha256}. Run: {cure}"
        )
