"""Where bytes lie: a folder of this machine, a bucket, the hub. What is put appears whole or not at all."""

from __future__ import annotations

import contextlib
import io
import json
import os
import posixpath
import random
import time
import uuid
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

from ..errors import DataError, FerkitError, InputError, MissingExtraError
from ..image_files import expanded
from .options import need

__all__ = ["AddressError", "Found", "Place", "StoreError", "is_address", "open_input", "patiently", "read", "read_whole", "remote"]

_T = TypeVar("_T")
_TRIES = 5
_AT_ONCE = 1 << 16  # bytes, of files that are read line by line
_NATIVE = ("s3", "gs", "gcs")  # which pyarrow speaks itself, at a quarter of the cost of going through Python


class AddressError(InputError):
    """An address of a kind that there is not."""


class StoreError(FerkitError, OSError):
    """A store does not answer, or refuses; what was written before stays."""


class Found(NamedTuple):
    """An object: its name below the place, its size in bytes, and when it was changed (ns; 0 where that is not told)."""

    name: str
    size: int
    changed: int


def is_address(name: str) -> bool:
    """Return True for an address such as ``s3://bucket/key``."""
    return "://" in name


def patiently(action: Callable[[], _T]) -> _T:
    """Run something that a store may refuse for the moment: five tries, the waits between them longer and longer and by chance.

    Raises OSError, whatever the store's library raises: those that fsspec goes through have errors of their own.
    """
    for attempt in range(_TRIES):
        try:
            return action()
        except (FerkitError, FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError):
            raise
        except Exception as error:
            if attempt == _TRIES - 1 or _is_final(error):
                if isinstance(error, OSError):
                    raise
                raise OSError(f"{type(error).__name__}: {error}") from error
            time.sleep(random.uniform(0.05, 0.2) * 4**attempt)
    raise AssertionError("not reached")


def _is_final(error: Exception) -> bool:
    """Return True for an answer of HTTP's that would be the same the next time: 403, for example, and not "too many requests"."""
    status = getattr(error, "status", getattr(getattr(error, "response", None), "status_code", None))
    return isinstance(status, int) and 400 <= status < 500 and status not in (408, 425, 429)


