"""The face detector: a facade over a table of backends."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..engines.table import open_engine
from ..engines.threads import limit_opencv
from ..errors import InputError
from ..faces import Face
from ..gate import native
from ..image_files import expanded
from ..images import ImageLike, load_image
from ..pickling import ByArguments
from ..protocols import Detector, ReleasesBuffers, rotations_of
from ..ranges import check_share
from ..turning import checked_rotations, surest, turn_back, upright
from ..weights.releases import BUNDLED_DETECTOR

__all__ = ["BACKENDS", "DEFAULT_DETECTOR", "FaceDetector", "backend_of", "open_detector"]

DEFAULT_DETECTOR = "ferkit"

BACKENDS = {
    "ferkit": ("ferkit_face", "FerkitFace"),
    "haar": ("haar", "Haar"),
    "yunet": ("yunet", "YuNet"),
    "none": ("whole_image", "WholeImage"),
}
# What `ferkit weights list` calls them.
_RELEASES = {BUNDLED_DETECTOR: "ferkit", "yunet-2026may": "yunet"}


class _Backend(Protocol):
    default_score: float | None

    def detect(self, image: NDArray[np.uint8]) -> list[Face]: ...


class FaceDetector(ByArguments):
    """Finds faces.

    Args:
        name: ``"ferkit"`` (comes with the package: five landmarks, turned, small and close-up faces), ``"yunet"`` (five
            landmarks; fetched once by its pinned hash, or given as ``model``), ``"haar"`` (comes with OpenCV 4: upright
            frontal faces, no landmarks), or ``"none"`` (the whole image is the face). None is the default, ``"ferkit"``. The
            releases' names, ``"ferkit-face-v4"`` and ``"yunet-2026may"``, mean the same.
            A backend that cannot be opened is an error: there is never a silent fallback to another one.
        model: The backend's file (``"ferkit"``: a folder written by ``ferkit train-detector``), instead of the default one.
        min_score: Faces below this score (0-1) are dropped; None is the backend's own threshold.
        min_size: Faces whose longer side is below this many pixels are dropped.
        rotations: Turns of faces to look for too, degrees clockwise: some of 0, 90, 180 and 270. The picture is searched once for each,
            and every face tells its ``turn``. None: upright faces only; ``"ferkit"`` then marks turned ones that it comes upon.

        runtime, providers, threads: Engine of the ``"ferkit"`` detector, as for ExpressionClassifier; None is OpenCV. The others run in
            OpenCV alone, whose ``threads`` are those of the whole process.

    Raises:
        InputError: Unknown name or an argument out of range, or an engine for a detector that has none.
        WeightsError: The backend's file is missing, damaged or not reachable.
        MissingExtraError: The installed OpenCV lacks the backend.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        model: str | os.PathLike[str] | None = None,
        min_score: float | None = None,
        min_size: float = 0.0,
        rotations: Sequence[int] | None = None,
        runtime: str | None = None,
        providers: Sequence[str] | None = None,
        threads: int | None = None,
    ) -> None:
        self.name = backend_of(name)
        if self.name not in BACKENDS:
            raise InputError(f"Unknown detector {name!r}; expected one of {', '.join(BACKENDS)}.")
        check_share("min_score", min_score, "a number")
        if not min_size >= 0:
            raise InputError(f"min_size={min_size}; expected a number of pixels, 0 or more.")
        self.rotations = checked_rotations(rotations)
        if self.whole and self.rotations:
            raise InputError("The detector 'none' searches nothing, so that it finds no turns; expected rotations=None with it.")
        module, cls = BACKENDS[self.name]
        backend = getattr(import_module(f".{module}", __package__), cls)
        engine: dict[str, Any] = {"runtime": runtime, "providers": providers, "threads": threads}
        self._backend: _Backend = backend(
            expanded(model) if model is not None else None,
            backend.default_score if min_score is None else min_score,
            **_opening(self.name, backend, engine),
        )
        self._min_size = min_size
        self._options = {"model": model, "min_score": min_score, "min_size": min_size or None, "rotations": rotations} | engine

    def __repr__(self) -> str:
        options = "".join(f", {name}={value!r}" for name, value in self._options.items() if value is not None)
        return f"FaceDetector({self.name!r}{options})"

    @property
    def whole(self) -> bool:
        """True if the image itself is the face, so that it must not be cropped again."""
        return self.name == "none"

    def detect(self, image: ImageLike) -> list[Face]:
        """Find the faces of one image.

        Args:
            image: As ``ferkit.load_image`` takes it: a path, bytes, a PIL image or an array (RGB).

        Returns:
            Faces, the largest first; an empty list where there are none. Boxes are xyxy pixels of the image as loaded.

        Raises:
            ImageError, InputError: As load_image.
        """
        return self.detect_rgb(load_image(image))

    def detect_rgb(self, pixels: NDArray[np.uint8]) -> list[Face]:
        """As ``detect``, for RGB uint8 ``(H, W, 3)`` that load_image already returned."""
        with native:
            found = self._around(pixels) if self.rotations else self._backend.detect(pixels)
        faces = [face for face in found if max(face.width, face.height) >= self._min_size]
        return sorted(faces, key=lambda face: face.width * face.height, reverse=True)

    def release_buffers(self) -> None:
        """Let go of the memory that the networks keep from one picture to the next; the next picture takes it anew, 20 ms later.

        Only ``"ferkit"`` keeps any worth the name. Safe to call while other threads look at pictures.

        Examples:
            >>> detector = FaceDetector()
            >>> detector.release_buffers()
            >>> detector.detect(np.zeros((48, 48, 3), np.uint8))
            []
        """
        if isinstance(self._backend, ReleasesBuffers):
            self._backend.release_buffers()

    def _around(self, pixels: NDArray[np.uint8]) -> list[Face]:
        """Search the picture from every side; a face that is turned there too is rather another side's."""
        height, width = pixels.shape[:2]
        found = [(turn, face) for turn in self.rotations for face in self._backend.detect(upright(pixels, turn))]
        found.sort(key=lambda pair: (bool(pair[1].turn), -pair[1].score))
        return surest((turn, turn_back(face, turn, width, height)) for turn, face in found)


