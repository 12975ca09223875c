"""The pipeline: images in, faces with expressions out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ._geometry import crop_face
from ._image import ImageLike, is_one_image, load_image
from ._turning import judged, turn_upright, upright
from .classify import ExpressionClassifier
from .detect import FaceDetector, open_detector
from .ensemble import Ensemble, as_classifier
from .errors import InputError
from .gate import native
from .pickling import ByArguments
from .results import Face, Result

if TYPE_CHECKING:
    from .video.decode import Frame

__all__ = ["Pipeline"]


class Pipeline(ByArguments):
    """Finds the faces of an image and classifies their expressions. Safe to share between threads.

    Args:
        detector: A detector, or a name as FaceDetector takes it; None is the bundled default.
        classifier: A classifier or an ensemble, or weights as ExpressionClassifier takes them: a name, an ``hf://`` address or
            a folder, of one network or of an ensemble. None is the bundled default.
        rotations: As in FaceDetector, for a detector that is given by name. Without it an upside-down face is unsure: it has no label.

    Example:
        >>> Pipeline("none", "fer2013-n-v5").classifier.name
        'fer2013-n-v5'

    Raises:
        InputError, WeightsError, MissingExtraError: As FaceDetector and ExpressionClassifier, for what is given by name.
    """

    def __init__(
        self,
        detector: FaceDetector | str | None = None,
        classifier: ExpressionClassifier | Ensemble | str | os.PathLike[str] | None = None,
        *,
        rotations: Sequence[int] | None = None,
    ) -> None:
        self.detector = open_detector(detector, rotations)
        self.classifier: ExpressionClassifier | Ensemble = as_classifier(classifier)

    def __repr__(self) -> str:
        return f"Pipeline({self.detector!r}, {self.classifier!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        make, (cls, args, kwargs) = super().__reduce__()
        given = dict(zip(("detector", "classifier"), args, strict=False))
        return make, (cls, (), given | kwargs | {"detector": self.detector, "classifier": self.classifier})  # which can be exchanged

    def __call__(self, image: ImageLike, *, color: Literal["rgb", "bgr"] = "rgb", keep_pixels: bool = True) -> Result:
        """Read one image.

        Args:
            image: A path, bytes, a PIL image or an array; see :func:`ferkit.load_image`.
            color: Channel order of a bare array.
            keep_pixels: Keep the image in the result, for :meth:`Result.draw`.

        Returns:
            The faces, the largest first; a Result without faces where there are none.

        Raises:
            ImageError, InputError: As load_image.
        """
        return self._classified([(image, load_image(image, color=color))], keep_pixels)[0]

    def predict(
        self, images: Iterable[ImageLike], batch_size: int = 32, *, color: Literal["rgb", "bgr"] = "rgb", keep_pixels: bool = False
    ) -> list[Result]:
        """Read many images; the faces of up to ``batch_size`` images go through the network together.

        Args:
            images: Any iterable of what ``__call__`` takes; an array or tensor of several images has them along its first axis.
            batch_size: Images held in memory at once, at least 1.
            color, keep_pixels: As in ``__call__``; pixels are not kept by default, since many images are large.

        Returns:
            One Result per image, in order.

        Raises:
            ImageError, InputError: For the first image that cannot be read; ``ferkit predict`` reports and goes on.
            InputError: One image instead of many, or a batch size below 1.
        """
        if is_one_image(images) or not isinstance(images, Iterable):
            what = f"an array of shape {tuple(images.shape)}" if hasattr(images, "shape") else type(images).__name__
            raise InputError(f"predict takes many images, not {what}; for one type pipeline(image), or pipeline.predict([image]).")
        if batch_size < 1:
            raise InputError(f"batch_size={batch_size}; expected at least 1.")
        results: list[Result] = []
        for batch in _chunks(images, batch_size):
            results += self._classified([(image, load_image(image, color=color)) for image in batch], keep_pixels)
        return results

    def video(
        self,
        source: str | os.PathLike[str] | int,
        *,
        fps: float | None = None,
        every: float | None = None,
        start: float | None = None,
        end: float | None = None,
        smooth: float = 0.5,
        detect_every: int | None = None,
        live: bool | None = None,
    ) -> Iterator[tuple[Frame, Result]]:
        """Follow the people in a video, in constant memory.

        Args:
            source, fps, every, start, end: As in :func:`ferkit.frames`.
            smooth: Time constant in seconds of the smoothing of each person's probabilities, which are then read about 15
                times a second and hold in between; 0 is off: every frame is read.
            detect_every: Search every so many frames, and follow the faces in between; None is by time, about every 0.3 s.
            live: Drop late frames instead of queueing them; a file is then played at its own speed. None: for cameras only.

        Yields:
            ``(frame, result)`` for every frame, those without faces too: ``frame.index``, ``frame.time_s`` (the container's
            seconds) and ``frame.pixels``; the result's faces carry ``track_id``, the same for a person through the video.

        Raises:
            As :func:`ferkit.frames`. What was computed before an error is yielded before it is raised.
        """
        from .video.follow import follow

        return follow(self, source, fps=fps, every=every, start=start, end=end, smooth=smooth, detect_every=detect_every, live=live)

    def _classified(self, loaded: list[tuple[ImageLike, NDArray[np.uint8]]], keep_pixels: bool) -> list[Result]:
        found = [self.detector.detect_rgb(pixels) for _, pixels in loaded]
        crops = [self.crop(pixels, face) for (_, pixels), faces in zip(loaded, found, strict=True) for face in faces]
        expressions = iter(self.classifier.predict(crops))
        return [
            Result(
                faces=tuple(judged(face, next(expressions), self.detector.rotations) for face in faces),
                width=pixels.shape[1],
                height=pixels.shape[0],
                image=os.fspath(image) if isinstance(image, (str, os.PathLike)) else None,
                weights=self.classifier.name,
                pixels=pixels if keep_pixels else None,
                colors=self.classifier.labels.colors,
            )
            for (image, pixels), faces in zip(loaded, found, strict=True)
        ]

    def crop(self, pixels: NDArray[np.uint8], face: Face) -> NDArray[np.uint8]:
        """Return a face's crop as the classifier wants it, uint8 ``(S, S, 3)``: classifying it gives the same answer."""
        with native:
            if self.detector.whole:
                return pixels
            turn = face.turn or 0
            seen = turn_upright(face, turn, pixels.shape[1], pixels.shape[0])
            return crop_face(upright(pixels, turn), seen.box, self.classifier.crop, seen.landmarks)


def _chunks(images: Iterable[ImageLike], size: int) -> Iterator[list[ImageLike]]:
    iterator = iter(images)
    while chunk := list(islice(iterator, size)):
        yield chunk
