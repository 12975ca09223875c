"""Reading photos or crops from one folder per label: faces are found and cut as the weights want them. Needs no Keras."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, ImageError
from ..image_files import expanded, image_files
from ..images import load_image
from ..labels import FER7, LabelSet
from ..protocols import Classifier, Detector, cut, name_of, prepared
from .faces import FOLDER_SPLITS, SPLITS, Faces, MissingSplitError

__all__ = ["Photos", "label_files", "read_photos"]


@dataclass(frozen=True)
class Photos:
    """Faces found in labelled photos.

    Attributes:
        faces: Prepared for the classifier that read them; ``skipped`` lists what could not be used, and why.
        files: The photo of each face.
    """

    faces: Faces
    files: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.faces)

    def subset(self, chosen: NDArray[Any]) -> Photos:
        """Return the faces of a mask or of indices; nothing is skipped in the subset."""
        rows = np.arange(len(self))[chosen]
        faces = replace(self.faces, images=self.faces.images[rows], labels=self.faces.labels[rows], skipped=())
        return Photos(faces, tuple(self.files[i] for i in rows))


def label_files(root: Path, split: str | None = None) -> dict[str, list[Path]]:
    """Return the pictures below ``root/<label>``, or ``root/<split folder>/<label>`` if there is one, sorted by name.

    Args:
        root: Folder.
        split: ``Training``, ``PublicTest`` or ``PrivateTest``; its folder may be called train, validation (val), test.

    Raises:
        DataError: No folder, no label folders in it, or other split folders but not this one.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder; expected one folder per label in it.")
    present = split_folders(root)
    if split is not None:
        if split not in SPLITS:
            raise DataError(f"Unknown split {split!r}; expected one of {', '.join(SPLITS)}.")
        if present and split not in present:
            raise MissingSplitError(
                f"{root} has no rows of split {split!r}: expected a folder {FOLDER_SPLITS[split][0]!r} beside "
                f"{', '.join(sorted(folder.name for folder in present.values()))}."
            )
        root = present.get(split, root)
    folders = sorted(child for child in root.iterdir() if child.is_dir() and not child.name.startswith("."))
    if not folders:
        raise DataError(f"{root} has no folders in it; expected one folder per label, for example {root / 'happy'}.")
    return {f.name: image_files(f) for f in folders}


def split_folders(root: Path) -> dict[str, Path]:
    """Return the split folders that are there, by the split's name."""
    found = {split: next((root / name for name in names if (root / name).is_dir()), None) for split, names in FOLDER_SPLITS.items()}
    return {split: folder for split, folder in found.items() if folder is not None}


def read_photos(
    root: str | Path,
    classifier: Classifier,
    detector: Detector,
    *,
    split: str | None = None,
    labels: LabelSet | None = None,
    progress: bool = False,
) -> Photos:
    """Find the largest face of every photo and prepare it for a classifier.

    Args:
        root: ``root/<label>/*.jpg``, or the same below split folders.
        classifier: Says how the faces are cut, and how they are kept.
        detector: ``FaceDetector("none")`` for ready crops.
        split: Which split folder to read, if there are any.
        labels: The label set. None: FER2013's if the folders' names are all in it, else the names themselves, sorted;
            folders without a usable face do not count.
        progress: Show a bar on standard error.

    Returns:
        Faces in the order of labels and file names. Empty folders, files that cannot be read and photos without a face
        are in ``faces.skipped``.

    Raises:
        DataError: As :func:`label_files`; also if fewer than two labels, or none, are left.
    """
    root = expanded(root)
    files = label_files(root, split)
    skipped = [(name, f"{root / name}: no images in this folder; the label is left out.") for name, paths in files.items() if not paths]
    images: list[NDArray[np.uint8]] = []
    names: list[str] = []
    used: list[Path] = []
    for name, path in _bar([(name, path) for name, paths in files.items() for path in paths], progress):
        try:
            pixels = load_image(path)
        except ImageError as error:
            skipped.append((str(path), str(error)))
            continue
        face = next(iter(detector.detect_rgb(pixels)), None)
        if face is None:
            skipped.append((str(path), f"{path}: no face found by {name_of(detector)}; for ready crops give detector='none'."))
            continue
        images.append(prepared(classifier, cut(pixels, face, detector, classifier.crop)))
        names.append(name)
        used.append(path)
    if not images:
        raise DataError(f"{root} has no usable face in its label folders; {_last(skipped)}")
    found = sorted(set(names))
    if labels is None:
        if len(found) < 2 and not set(found) <= set(FER7):
            raise DataError(f"{root} has one label with usable faces, {found[0]!r}; expected at least two. {_last(skipped)}".rstrip())
        labels = FER7 if set(found) <= set(FER7) else LabelSet("custom", tuple(found))
    truth = np.array([labels.index(name) for name in names], np.int64)
    return Photos(Faces(np.stack(images), truth, labels, skipped=tuple(skipped)), tuple(used))


def _last(skipped: list[tuple[str, str]]) -> str:
    return f"{len(skipped)} could not be used, the last: {skipped[-1][1]}" if skipped else "There are no images in them."


def _bar(items: list[tuple[str, Path]], progress: bool) -> Iterable[tuple[str, Path]]:
    from tqdm import tqdm

    bar: Iterable[tuple[str, Path]] = tqdm(items, unit="image", file=sys.stderr, disable=not progress)
    return bar