@lru_cache(maxsize=32)
def _file_system(scheme: str, authority: str) -> Any:
    need("pyarrow", f"Reading {scheme}://")
    from pyarrow import fs

    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if scheme == "s3" and endpoint:  # which pyarrow itself does not look at: MinIO, Ceph, R2 and their like
        return fs.S3FileSystem(endpoint_override=endpoint, region=os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"))
    try:
        if scheme in _NATIVE:
            return fs.FileSystem.from_uri(f"{scheme}://{authority}")[0]
        need("fsspec", f"Reading {scheme}://")
        import fsspec

        return fs.PyFileSystem(fs.FSSpecHandler(fsspec.filesystem(scheme)))
    except MissingExtraError:
        raise
    except ValueError as error:
        raise AddressError(f"{scheme}://: {error}. Expected a path, or an address of s3, gs, hf or what fsspec knows.") from error
    except ImportError as error:
        raise FerkitError(f"{scheme}://: {error} Install that, and run it again.") from error


def remote(address: str) -> tuple[Any, str]:
    """Return an address's file system and its path there: the rest of the address, character by character; of http all of it."""
    scheme, _, path = address.partition("://")
    authority = path.partition("/")[0] if scheme in _NATIVE else ""
    return _file_system(scheme, authority), address if scheme in ("http", "https") else path


class _Patient(io.RawIOBase):
    """A file of a store that fsspec speaks to, whose library has errors of its own: each read is as patient as a request, and raises OSError."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        place = self._file.tell()

        def again() -> bytes:
            self._file.seek(place)
            return self._file.read(len(buffer))

        data = patiently(again)
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def open_input(key: str, base: str) -> IO[bytes]:
    """Open a key for reading at any place: an address, or a path, relative to ``base``. Raises OSError."""
    if not is_address(key):
        return open(os.path.join(base, key), "rb")
    file_system, path = remote(key)
    source: IO[bytes] = patiently(lambda: file_system.open_input_file(path))
    return source if key.partition("://")[0] in _NATIVE else io.BufferedReader(_Patient(source), _AT_ONCE)


def read(key: str, base: str) -> tuple[bytes, int]:
    """Return a key's bytes, and when it was changed (ns; 0 where reading does not tell). Raises OSError, after several tries."""
    if not is_address(key):
        with open(os.path.join(base, key), "rb") as file:
            return file.read(), os.fstat(file.fileno()).st_mtime_ns
    file_system, path = remote(key)

    def fetch() -> bytes:
        with file_system.open_input_stream(path) as stream:
            data: bytes = stream.read()
            return data

    return patiently(fetch), 0


def read_whole(key: str, base: str) -> bool:
    """Return whether all bytes of a key can be read: then what a reader of a format stumbles over is in them, and not on their way."""
    try:
        with open_input(key, base) as file:
            while file.read(1 << 20):
                pass
    except OSError:
        return False
    return True


class Place:
    """A folder, here or in a store.

    Args:
        address: A path, or an address such as ``s3://bucket/folder``.
    """

    def __init__(self, address: str) -> None:
        address = address.removeprefix("file://")  # which is a folder of this machine, and written as one
        self.address = address.rstrip("/") if is_address(address) else f"{expanded(address)}" if address.startswith("~") else address
        self.local = None if is_address(address) else expanded(address)
        if self.local is None:
            self._fs, self._root = remote(self.address)

    def path(self, name: str) -> str:
        """Return what other programs open."""
        return f"{self.address}/{name}" if self.local is None else str(self.local / name)

    def read(self, name: str) -> bytes | None:
        """Return an object's bytes, None where there is none."""
        try:
            return read(self.path(name), "")[0]
        except (FileNotFoundError, NotADirectoryError):
            return None

    def read_json(self, name: str) -> Any:
        """Return what an object says, None where there is none. Raises DataError."""
        data = self.read(name)
        try:
            return None if data is None else json.loads(data)
        except ValueError as error:
            raise DataError(f"{self.path(name)} is damaged ({error}); delete it and run the job again.") from error

    def open(self, name: str) -> IO[bytes]:
        """Open an object for reading at any place."""
        return open_input(self.path(name), "")

    def put(self, name: str, data: bytes) -> None:
        """Write an object, over what was there. Raises StoreError."""
        try:
            if self.local is None:
                patiently(lambda: self._send(name, data))
            else:
                os.replace(self._written(name, data), self.local / name)
        except OSError as error:
            raise self._unwritable(name, error) from error

    def _unwritable(self, name: str, error: OSError) -> StoreError:
        return StoreError(f"{self.path(name)} cannot be written: {error}. Run it again once that works; nothing is lost.")

    def put_new(self, name: str, data: bytes) -> bool:
        """Write an object unless there is one already, and return whether it was written.

        In a store two that do so at the same moment may both be told so; on a disk only one is. Raises StoreError.
        """
        if self.local is None:
            if self.read(name) is not None:
                return False
            self.put(name, data)
            return True
        try:
            temporary = self._written(name, data)
        except OSError as error:
            raise self._unwritable(name, error) from error
        try:
            os.link(temporary, self.local / name)
        except FileExistsError:
            return False
        except OSError:  # a file system without links
            if (self.local / name).exists():
                return False
            os.replace(temporary, self.local / name)
            return True
        finally:
            temporary.unlink(missing_ok=True)
        return True

    def _written(self, name: str, data: bytes) -> Path:
        assert self.local is not None
        folder = self.local / "_ferkit" / "tmp"
        folder.mkdir(parents=True, exist_ok=True)
        (self.local / name).parent.mkdir(parents=True, exist_ok=True)
        temporary = folder / uuid.uuid4().hex
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            temporary.unlink(missing_ok=True)  # a full disk is not to become fuller with every try
            raise
        return temporary

    def _send(self, name: str, data: bytes) -> None:
        # Not as a context: leaving one by an exception would commit the half that was written.
        stream = self._fs.open_output_stream(posixpath.join(self._root, name))
        stream.write(data)
        stream.close()

    def list(self, folder: str = "") -> list[Found]:
        """Return the objects of one folder, sorted; none where there is no such folder."""
        return sorted(self._entries(folder))

    def _entries(self, folder: str) -> Iterator[Found]:
        if self.local is not None:
            try:
                with os.scandir(self.local / folder) as entries:
                    for entry in entries:
                        try:
                            about = entry.stat() if entry.is_file() else None
                        except FileNotFoundError:  # deleted since it was listed: the others are there all the same
                            continue
                        if about is not None:
                            yield Found(entry.name, about.st_size, about.st_mtime_ns)
            except FileNotFoundError:
                pass
            return
        from pyarrow import fs

        selector = fs.FileSelector(posixpath.join(self._root, folder).rstrip("/"), allow_not_found=True)
        for info in patiently(lambda: self._fs.get_file_info(selector)):
            if info.type == fs.FileType.File:
                yield Found(info.base_name, info.size, info.mtime_ns or 0)

    def delete(self, name: str) -> None:
        """Delete an object; one that is not there is deleted."""
        try:
            if self.local is not None:
                (self.local / name).unlink(missing_ok=True)
            else:
                patiently(lambda: self._fs.delete_file(posixpath.join(self._root, name)))
        except FileNotFoundError:
            pass

    def delete_folder(self, folder: str) -> None:
        """Delete a folder and what lies in it."""
        for found in self.list(folder):
            self.delete(f"{folder}/{found.name}")
        if self.local is not None:
            with contextlib.suppress(OSError):  # another run of the same job is writing there
                (self.local / folder).rmdir()
