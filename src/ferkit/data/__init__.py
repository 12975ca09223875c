"""Labelled faces: readers, label names, copies, and preparing. Needs no Keras."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import attach

if TYPE_CHECKING:
    from .faces import Faces as Faces
    from .faces import read_csv as read_csv
    from .faces import read_ferplus as read_ferplus
    from .folders import Photos as Photos
    from .folders import list_data as list_data
    from .folders import read_photos as read_photos
    from .portraits import Portraits as Portraits
    from .portraits import read_portraits as read_portraits
    from .preparing import prepare as prepare
    from .reading import read_faces as read_faces
    from .reading import read_folder as read_folder
    from .samples import Listing as Listing
    from .samples import Sample as Sample

_HOMES = {
    "Faces": "faces",
    "Listing": "samples",
    "Photos": "folders",
    "Portraits": "portraits",
    "Sample": "samples",
    "list_data": "folders",
    "prepare": "preparing",
    "read_csv": "faces",
    "read_faces": "reading",
    "read_ferplus": "faces",
    "read_folder": "reading",
    "read_photos": "folders",
    "read_portraits": "portraits",
}

__all__ = sorted(_HOMES)  # noqa: PLE0605 - the table is the list
__getattr__, __dir__ = attach(__name__, _HOMES)
