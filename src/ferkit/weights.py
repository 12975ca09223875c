"""Weights as immutable values: the table of releases, finding, fetching and verifying them. Their specs: _specs.py."""

from __future__ import annotations

import errno
import hashlib
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ._specs import SPEC_FILE, DetectorSpec, EnsembleOutput, EnsembleSpec, Output, WeightsSpec, load_classifier_spec, load_spec
from .errors import WeightsError

__all__ = [
    "BUNDLED_DETECTOR",
    "DEFAULT_WEIGHTS",
    "SPEC_FILE",
    "SUPERSEDED",
    "TABLE",
    "DetectorSpec",
    "EnsembleOutput",
    "EnsembleSpec",
    "HubFile",
    "Output",
    "Release",
    "WeightsSpec",
    "file_entry",
    "is_offline",
    "list_weights",
    "load_classifier_spec",
    "load_spec",
    "member_folder",
    "read_verified",
    "resolve",
    "resolve_detector",
    "sha256_of",
    "successor",
    "verify",
]

DEFAULT_WEIGHTS = "fer2013-s-v5"
# What a file system answers; the network's own errors are OSErrors too.
_DISK_ERRORS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOSPC, errno.ENOENT)
BUNDLED_DETECTOR = "ferkit-face-v2"  # behind FaceDetector("ferkit")


@dataclass(frozen=True)
class HubFile:
    """A file on the Hugging Face Hub, pinned by revision and by hash."""

    repo: str
    revision: str
    filename: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Release:
    """A row of the table. ``hub`` is None for what comes with the package."""

    name: str
    kind: Literal["classifier", "ensemble", "detector"]
    licence: str
    summary: str
    hub: HubFile | None = None


TABLE: dict[str, Release] = {
    release.name: release
    for release in (
        Release("fer2013-n-v5", "classifier", "MIT", "the smallest; comes with the package"),
        Release("fer2013-s-v5", "classifier", "MIT", "FER2013 and FER+ labels; comes with the package"),
        Release("fer2013-b-v5", "classifier", "MIT", "twice the work of fer2013-s; comes with the package"),
        Release("fer2013-ensemble-v5", "ensemble", "MIT", "fer2013-s-v5 and fer2013-b-v5 together; comes with the package"),
        Release("ferkit-face-v2", "detector", "MIT", "faces with five landmarks; comes with the package"),
        Release(
            "yunet-2026may",
            "detector",
            "MIT",
            "YuNet face detector with five landmarks, from OpenCV's zoo",
            HubFile(
                repo="opencv/face_detection_yunet",
                # The commit is not known to us; the hash below is what pins the file.
                revision="main",
                filename="face_detection_yunet_2026may.onnx",
                sha256="ebafce4e3c118d6554634be5c27ab333b4c047a9a8c3faf1d7cf93101c22f0f0",
                size=229738,
            ),
        ),
    )
}

# No longer in the package. A source checkout has them in weights/superseded, where they still open by name.
SUPERSEDED = (
    "fer2013-n-v2",
    "fer2013-n-v4",
    "fer2013-s-v1",
    "fer2013-s-v2",
    "fer2013-s-v3",
    "fer2013-b-v2",
    "fer2013-b-v3",
    "fer2013-b-v4",
    "fer2013-ensemble-v1",
    "fer2013-ensemble-v2",
    "fer2013-ensemble-v3",
    "ferkit-face-v1",
)


def successor(name: str) -> str:
    """Return the release in the package that replaced one of ``SUPERSEDED``: the same name with the newest version."""
    family = name.rpartition("-v")[0]
    return next(release for release in TABLE if release.rpartition("-v")[0] == family)


def list_weights() -> list[Release]:
    """Return the releases that this version of ferkit knows by name."""
    return list(TABLE.values())


def is_offline() -> bool:
    """Return True if ``FERKIT_OFFLINE`` or ``HF_HUB_OFFLINE`` forbids the network."""
    return any(os.environ.get(name, "").strip().lower() in ("1", "true", "yes", "on") for name in ("FERKIT_OFFLINE", "HF_HUB_OFFLINE"))


