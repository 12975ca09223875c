"""What there is to do: every picture, Parquet file, tar and film that some inputs name."""

from __future__ import annotations

import codecs
import glob
import os
import posixpath
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import InputError
from ..image_files import IMAGE_SUFFIXES, begins_like_an_image, expanded
from .storage import is_address, open_input, patiently, remote

__all__ = ["Listed", "kind_of", "listed", "listed_keys"]

_TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_PACKED = (".zip", ".7z", ".rar", ".zst", ".gz", ".bz2", ".xz", ".lz4")
_VIDEOS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".m2ts", ".mts", ".wmv", ".flv", ".3gp", ".ogv", ".vob")


class Listed(NamedTuple):
    """Something to read: its kind, its name as rows tell it, its size in bytes (-1: unknown) and when it was changed (ns; 0: unknown)."""

    kind: str
    key: str
    size: int
    changed: int


def kind_of(name: str) -> str | None:
    """Return what a name says of a file: images, parquet, tar or video; None where it says nothing."""
    lower = name.lower()
    if lower.endswith(".parquet"):
        return "parquet"
    if lower.endswith(_TARS):
        return "tar"
    suffix = os.path.splitext(lower)[1]  # noqa: PTH122 - of a key, which is not a path of this machine
    return "images" if suffix in IMAGE_SUFFIXES else "video" if suffix in _VIDEOS else None


def listed(inputs: Sequence[str], kind: str, left_out: Counter[str]) -> Iterator[Listed]:
    """Yield what some inputs name: files, folders (searched through), globs and addresses.

    Args:
        inputs: As the user gave them; the names of what lies in a folder begin with the folder's.
        kind: ``"auto"``, or the only kind to yield; then a file that is named itself is of that kind whatever its name.
        left_out: Counts, by suffix, the files that are nothing of what was asked for.

    Raises:
        InputError: A folder or a pattern that has nothing (folders that a pattern matches are not searched), or an address that cannot be
            listed.
    """
    for item in inputs:
        found = False
        for one in _addressed(item, kind, left_out) if is_address(item) else _here(item, kind, left_out):
            if kind in ("auto", one.kind):
                found = True
                yield one
            else:
                left_out[_suffix(one.key)] += 1
        if not found:
            wanted = "pictures, Parquet files, tars or videos" if kind == "auto" else kind
            raise InputError(
                f"{item}: no {wanted} there; expected a file, a folder, a pattern in quotes, or an address such as s3://bucket/folder."
            )


def _suffix(name: str) -> str:
    return posixpath.splitext(name)[1].lower() or "(none)"


def _here(item: str, kind: str, left_out: Counter[str]) -> Iterator[Listed]:
    path = str(expanded(item))
    if os.path.isdir(path):  # noqa: PTH112 - pathlib's raises on names that are too long
        yield from _folder(path, kind, left_out)
    elif os.path.lexists(path) or not glob.has_magic(path):
        yield _file(path, kind)
    else:
        for match in sorted(glob.glob(path, recursive=True)):
            if os.path.isdir(match):  # noqa: PTH112 - pathlib's raises on names that are too long
                if "**" not in path:  # which matches what is in it too
                    left_out["(a folder)"] += 1
            elif os.path.isfile(match) or not os.path.exists(match):
                yield _file(match, kind)
            else:
                left_out["(no file)"] += 1


def _file(path: str, kind: str) -> Listed:
    """Return a file that was named itself, whatever its name; one that is not there is told of when it is read."""
    try:
        about = os.stat(path)  # noqa: PTH116 - a key stays as it was given
        size, changed = about.st_size, about.st_mtime_ns
    except OSError:
        size = changed = -1
    return Listed(_named(path, kind), path, size, changed)


def _named(name: str, kind: str) -> str:
    """Return the kind of what was named itself. Raises InputError on an archive, which nobody means as one picture."""
    what = kind_of(name)
    if what is None and kind == "auto" and name.lower().endswith(_PACKED):
        raise InputError(f"{name} is an archive that is not read; expected it unpacked, or a tar ({', '.join(_TARS)}).")
    return (what or "images") if kind == "auto" else kind


def _folder(folder: str, kind: str, left_out: Counter[str]) -> Iterator[Listed]:
    try:
        with os.scandir(folder) as entries:
            inside = sorted(entries, key=lambda entry: entry.name)
    except OSError:
        yield Listed("images", folder, -1, -1)  # which reading will say of why
        return
    if any(entry.name == "_ferkit" for entry in inside):
        left_out["(a job's OUTPUT)"] += 1  # its Parquet files are rows, and not pictures
        return
    if not inside and kind_of(folder) == "images":
        yield Listed("images", folder, -1, -1)
    for entry in inside:
        if entry.is_dir(follow_symlinks=False):
            yield from _folder(entry.path, kind, left_out)
            continue
        size, changed, mode = _about(entry)
        if stat.S_ISDIR(mode):  # a link to a folder, which may lead back here
            left_out["(a link to a folder)"] += 1
            continue
        if mode and not stat.S_ISREG(mode):  # a pipe, on which reading would wait for ever
            left_out["(no file)"] += 1
            continue
        what = kind_of(entry.name)
        if what is None and kind in ("auto", "images") and begins_like_an_image(Path(entry.path)):
            what = "images"
        if what is None:
            left_out[_suffix(entry.name)] += 1
        else:
            yield Listed(what, entry.path, size, changed)


