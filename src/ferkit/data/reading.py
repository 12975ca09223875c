"""Reading labelled faces from whatever holds them: a csv of pixels, a folder, or a manifest; photos are recognised. Needs no Keras."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..crops import CropGeometry, Crops, squares
from ..detectors.face_detector import open_detector
from ..errors import DataError
from ..image_files import expanded
from ..labels import CLASSES, FER7, LabelSet
from ..protocols import Classifier, Detector
from ..weights.specs import WeightsSpec
from ..weights.store import resolve
from .faces import SIZE, USAGE, Faces, is_pixel_csv, read_csv, read_ferplus
from .folders import list_data, read_listing
from .label_names import as_fer2013, as_mapping
from .manifest import columns_in, is_table
from .recognising import detector_for
from .samples import Listing

__all__ = ["Source", "Unmade", "holds_pixels", "read_cut_faces", "read_faces", "read_folder", "read_labelled"]


@dataclass(frozen=True)
class Source:
    """Some data, looked at once: a folder is walked and a table read a single time, whatever is read of them then.

    Attributes:
        path: The folder or the file.
        relabel: New names for the data's labels; ``""`` leaves a label out.
        listing: What a folder or a manifest names; None for a csv of pixels, whose rows are the pictures themselves.
        has_splits: Whether the data are in parts; False: they are one whole.
    """

    path: Path
    relabel: Mapping[str, str] | None
    listing: Listing | None
    has_splits: bool

    @classmethod
    def of(cls, path: str | Path, relabel: Mapping[str, str] | str | None = None, wanted: LabelSet | None = None) -> Source:
        """Look at some data; several labels and values, ``wanted``, are columns of a manifest. Raises as ``ferkit.data.folders.list_data``."""
        path, relabel = expanded(path), as_mapping(relabel)
        if holds_pixels(path) and (wanted is None or wanted.kind == CLASSES):
            return cls(path, relabel, None, any(name.strip().lower() in USAGE for name in columns_in(path)))
        listing = list_data(path, relabel, wanted=wanted)
        return cls(path, relabel, listing, bool(listing.splits))

    def has(self, split: str) -> bool:
        """Return False if the data are one whole, or lack a split; a csv of pixels with a column for it may lack it all the same."""
        return self.has_splits if self.listing is None else split in self.listing.splits


class Unmade:
    """What reading asks of a classifier, for weights that do not exist yet: the crop, and the side and channels of faces to keep."""

    name = "training"
    labels: LabelSet = FER7

    def __init__(self, crop: CropGeometry, side: int = SIZE, channels: int = 1) -> None:
        self.crop, self._side, self._channels = crop, side, channels

    def prepare(self, crops: Crops) -> NDArray[np.uint8]:
        return squares(crops, self._side, self._channels)

    def predict_proba(self, crops: Crops) -> NDArray[np.float32]:
        raise NotImplementedError


def holds_pixels(path: Path) -> bool:
    """Return True for a csv whose rows are the pictures themselves. Raises DataError if it cannot be read."""
    return is_table(path) and path.suffix.lower() != ".parquet" and is_pixel_csv(columns_in(path))


def read_labelled(
    data: str | Path | Source,
    split: str | None,
    classifier: Classifier,
    *,
    ferplus: str | Path | None = None,
    labels: LabelSet | None = None,
    relabel: Mapping[str, str] | str | None = None,
    detector: Detector | None = None,
    told: bool = False,
) -> Faces:
    """Read one split, prepared for a classifier.

    Args:
        data: ``fer2013.csv`` or another csv of pixels, a folder, or a manifest; or the source that it was looked at as, whose ``relabel`` counts.
        split: ``Training``, ``PublicTest`` or ``PrivateTest``. None: all that is there, of a csv of pixels Training.
        classifier: Says how faces are cut, and how they are kept.
        ferplus: FER+ votes beside a csv of pixels.
        labels: The label set; by default FER2013's if all names are its own, else the names themselves, sorted. Several labels, or
            values, are columns of a manifest.
        relabel: New names for the data's labels; ``""`` leaves a label out.
        detector: ``FaceDetector("none")`` for ready crops. None: the pictures tell.
        told: Say on standard error first what is read, ignored and mapped, and show a bar.

    Raises:
        DataError: The data are not as described, or there are votes for other data than a csv of pixels.
        InputError: ``relabel`` names a label that is not there.
    """
    source = data if isinstance(data, Source) else Source.of(data, relabel, labels)
    path, listing = source.path, source.listing
    if listing is None:
        faces = read_csv(path, split or "Training", source.relabel)
        if told:
            _tell(list(faces.notes))
        return faces if ferplus is None else _with_votes(faces, path, split or "Training", ferplus)
    if ferplus is not None:
        raise DataError(
            f"{ferplus}: FER+ votes are in the order of fer2013.csv's rows, and {path} has no such rows. Give that csv, or no votes."
        )
    if told:
        _tell(listing.lines())
    listing = listing.part(split)
    return read_listing(listing, classifier, detector or detector_for(listing), labels=labels, progress=told).faces


def _tell(lines: list[str]) -> None:
    sys.stderr.write("".join(f"{line}\n" for line in lines))
    sys.stderr.flush()


def _with_votes(faces: Faces, path: Path, split: str, ferplus: str | Path) -> Faces:
    votes = read_ferplus(ferplus, split)
    if len(votes) != len(faces):
        raise DataError(f"{ferplus} has {len(votes)} rows of {split}, {path} has {len(faces)}; expected the same rows in the same order.")
    return replace(faces, votes=votes)


def read_cut_faces(
    data: str | Path | Source,
    split: str,
    unmade: Unmade,
    *,
    ferplus: str | Path | None = None,
    detector: Detector | None = None,
    relabel: Mapping[str, str] | str | None = None,
    told: bool = False,
    labels: LabelSet | None = None,
) -> Faces:
    """Read one split for weights that do not exist yet: faces of whole photos are found, and cut as prediction cuts them.

    Args:
        data, split, ferplus, detector, relabel, told, labels: As in ``read_labelled``.
        unmade: The crop of the weights, the faces' side and channels; those of a csv have 48 pixels and are grey.

    Returns:
        Faces. Other names for FER2013's labels (``Happiness``) are read as these.

    Raises:
        DataError, InputError: As there.
    """
    faces = read_labelled(data, split, unmade, ferplus=ferplus, labels=labels, detector=detector, relabel=relabel, told=told)
    return _in_fer2013(faces, told) if faces.label_set.kind == CLASSES else faces


def _in_fer2013(faces: Faces, told: bool) -> Faces:
    """Return the faces with FER2013's labels, if theirs are these by other names."""
    same = as_fer2013(faces.label_set)
    if same is None or faces.label_set.classes == FER7.classes:
        return faces
    column = np.array([FER7.index(same[name]) for name in faces.label_set], np.int64)
    soft = None
    if faces.soft is not None:
        soft = np.zeros((len(faces), len(FER7)), np.float32)
        for old, new in enumerate(column):
            soft[:, new] += faces.soft[:, old]
    if told and (changed := [f"{old} as {new}" for old, new in same.items() if old != new]):
        _tell([f"Read {', '.join(changed)}."])
    return replace(faces, labels=column[faces.labels], label_set=FER7, soft=soft)


