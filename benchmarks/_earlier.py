"""An earlier commit beside today's, read from git with the weights of its time: its source, and its detector in this process."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np

from ferkit import Face

ROOT = Path(__file__).resolve().parents[1]
BEFORE_ISSUE_19 = "d37bcb9"  # the last commit whose two looks were merged by IoU alone
_WEIGHTS = "ferkit-face-v2"


def source_of(commit: str, folder: Path, *parts: str) -> Path:
    """Write parts of a commit to a folder, its source and weights if none are named; return where its packages are then."""
    command = ["git", "-C", str(ROOT), "archive", "--format=tar", commit, *(parts or ("src", "weights"))]
    archive = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
    return folder / "src"


def earlier(folder: Path, min_score: float | None = None, *, commit: str = BEFORE_ISSUE_19) -> Callable[[np.ndarray], list[Face]]:
    """Open the detector of a commit.

    Args:
        folder: Where its source and weights are put; it must outlive the detector.
        min_score: As FaceDetector takes it.
        commit: A commit at which the detector stands in ``src/ferkit/_detectors/own.py``.
    """
    name = f"ferkit_{commit}"
    if not (folder / name).is_dir():
        # Its imports are relative: under another name it lives beside today's package.
        (source_of(commit, folder, "src/ferkit", f"weights/{_WEIGHTS}") / "ferkit").rename(folder / name)
        sys.path.insert(0, str(folder))
    detector = import_module(f"{name}._detectors.own").Own(folder / "weights" / _WEIGHTS, min_score)

    def detect(image: np.ndarray) -> list[Face]:
        return [Face(face.box, face.score, face.landmarks) for face in detector.detect(image)]

    return detect
