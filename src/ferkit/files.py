"""Files that are whole or not there at all."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from .errors import FerkitError, InputError, WeightsError
from .text import ESCAPES

__all__ = ["clear_partials", "new_folder", "replacing", "replacing_path", "writable", "write_arrays", "write_bytes", "write_json"]

_LEAST_FREE = 200 << 20  # bytes: a checkpoint beside its successor, weights in two formats
_PARTIAL = re.compile(r"\.[0-9a-f]{6}\.partial(\.\w+)?$")


def writable(out: Path, least: int = _LEAST_FREE, argument: str = "out") -> Path:
    """Return a folder, if it can be made and written to and its disk has room; nothing is made.

    Args:
        out: Need not exist yet.
        least: Bytes that must be free.
        argument: What the caller's caller knows the folder by.

    Raises:
        InputError: It cannot be written to, or it or a part of its path is a file, or a link that leads nowhere.
        WeightsError: The disk is nearly full.
    """
    # Here, since reading a picture needs neither, and both together cost its cold start 7 ms.
    import shutil
    import tempfile

    try:
        out.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:  # a name that no folder can have, or one in a folder that may not be entered
        if getattr(error, "errno", None) != errno.ELOOP:  # a link that leads round in a circle is told of as such
            raise _unwritable(out, error) from error
    path = (out, *out.absolute().parents)
    for folder in path:
        if folder.is_symlink() and not folder.exists():
            raise InputError(
                f"{folder} is a link to {folder.readlink()}, which is not there. Choose another {argument}.", arguments=[argument]
            )
    there = next((folder for folder in path if folder.exists()), None)
    if there is None:  # as on Windows, of a drive that is not there
        raise _unwritable(out, FileNotFoundError(f"there is no {out.absolute().anchor}"))
    if not there.is_dir():
        raise InputError(f"{there} is a file; expected a folder for {out}. Choose another {argument}.", arguments=[argument])
    try:
        # Tried rather than asked: permissions, read-only disks and quotas all answer here.
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"ferkit")
    except OSError as error:
        raise _unwritable(out, error) from error
    free = shutil.disk_usage(there).free
    if free < least:
        raise WeightsError(
            f"{there} has {free >> 20} MB free; a run needs at least {least >> 20}. Free some space, or choose another {argument}.",
            arguments=[argument],
        )
    return out


def _unwritable(out: Path, error: Exception) -> InputError:
    return InputError(f"{out} cannot be written ({getattr(error, 'strerror', None) or error}); expected a folder that you may write to.")


def new_folder(out: Path, what: str) -> Path:
    """Return a path where a folder can be made anew: nothing is there, or an empty folder. Nothing is made.

    Args:
        out: The folder.
        what: What is to be in it, for the message: "the weights".

    Raises:
        InputError: Something is there, which is never overwritten.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} already exists; expected the name of a new folder for {what}, or an empty one.", arguments=["out"])
    return out


@contextmanager
def replacing(path: Path, sync: bool = True) -> Iterator[BinaryIO]:
    """Open a file that takes the place of ``path`` once it is whole.

    Args:
        path: Its folder exists.
        sync: Wait until the disk has it, so that a crash of the machine does not leave an empty file either.

    Raises:
        WeightsError: It cannot be written; what was there before is kept.
    """
    # The name ends in .partial, so that nobody takes what a kill leaves of a picture for a picture.
    with _in_place_of(path, ".partial") as partial, partial.open("wb") as file:
        yield file
        if sync:
            file.flush()
            os.fsync(file.fileno())


@contextmanager
def replacing_path(path: Path) -> Iterator[Path]:
    """Yield the path of a file to write, with the ending of ``path``, for libraries that tell the format by it.

    It takes the place of ``path`` once it is whole, and the disk has it. Arguments and errors as in ``replacing``.
    """
    with _in_place_of(path, f".partial{path.suffix}") as partial:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())


@contextmanager
def _in_place_of(path: Path, ending: str) -> Iterator[Path]:
    # Two processes that write one path write two files; a name may be as long as a disk takes, the longer one beside it not longer.
    partial = path.with_name(f"{path.name[:50]}.{os.urandom(3).hex()}{ending}")
    try:
        yield partial
        os.replace(partial, path)
    except OSError as error:
        if not _of_the_disk(error, partial):
            raise
        raise WeightsError(
            f"{path} cannot be written ({error.strerror or error}); what was there before is kept. "
            "Free some space and do it again, a training run with resume=True.",
            arguments=["resume"],
        ) from error
    finally:
        with suppress(OSError):  # it took its place, or never was
            partial.unlink()


def _of_the_disk(error: OSError, partial: Path) -> bool:
    """Return whether a file could not be written, as against an error of what was to be written, such as another file that is not there."""
    return not isinstance(error, (FerkitError, ConnectionError, TimeoutError)) and error.filename in (None, str(partial))


def clear_partials(folder: Path) -> None:
    """Delete what killed processes left half written in a folder and below. For who is the only one to write there."""
    for left in folder.rglob("*.partial*"):
        if _PARTIAL.search(left.name):
            left.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes, sync: bool = True) -> Path:
    """Write a file as a whole; returns its path. Arguments and errors as in ``replacing``."""
    with replacing(path, sync) as file:
        file.write(data)
    return path


def write_arrays(path: Path, arrays: Mapping[str, Any], compress: bool = True) -> None:
    """Write NumPy arrays as an ``.npz`` file, none of them of objects, which would be pickled. Errors as in ``replacing``."""
    import numpy as np

    # Without allow_pickle=False, which NumPy before 2.1 takes for one more array.
    assert not any(np.asarray(array).dtype.hasobject for array in arrays.values()), list(arrays)
    with replacing(path) as file:
        (np.savez_compressed if compress else np.savez)(file, **arrays)


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that a crash leaves either the old file or the new one. Raises WeightsError if it cannot be written."""
    write_bytes(path, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode("utf-8", ESCAPES))