def backend_of(name: str | None) -> str:
    """Return the name of the row of BACKENDS that a detector's name, or a release's, means."""
    return _RELEASES.get(str(name), name) or DEFAULT_DETECTOR


def _opening(name: str, backend: Any, engine: dict[str, Any]) -> dict[str, Any]:
    """Return how a backend opens its networks. Raises InputError if it has none to open."""
    given = {key: value for key, value in engine.items() if value is not None}
    if not getattr(backend, "on_engines", False):
        if given.get("runtime", "opencv") != "opencv" or "providers" in given:
            raise InputError(
                f"The detector {name!r} runs in OpenCV alone; expected no runtime or providers with it, or the detector 'ferkit'.",
                arguments=["runtime", "providers"],
            )
        if "threads" in given:
            limit_opencv(given["threads"])
        return {}
    return {"opened": partial(open_engine, given.pop("runtime", "opencv"), **given)}


def open_detector(
    detector: Detector | str | None,
    rotations: Sequence[int] | None = None,
    *,
    model: str | os.PathLike[str] | None = None,
    runtime: str | None = None,
    providers: Sequence[str] | None = None,
    threads: int | None = None,
) -> Detector:
    """Return a detector as it is, or open one by name.

    The engine is for those that have one: what else is opened with it, a classifier, may be the reason for it. Raises as FaceDetector.
    """
    if detector is None or isinstance(detector, str):
        engine: dict[str, Any] = {"runtime": runtime, "providers": providers, "threads": threads}
        return FaceDetector(
            detector, model=model, rotations=rotations, **(engine if backend_of(detector) == DEFAULT_DETECTOR else {"threads": threads})
        )
    if not callable(getattr(detector, "detect_rgb", None)):
        raise InputError(
            f"{type(detector).__name__} is not a detector: it lacks detect_rgb; expected one, or a name: {', '.join(BACKENDS)}."
        )
    if rotations is not None and checked_rotations(rotations) != rotations_of(detector):
        raise InputError(f"rotations={rotations!r} beside a detector that is open; expected FaceDetector(..., rotations=...).")
    return detector