def read_folder(
    path: str | Path,
    split: str | None = None,
    labels: LabelSet | None = None,
    *,
    detector: Detector | str | None = None,
    relabel: Mapping[str, str] | str | None = None,
) -> Faces:
    """Read faces from one folder per label, or from a manifest.

    Args:
        path: ``path/<label>/*.png``, or ``path/<split>/<label>/*.png`` with split folders of any usual name; or a table with the columns
            path and label.
        split: Which split to read, if there are any.
        labels: The label set; by default FER2013's if the names are all in it, else the names themselves, sorted.
        detector: Finds the faces of whole photos, which are cut as the default weights want them; a detector or its name, ``"none"``
            for ready crops. None: the pictures tell.
        relabel: New names for the data's labels; ``""`` leaves a label out.

    Returns:
        Faces, 48x48 grey. Files that cannot be read are listed in ``skipped``.

    Raises:
        DataError: No folder, no label folder, an unknown label, or no readable image.
        InputError: ``relabel`` names a label that is not there.
    """
    path = expanded(path)
    listing = list_data(path, relabel, wanted=labels).part(split)
    unknown = [] if labels is None or listing.kind != CLASSES else [name for name in listing.labels if name not in labels.classes]
    if labels is not None and unknown:
        raise DataError(f"{path} has folders that are not labels of {labels.name}: {', '.join(unknown)}; expected {', '.join(labels)}.")
    if not listing.samples:
        raise DataError(f"{path} has no readable image in its label folders; {len(listing.skipped)} file(s) could not be read.")
    found = detector_for(listing) if detector is None else open_detector(detector)
    return read_listing(listing, Unmade(WeightsSpec.load(resolve()).crop), found, labels=labels).faces


def read_faces(
    path: str | Path,
    split: str = "Training",
    ferplus: str | Path | None = None,
    labels: LabelSet | None = None,
    *,
    detector: Detector | str | None = None,
    relabel: Mapping[str, str] | str | None = None,
) -> Faces:
    """Read one split from a csv of pixels, a folder or a manifest, with FER+ votes beside a csv if they are given.

    Arguments and errors as in ``read_csv``, ``read_folder`` and ``read_ferplus``; DataError also if the votes' number
    differs from the faces', or if the faces are not a csv's.
    """
    path = expanded(path)
    if not holds_pixels(path) and ferplus is None:
        return read_folder(path, split, labels, detector=detector, relabel=relabel)
    found = None if detector is None else open_detector(detector)
    crop = WeightsSpec.load(resolve()).crop
    return read_labelled(path, split, Unmade(crop), ferplus=ferplus, labels=labels, relabel=relabel, detector=found)
