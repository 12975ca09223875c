"""Fetching from the Hugging Face Hub, pinned and hashed."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from ..errors import WeightsError
from .hashes import check
from .specs import SPEC_FILE, load_classifier_spec

__all__ = ["fetch_bundle", "fetch_file", "is_offline", "read_cached"]

# What a file system answers; the network's own errors are OSErrors too.
_DISK_ERRORS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOSPC, errno.ENOENT)


def is_offline() -> bool:
    """Return True if ``FERKIT_OFFLINE`` or ``HF_HUB_OFFLINE`` forbids the network."""
    return any(os.environ.get(name, "").strip().lower() in ("1", "true", "yes", "on") for name in ("FERKIT_OFFLINE", "HF_HUB_OFFLINE"))


def fetch_bundle(address: str, force: bool) -> Path:
    """Return the folder of the weights at ``hf://org/repo@revision``, every file checked against its spec. Raises WeightsError."""
    repo, at, revision = address.removeprefix("hf://").partition("@")
    if not at or not revision or repo.count("/") != 1:
        raise WeightsError(f"{address!r} is not a pinned address; expected hf://org/repo@revision, the revision a commit or a tag.")
    spec_path = fetch_file(repo, revision, SPEC_FILE, force)
    folder = spec_path.parent
    spec = load_classifier_spec(folder)
    for filename, wanted in spec.files.items():
        if Path(filename).is_absolute() or ".." in Path(filename).parts:
            raise WeightsError(f"{address} lists the file {filename!r}; expected names of files inside its folder.")
        path = fetch_file(repo, revision, filename, force)
        check(path, read_cached(path), str(wanted["sha256"]), int(wanted["size"]), f"ferkit weights fetch {address} --force")
    return folder


def fetch_file(repo: str, revision: str, filename: str, force: bool) -> Path:
    """Return a hub file from the cache, else, or with ``force``, from the network. Raises WeightsError."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    where = f"hf://{repo}@{revision}/{filename}"
    # Read here and not left to huggingface_hub, which reads it once, at its own import.
    endpoint = os.environ.get("HF_ENDPOINT") or None
    try:
        cached = Path(hf_hub_download(repo, filename, revision=revision, local_files_only=True, endpoint=endpoint))
    except LocalEntryNotFoundError:
        cached = None
    except OSError as error:
        raise _cache_error(where, error) from error
    except ValueError as error:
        raise WeightsError(f"{where} is not an address of the hub: {error} Expected hf://org/repo@revision.") from error
    if cached is not None and not force:
        return cached
    if is_offline():
        state = "not in the local cache" if cached is None else "to be fetched again"
        raise WeightsError(f"{where} is {state} and FERKIT_OFFLINE or HF_HUB_OFFLINE forbids fetching it; unset them once to fetch it.")
    if cached is None:
        return _download(repo, revision, filename, endpoint)
    # The hub's client keeps what it has for a commit, even if those bytes were damaged on disk: move them out of its way,
    # and back if nothing better can be had.
    old = cached.resolve()
    kept = old.with_name(old.name + ".kept")
    try:
        os.replace(old, kept)
        try:
            path = _download(repo, revision, filename, endpoint)
        except BaseException:
            os.replace(kept, old)
            raise
        kept.unlink()
    except WeightsError:
        raise
    except OSError as error:
        raise _cache_error(where, error) from error
    return path


def read_cached(path: Path) -> bytes:
    """Return the bytes of a file in the cache. Raises WeightsError where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror or error}); change its permissions, or delete it.") from error


def _cache_error(where: str, error: OSError) -> WeightsError:
    what = f"{error.strerror or error}: {error.filename}" if error.filename else str(error)
    return WeightsError(
        f"{where} cannot be fetched: the cache of the Hugging Face Hub cannot be used ({what}). "
        "Set HF_HOME to a folder that can be written, or give the path of the weights."
    )


def _download(repo: str, revision: str, filename: str, endpoint: str | None) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    where = f"hf://{repo}@{revision}/{filename}"
    try:
        return Path(hf_hub_download(repo, filename, revision=revision, endpoint=endpoint))
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        reason = f"the hub answered {status}" if status else "the hub did not answer"
        raise WeightsError(f"{where} cannot be fetched: {reason}. Check the repository, the revision and the file's name.") from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
            raise _cache_error(where, error) from error
        # The client lets its transport's own errors through, and the transport differs between its versions.
        raise WeightsError(
            f"{where} cannot be fetched: {error} Check the network, or copy the weights' folder here and give its path."
        ) from error
