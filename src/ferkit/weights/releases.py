"""The table of releases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = [
    "BUNDLED_DETECTOR",
    "DEFAULT_WEIGHTS",
    "SAME_NETWORK",
    "SUPERSEDED",
    "TABLE",
    "UNRELEASED",
    "ZOO",
    "HubFile",
    "Release",
    "list_weights",
    "successor",
]

DEFAULT_WEIGHTS = "fer2013-s-v6"
BUNDLED_DETECTOR = "ferkit-face-v4"  # behind FaceDetector("ferkit")


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
        Release("fer2013-n-v6", "classifier", "MIT", "the smallest; comes with the package"),
        Release("fer2013-s-v6", "classifier", "MIT", "FER2013 and FER+ labels, portraits; comes with the package"),
        Release("fer2013-b-v6", "classifier", "MIT", "twice the work of fer2013-s; comes with the package"),
        Release("fer2013-ensemble-v6", "ensemble", "MIT", "fer2013-s-v6 and fer2013-b-v6 together; comes with the package"),
        Release("ferkit-face-v4", "detector", "MIT", "faces with five landmarks; comes with the package"),
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
    "fer2013-n-v5",
    "fer2013-s-v1",
    "fer2013-s-v2",
    "fer2013-s-v3",
    "fer2013-s-v5",
    "fer2013-b-v2",
    "fer2013-b-v3",
    "fer2013-b-v4",
    "fer2013-b-v5",
    "fer2013-ensemble-v1",
    "fer2013-ensemble-v2",
    "fer2013-ensemble-v3",
    "fer2013-ensemble-v5",
    "ferkit-face-v1",
    "ferkit-face-v2",
    "ferkit-face-v3",
)
# Releases whose network is an earlier one's, byte for byte: what made that one made them.
SAME_NETWORK = {"fer2013-n-v5": "fer2013-n-v4", "fer2013-s-v5": "fer2013-s-v3", "fer2013-b-v5": "fer2013-b-v4"}
# Earlier systems' small nets, for teaching: never in the package, and nobody's default. A source checkout has them in weights/zoo.
ZOO = ("conv3", "mini-xception", "shallow", "wide")

# Runs that were not released, which releases began from, and the release that each began from itself; None where it began from nothing.
UNRELEASED: dict[str, str | None] = {"fer2013-b-v1": None, "fer2013-n-v3": "fer2013-n-v2"}


def successor(name: str) -> str:
    """Return the release in the package that replaced one of ``SUPERSEDED``: the same name with the newest version."""
    family = name.rpartition("-v")[0]
    return next(release for release in TABLE if release.rpartition("-v")[0] == family)


def list_weights() -> list[Release]:
    """Return the releases that this version of ferkit knows by name."""
    return list(TABLE.values())