def _about(entry: os.DirEntry[str]) -> tuple[int, int, int]:
    """Return a file's size, when it was changed, and its mode; -1, -1 and 0 of a link that leads nowhere, or round in a circle."""
    try:
        about = entry.stat()
    except OSError:
        return -1, -1, 0
    return about.st_size, about.st_mtime_ns, about.st_mode


def _address(scheme: str, path: str) -> str:
    """Return a path of a file system as an address; those of http have it in them."""
    return path if path.startswith(f"{scheme}://") else f"{scheme}://{path}"


def _addressed(item: str, kind: str, left_out: Counter[str]) -> Iterator[Listed]:
    from pyarrow import fs

    try:
        item = patiently(partial(_pinned, item))
        scheme = item.partition("://")[0]
        file_system, path = remote(item.rstrip("/"))
        pattern = path if "*" in path else None
        root = path.partition("*")[0].rpartition("/")[0] if pattern else path
        about = patiently(lambda: file_system.get_file_info(root))
        if about.type == fs.FileType.File:
            yield Listed(_named(root, kind), _address(scheme, root), about.size, about.mtime_ns or 0)
            return
        selector = fs.FileSelector(root, recursive=True, allow_not_found=True)
        infos = patiently(lambda: file_system.get_file_info(selector))
    except OSError as error:
        raise InputError(f"{item} cannot be listed: {error}. Check the address, the credentials and the network.") from error
    for info in infos:
        if info.type != fs.FileType.File or (pattern and not fnmatchcase(info.path, pattern)):
            continue
        what = kind_of(info.path)
        if what is None and kind == "images" and not posixpath.splitext(info.path)[1]:
            what = "images"  # buckets are full of pictures that are named by their hash
        if what is None:
            left_out[_suffix(info.path)] += 1
        else:
            yield Listed(what, _address(scheme, info.path), info.size, info.mtime_ns or 0)


def _pinned(item: str) -> str:
    """Return a hub's address at the commit that it means today, so that every worker on every day reads the same."""
    if not item.startswith("hf://"):
        return item
    from huggingface_hub import HfApi, HfFileSystem

    at: Any = HfFileSystem().resolve_path(item)
    if not hasattr(at, "repo_id"):  # a bucket, which has no commits
        return item
    commit = HfApi().repo_info(at.repo_id, repo_type=at.repo_type, revision=at.revision).sha
    kind = {"dataset": "datasets/", "space": "spaces/"}.get(at.repo_type, "")
    return f"hf://{kind}{at.repo_id}@{commit}" + (f"/{at.path_in_repo}" if at.path_in_repo else "")


def listed_keys(path: str, kind: str) -> Iterator[Listed]:
    """Yield what a list of names has: a text file with one a line, or Parquet with a column ``key`` or ``image`` (and ``bucket``).

    Nothing is looked up, so that a list of millions costs no request: sizes are read from a column ``size`` where there is one.

    Raises:
        InputError: The list cannot be read, has no such column, an entry in it that is no text, or is empty.
    """
    path = path if is_address(path) else str(expanded(path))
    try:
        found = False
        for key, size in _parquet_keys(path) if path.lower().endswith(".parquet") else _text_keys(path):
            found = True
            yield Listed((kind_of(key) or "images") if kind == "auto" else kind, key, size, 0)
    except InputError:
        raise
    except (OSError, ValueError) as error:  # ValueError: what pyarrow says of a damaged table
        raise InputError(
            f"keys={path} cannot be read: {error}. Expected a text file with one name a line, or Parquet.", arguments=["keys"]
        ) from error
    if not found:
        raise InputError(f"keys={path} names nothing; expected one name a line, or a row each.", arguments=["keys"])


def _text_keys(path: str) -> Iterable[tuple[str, int]]:
    with open_input(path, "") as file:
        for number, line in enumerate(file):
            if number == 0 and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # as PowerShell's > writes it
                raise InputError(f"keys={path} is UTF-16; expected UTF-8, one name a line.", arguments=["keys"])
            text = line.removeprefix(codecs.BOM_UTF8) if number == 0 else line  # which some editors begin a file with
            if name := text.decode("utf-8", "surrogateescape").strip("\r\n"):
                yield name, -1


def _parquet_keys(path: str) -> Iterable[tuple[str, int]]:
    import pyarrow.parquet as pq

    with open_input(path, "") as source:
        file: Any = pq.ParquetFile(source)
        names = file.schema_arrow.names
        column = next((name for name in ("key", "image", "path") if name in names), None)
        if column is None:
            raise InputError(f"keys={path} has the columns {', '.join(names)}; expected one named key, image or path.", arguments=["keys"])
        wanted = [column, *(name for name in ("bucket", "size") if name in names)]
        for batch in file.iter_batches(columns=wanted):
            for row in batch.to_pylist():
                if not isinstance(row[column], str):
                    raise InputError(f"keys={path} has {row[column]!r} in the column {column}; expected names as text.", arguments=["keys"])
                bucket = row.get("bucket")
                yield (f"s3://{bucket}/{row[column]}" if bucket else row[column]), -1 if row.get("size") is None else int(row["size"])