def sha256_of(data: bytes) -> str:
    """Return the SHA-256 of some bytes as 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def file_entry(data: bytes) -> dict[str, str | int]:
    """Return what a spec's ``files`` say of a file with this content: its ``sha256`` and its ``size`` in bytes."""
    return {"sha256": sha256_of(data), "size": len(data)}


def resolve(weights: str | os.PathLike[str] | None = None, *, force: bool = False) -> Path:
    """Find a folder of a classifier's or an ensemble's weights.

    The order is: a folder's path; what comes with the package (in a source checkout, superseded releases too, with a warning
    that says what replaced them); the local cache; the Hugging Face Hub.

    Args:
        weights: A path, a name from :func:`list_weights`, or ``hf://org/repo@revision``. None: the default.
        force: Fetch again even if a copy is cached.

    Returns:
        A folder with ``spec.json`` and the files that it lists.

    Raises:
        WeightsError: Not found, not reachable, or offline; the message says which and what to do.
    """
    name = os.fspath(weights) if weights is not None else DEFAULT_WEIGHTS
    folder = _resolve(name, force)
    if name in SUPERSEDED and folder == _superseded(name):
        warnings.warn(f"The weights {name!r} were replaced by {successor(name)!r}; they still work, as they did.", stacklevel=2)
    return folder


def _resolve(name: str, force: bool = False) -> Path:
    if name.startswith("hf://"):
        return _fetch_bundle(name, force)
    folder = Path(name).expanduser()
    if name and folder.is_dir():
        return folder
    release = TABLE.get(name)
    if name in SUPERSEDED:
        if (_superseded(name) / SPEC_FILE).is_file():
            return _superseded(name)
        raise WeightsError(
            f"The weights {name!r} were replaced by {successor(name)!r}, which come with this version; use those. "
            "The old ones are in the folder weights/superseded of ferkit's repository, and open by their folder's path."
        )
    if release is None or release.kind == "detector":
        names = ", ".join(r.name for r in TABLE.values() if r.kind != "detector")
        raise WeightsError(
            f"No weights {name!r}; expected one of {names}, hf://org/repo@revision, or the path of a folder with {SPEC_FILE}."
        )
    if release.hub is not None:
        return _fetch_bundle(f"hf://{release.hub.repo}@{release.hub.revision}", force)
    return _bundled(name)


def _superseded(name: str) -> Path:
    return bundled_folder() / "superseded" / name


def _bundled(name: str) -> Path:
    folder = bundled_folder() / name
    if not folder.is_dir():
        raise WeightsError(f"{name!r} should have come with the package but is not in {folder}; type: pip install --force-reinstall ferkit")
    return folder


def resolve_detector(name: str, *, force: bool = False) -> Path:
    """Return a bundled detector's folder, or the file of one that is fetched, by its pinned hash. Raises WeightsError."""
    release = TABLE[name]
    if release.hub is None:
        return _bundled(name)
    hub = release.hub
    path = _fetch_file(hub.repo, hub.revision, hub.filename, force)
    _check(path, _read_cached(path), hub.sha256, hub.size, f"ferkit weights fetch {name} --force, or give the file with --detector-model")
    return path


def member_folder(bundle: Path, entry: Mapping[str, str]) -> Path:
    """Find one member of the ensemble in ``bundle`` and check that it is the one that the ensemble was saved with.

    Raises:
        WeightsError: It cannot be found or read, is another one, or lies outside of the ensemble's folder.
    """
    if "weights" in entry:
        folder = _resolve(entry["weights"])  # of a superseded ensemble's members no warning: it has said so itself
    else:
        folder = bundle / entry["path"]
        if not folder.resolve().is_relative_to(bundle.resolve()):
            raise WeightsError(f"{bundle} names a member outside of it: {entry['path']!r}. Do not use this ensemble.")
    try:
        found = sha256_of((folder / SPEC_FILE).read_bytes())
    except OSError as error:
        raise WeightsError(f"{bundle}: its member {entry['name']!r} cannot be read ({error.strerror}); restore {folder}.") from error
    if found != entry["sha256"]:
        raise WeightsError(
            f"{bundle}: its member {entry['name']!r} has a spec with SHA-256 {found}, expected {entry['sha256']}; restore {folder}."
        )
    return folder


