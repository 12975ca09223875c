"""Reading photos or crops that a listing names: faces are found and cut as the weights want them. Needs no Keras."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..crops import CropGeometry
from ..errors import DataError, ImageError
from ..faces import Face
from ..geometry import iou
from ..image_files import expanded
from ..images import load_image
from ..labels import CLASSES, CUSTOM, LabelSet
from ..protocols import Classifier, Detector, cut, cut_out, is_whole, name_of, prepared
from .faces import Faces
from .label_names import as_mapping, label_set_of
from .layouts import list_folder
from .manifest import columns_in, is_table, list_manifest
from .progress_bar import bar
from .samples import Box, Listing, Sample, with_persons

__all__ = ["Photos", "cut_face", "list_data", "no_face", "read_listing", "read_photos"]

_SAME_FACE = 0.4  # IoU from which a detected face is the one of a given box: annotators draw boxes with and without hair


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
        return Photos(self.faces.subset(rows), tuple(self.files[i] for i in rows))


def list_data(
    path: str | Path, relabel: Mapping[str, str] | str | None = None, group: str | None = None, wanted: LabelSet | None = None
) -> Listing:
    """List the labelled pictures of a folder or of a manifest, before any of them is opened.

    Args:
        path: A folder as ``ferkit.data.layouts.list_folder`` reads it, or a table as ``ferkit.data.manifest.list_manifest`` does.
        relabel: New names for labels; ``""`` leaves a label out.
        group: Who is on a picture: ``"folder"``, a regular expression, or a column of the table.
        wanted: Several labels at once, or values, which are columns of a table.

    Raises:
        DataError, InputError, MissingExtraError: As these; DataError also where several labels or values are wanted of a folder.
    """
    path, relabel = expanded(path), as_mapping(relabel)
    if not is_table(path):
        if wanted is not None and wanted.kind != CLASSES:
            raise DataError(f"{path} is not a table; expected a manifest, csv or Parquet, with the columns path, {', '.join(wanted)}.")
        return with_persons(list_folder(path, relabel), group)
    if group is None or group in columns_in(path):
        return list_manifest(path, relabel, group, wanted)
    return with_persons(list_manifest(path, relabel, wanted=wanted), group)


def read_photos(
    root: str | Path,
    classifier: Classifier,
    detector: Detector,
    *,
    split: str | None = None,
    labels: LabelSet | None = None,
    relabel: Mapping[str, str] | str | None = None,
    progress: bool = False,
) -> Photos:
    """Find the largest face of every photo, or the one in its box, and prepare it for a classifier.

    Args:
        root: ``root/<label>/*.jpg``, or the same below split folders; or a manifest.
        classifier: Says how the faces are cut, and how they are kept.
        detector: ``FaceDetector("none")`` for ready crops.
        split: Which split to read, if there are any.
        labels: The label set. None: FER2013's if the labels' names are all in it, else the names themselves, sorted;
            labels without a usable face do not count.
        relabel: New names for the data's labels; ``""`` leaves a label out.
        progress: Show a bar on standard error.

    Returns:
        Faces in the order of labels and file names, of a manifest in its own. Empty folders, files that cannot be read and photos
        without a face are in ``faces.skipped``.

    Raises:
        DataError: The data are not as described; also if fewer than two labels, or none, are left.
        InputError: ``relabel`` names a label that is not there.
    """
    return read_listing(list_data(root, relabel).part(split), classifier, detector, labels=labels, progress=progress)


def read_listing(
    listing: Listing, classifier: Classifier, detector: Detector, *, labels: LabelSet | None = None, progress: bool = False
) -> Photos:
    """Do what ``read_photos`` does for samples that were listed before. Arguments and errors as there."""
    skipped = list(listing.skipped)
    images: list[NDArray[np.uint8]] = []
    used: list[Sample] = []
    for sample in bar(listing.samples, None, progress):
        try:
            pixels = load_image(sample.path)
        except ImageError as error:
            skipped.append((str(sample.path), str(error)))
            continue
        if sample.size not in (None, (pixels.shape[1], pixels.shape[0])):
            skipped.append((str(sample.path), f"{sample.path}: another picture than that in which faces were found; find them again."))
            continue
        finder = detector if sample.faces is None else _Known(sample.faces)
        found = cut_face(pixels, sample.box, finder, classifier.crop)
        if found is None:
            skipped.append((str(sample.path), no_face(str(sample.path), detector)))
            continue
        images.append(prepared(classifier, found[1]))
        used.append(sample)
    root = listing.source
    if not images:
        raise DataError(f"{root} has no usable face in its label folders; {_last(skipped)}")
    several = LabelSet(listing.kind, listing.labels, kind=listing.kind) if listing.kind != CLASSES else None
    if labels is None and several is not None:
        labels = several
    if labels is None:
        there = sorted({sample.label for sample in used})
        if len(there) < 2 and label_set_of([*there, "neutral"]).name == CUSTOM:
            raise DataError(f"{root} has one label with usable faces, {there[0]!r}; expected at least two. {_last(skipped)}".rstrip())
        labels = label_set_of(there)
    truth = np.array([0 if several else labels.index(sample.label) for sample in used], np.int64)
    faces = Faces(
        np.stack(images),
        truth,
        labels,
        skipped=tuple(skipped),
        soft=np.array([sample.soft for sample in used], np.float32) if several else _soft(listing, used, labels),
        weights=None if all(s.weight == 1 for s in used) else np.array([s.weight for s in used], np.float32),
        persons=tuple(s.person for s in used) if any(s.person for s in used) else (),
        files=tuple(s.place for s in used),
        notes=listing.notes,
    )
    return Photos(faces, tuple(s.path for s in used))


@dataclass(frozen=True)
class _Known:
    """The faces of a picture that were found before, as a detector."""

    faces: tuple[Face, ...]

    def detect_rgb(self, pixels: NDArray[np.uint8]) -> list[Face]:  # noqa: ARG002 - a detector's signature
        return list(self.faces)


def cut_face(pixels: NDArray[np.uint8], box: Box | None, detector: Detector, crop: CropGeometry) -> tuple[Face, NDArray[np.uint8]] | None:
    """Find the face of a sample, and cut it out.

    Args:
        pixels: RGB uint8 ``(H, W, 3)``.
        box: xyxy of the sample's face, which is cut out even where the detector takes whole pictures; its landmarks are those of the
            face that the detector finds there. None: the largest face that is found, or the whole picture.
        detector: Finds faces.
        crop: How they are cut.

    Returns:
        The face, and its crop at the picture's own resolution, RGB uint8; None if there is no face.
    """
    if box is None:
        face = next(iter(detector.detect_rgb(pixels)), None)
        return None if face is None else (face, cut(pixels, face, detector, crop))
    near = None if is_whole(detector) else max(detector.detect_rgb(pixels), key=lambda face: _overlap(face, box), default=None)
    face = Face(box) if near is None or _overlap(near, box) < _SAME_FACE else near
    return face, cut_out(pixels, face, crop)


def no_face(what: str, detector: Detector) -> str:
    """Return why a picture without a face cannot be used."""
    return f"{what}: no face found by {name_of(detector)}; for ready crops give detector='none'."


def _overlap(face: Face, box: Box) -> float:
    return float(iou(np.array([face.box]), np.array([box]))[0, 0])


def _soft(listing: Listing, used: list[Sample], labels: LabelSet) -> NDArray[np.float32] | None:
    """Return soft labels ``(n, k)`` in the order of the label set; what they give to labels that it lacks is shared out among the others."""
    if not any(sample.soft for sample in used):
        return None
    rows = np.array([sample.soft for sample in used], np.float64)
    out = np.zeros((len(used), len(labels)))
    for column, name in enumerate(listing.labels):
        if name in labels.classes:
            out[:, labels.index(name)] = rows[:, column]
    alone = np.eye(len(labels))[[labels.index(sample.label) for sample in used]]
    total = out.sum(axis=1, keepdims=True)
    return np.where(total > 0, out / np.maximum(total, 1e-12), alone).astype(np.float32)


def _last(skipped: list[tuple[str, str]]) -> str:
    return f"{len(skipped)} could not be used, the last: {skipped[-1][1]}" if skipped else "There are no images in them."
