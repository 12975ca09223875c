"""Finding weights, and checking every byte of them before anyone uses it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ..errors import InputError, WeightsError
from ..image_files import expanded
from .hashes import check, check_file, sha256_of
from .hub import fetch_bundle, fetch_file, read_cached
from .records import FileEntry
from .releases import DEFAULT_WEIGHTS, SUPERSEDED, TABLE, ZOO, successor
from .specs import SPEC_FILE, DetectorSpec, EnsembleSpec, WeightsSpec, load_spec

__all__ = ["bundled_folder", "member_folder", "read_verified", "refuse_inner_file", "resolve", "resolve_any", "resolve_detector", "verify"]


def resolve(weights: str | os.PathLike[str] | None = None, *, force: bool = False) -> Path:
    """Find a folder of a classifier's or an ensemble's weights.

    The order is: a folder's path; what comes with the package (in a source checkout, the zoo's small nets, and superseded
    releases, with a warning that says what replaced them); the local cache; the Hugging Face Hub.

    Args:
        weights: A path, a name from ``list_weights``, or ``hf://org/repo@revision``. None: the default.
        force: Fetch again even if a copy is cached.

    Returns:
        A folder with ``spec.json`` and the files that it lists.

    Raises:
        WeightsError: Not found, not reachable, or offline; the message says which and what to do.
        InputError: Neither a text nor a path.
    """
    if weights is not None and not isinstance(weights, (str, os.PathLike)):
        raise InputError(f"{type(weights).__name__} does not name weights; expected a name, an hf:// address or a folder's path.")
    name = os.fspath(weights) if weights is not None else DEFAULT_WEIGHTS
    folder = _resolve(name, force)
    if name in SUPERSEDED and folder == _superseded(name):
        warnings.warn(f"The weights {name!r} were replaced by {successor(name)!r}; they still work, as they did.", stacklevel=2)
    return folder


def _resolve(name: str, force: bool = False) -> Path:
    if name.startswith("hf://"):
        return fetch_bundle(name, force)
    folder = expanded(name)
    if name and os.path.isdir(folder):  # noqa: PTH112 - pathlib's raises on names that are too long
        return folder
    refuse_inner_file(name)
    release = TABLE.get(name)
    if name in SUPERSEDED:
        if (_superseded(name) / SPEC_FILE).is_file():
            return _superseded(name)
        raise WeightsError(
            f"The weights {name!r} were replaced by {successor(name)!r}, which come with this version; use those. "
            "The old ones are in the folder weights/superseded of ferkit's repository, and open by their folder's path."
        )
    if name in ZOO:
        if (_zoo(name) / SPEC_FILE).is_file():
            return _zoo(name)
        raise WeightsError(
            f"The weights {name!r} are for teaching and do not come with the package. They are in the folder weights/zoo of ferkit's "
            f"repository, and open by their folder's path; or train them. Run: ferkit train --recipe {name} --data fer2013.csv --out {name}"
        )
    if release is None or release.kind == "detector":
        names = ", ".join(r.name for r in TABLE.values() if r.kind != "detector")
        raise WeightsError(
            f"No weights {name!r}; expected one of {names}, hf://org/repo@revision, or the path of a folder with {SPEC_FILE}."
        )
    if release.hub is not None:
        return fetch_bundle(f"hf://{release.hub.repo}@{release.hub.revision}", force)
    return _bundled(name)


def refuse_inner_file(name: str | os.PathLike[str]) -> None:
    """Raise WeightsError for a file that lies in a folder of weights: with the folder go its labels, its preprocessing and its crop."""
    path = expanded(name)
    if path.suffix and os.path.isfile(path) and (path.parent / SPEC_FILE).is_file():
        try:
            spec = load_spec(path.parent)
        except WeightsError:
            return
        if path.name in (*spec.files, SPEC_FILE, "card.md"):
            raise WeightsError(f"{path} is one file of the weights {spec.name!r}; give their folder, {path.parent}.", arguments=["weights"])


def _superseded(name: str) -> Path:
    return bundled_folder() / "superseded" / name


def _zoo(name: str) -> Path:
    return bundled_folder() / "zoo" / name


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
    path = fetch_file(hub.repo, hub.revision, hub.filename, force)
    check(path, read_cached(path), hub.sha256, hub.size, f"ferkit weights fetch {name} --force; or give the file: FaceDetector(model=PATH)")
    return path


def resolve_any(weights: str | os.PathLike[str] | None = None, *, force: bool = False) -> Path:
    """Find weights of any kind: as ``resolve``, and detectors by name too, of which one that is fetched is a file. Raises WeightsError."""
    release = TABLE.get(os.fspath(weights)) if weights is not None else None
    return (
        resolve_detector(release.name, force=force) if release is not None and release.kind == "detector" else resolve(weights, force=force)
    )


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
    with _readable(folder, spec, filename) as (wanted, cure):
        data = (folder / filename).read_bytes()
    check(folder / filename, data, str(wanted["sha256"]), int(wanted["size"]), cure)
    return data


@contextmanager
def _readable(folder: Path, spec: WeightsSpec | EnsembleSpec | DetectorSpec, filename: str) -> Iterator[tuple[FileEntry, str]]:
    """Give what a spec says of a file, and the command that mends it; whoever cannot read the file is told that."""
    cure = _cure(folder, spec.name, filename)
    try:
        yield spec.files[filename], cure
    except WeightsError:  # which is an OSError too
        raise
    except OSError as error:
        raise WeightsError(f"{folder / filename} cannot be read ({error.strerror}); weights {spec.name!r} need it. Run: {cure}") from error


def verify(weights: str | os.PathLike[str] | None = None) -> dict[str, FileEntry]:
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
    checked: dict[str, FileEntry] = {}
    for file in spec.files:  # a Keras network may have hundreds of megabytes
        with _readable(folder, spec, file) as (wanted, cure):
            check_file(folder / file, str(wanted["sha256"]), int(wanted["size"]), cure)
        checked[f"{spec.name}/{file}"] = wanted
    for member in spec.members if isinstance(spec, EnsembleSpec) else ():
        where = member_folder(folder, member)
        if "weights" in member:  # the files of copied members are the ensemble's own
            checked |= verify(where)
    return checked


def bundled_folder() -> Path:
    """Return the folder of the weights that come with the package (in a source checkout, the repository's own)."""
    packaged = Path(__file__).parents[1] / "_weights"
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[3] / "weights"


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