def read_verified(folder: Path, spec: WeightsSpec | EnsembleSpec | DetectorSpec, filename: str = "model.onnx") -> bytes:
    """Read one file of a release and check it against the spec before anyone uses it.

    Raises:
        WeightsError: The file is missing, or its size or SHA-256 is not the spec's; both hashes and the cure are named.
    """
    cure = _cure(folder, spec.name, filename)
    try:
        data = (folder / filename).read_bytes()
    except OSError as error:
        raise WeightsError(f"{folder / filename} cannot be read ({error.strerror}); weights {spec.name!r} need it. Type: {cure}") from error
    wanted = spec.files[filename]
    _check(folder / filename, data, str(wanted["sha256"]), int(wanted["size"]), cure)
    return data


def verify(weights: str | os.PathLike[str] | None = None) -> dict[str, Mapping[str, Any]]:
    """Check every file of a classifier's, ensemble's or detector's weights against its hash, an ensemble's members included.

    Returns:
        ``{"name/file": {"sha256": 64 hex digits, "size": bytes}}``, for each file that was checked.

    Raises:
        WeightsError: At the first file that differs, or if the weights cannot be found.
    """
    name = os.fspath(weights) if weights is not None else DEFAULT_WEIGHTS
    release = TABLE.get(name)
    if release is not None and release.kind == "detector" and release.hub is not None:
        resolve_detector(name)  # which checks the hash
        return {f"{name}/{release.hub.filename}": {"sha256": release.hub.sha256, "size": release.hub.size}}
    folder = _bundled(name) if release is not None and release.kind == "detector" else resolve(weights)
    spec = load_spec(folder)
    checked = {f"{spec.name}/{file}": entry for file, entry in spec.files.items() if read_verified(folder, spec, file)}
    for member in spec.members if isinstance(spec, EnsembleSpec) else ():
        where = member_folder(folder, member)
        if "weights" in member:  # the files of copied members are the ensemble's own
            checked |= verify(where)
    return checked


def bundled_folder() -> Path:
    """Return the folder of the weights that come with the package (in a source checkout, the repository's own)."""
    packaged = Path(__file__).with_name("_weights")
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[2] / "weights"


def _cure(folder: Path, name: str, filename: str) -> str:
    ours = bundled_folder()
    if folder.is_relative_to(ours):
        if ours.name == "_weights":
            return "pip install --force-reinstall ferkit"
        path = (folder.relative_to(ours.parent) / filename).as_posix()
        found_by = "git log -1 --diff-filter=AM --format=%h --"
        if folder.name in SUPERSEDED and filename != "model.onnx":  # in the history alone, where the release lay while it was current
            old = f"weights/{folder.name}/{filename}"
            return f"git show $({found_by} {old}):{old} > {path}"
        return f"git checkout $({found_by} {path}) -- {path}"
    return (
        f"ferkit weights fetch hf://ORG/REPO@REVISION --force, or restore {folder}"
        if name not in TABLE
        else f"ferkit weights fetch {name} --force"
    )


def _check(path: Path, data: bytes, sha256: str, size: int, cure: str) -> None:
    found = sha256_of(data)
    if found != sha256:
        raise WeightsError(
            f"{path} is damaged: {len(data)} bytes with SHA-256 {found}, expected {size} bytes with SHA-256 {sha256}. Type: {cure}"
        )


def _fetch_bundle(address: str, force: bool) -> Path:
    repo, at, revision = address.removeprefix("hf://").partition("@")
    if not at or not revision or repo.count("/") != 1:
        raise WeightsError(f"{address!r} is no pinned address; expected hf://org/repo@revision, the revision a commit or a tag.")
    spec_path = _fetch_file(repo, revision, SPEC_FILE, force)
    folder = spec_path.parent
    spec = load_classifier_spec(folder)
    for filename, wanted in spec.files.items():
        if Path(filename).is_absolute() or ".." in Path(filename).parts:
            raise WeightsError(f"{address} lists the file {filename!r}; expected names of files inside its folder.")
        path = _fetch_file(repo, revision, filename, force)
        _check(path, _read_cached(path), str(wanted["sha256"]), int(wanted["size"]), f"ferkit weights fetch {address} --force")
    return folder


def _fetch_file(repo: str, revision: str, filename: str, force: bool) -> Path:
    """Return a hub file from the cache, else from the network."""
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


def _read_cached(path: Path) -> bytes:
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
