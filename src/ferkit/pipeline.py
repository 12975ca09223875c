"""The pipeline: images in, faces with expressions out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from .classifiers.ensemble import as_classifier
from .detectors.face_detector import open_detector
from .errors import FerkitError, InputError
from .faces import Expression, Face
from .gate import native
from .images import ImageLike, load
from .labels import need_classes
from .pickling import ByArguments
from .protocols import Classifier, Describes, Detector, cut, expressions_of, rotations_of
from .results import Result
from .tensors import is_one_image, many
from .turning import judged

if TYPE_CHECKING:
    from .video.frame import Frame

__all__ = ["Pipeline"]


_MOST_HELD = 64_000_000  # bytes of crops that wait to be classified together: of large photos a batch is smaller than asked


_OnError = Literal["raise", "yield"] | Callable[[ImageLike, FerkitError], None]


class _Seen(NamedTuple):
    """An image whose faces were found and wait to be classified."""

    result: Result
    crops: list[NDArray[np.uint8]]
    image: Any = None  # as it was given, where a function is to hear of its error


class Pipeline(ByArguments):
    """Finds the faces of an image and classifies their expressions. Safe to share between threads.

    Args:
        detector: A detector (anything that ``ferkit.protocols.Detector`` describes), or a name as FaceDetector takes it; None is
            the bundled default.
        classifier: A classifier or an ensemble (anything that ``ferkit.protocols.Classifier`` describes), or weights as ExpressionClassifier takes them: a name, an ``hf://`` address or
            a folder, of one network or of an ensemble. None is the bundled default.
        rotations: As in FaceDetector, for a detector that is given by name. A face that is turned otherwise is unsure: it has no label.
        features: Give every face its ``ferkit.Face.features``; of a person in video those of the last frame that was read.
        runtime, providers, threads: Engine of both networks, as for ExpressionClassifier, for what is given by name; None is OpenCV.
            Detectors other than ``"ferkit"`` run in OpenCV alone, whatever is said here.

    Examples:
        >>> Pipeline("none", "fer2013-n-v6").classifier.name
        'fer2013-n-v6'

    Raises:
        InputError, WeightsError, MissingExtraError: As FaceDetector and ExpressionClassifier, for what is given by name.
    """

    def __init__(
        self,
        detector: Detector | str | None = None,
        classifier: Classifier | str | os.PathLike[str] | None = None,
        *,
        rotations: Sequence[int] | None = None,
        features: bool = False,
        runtime: str | None = None,
        providers: Sequence[str] | None = None,
        threads: int | None = None,
    ) -> None:
        engine: dict[str, Any] = {"runtime": runtime, "providers": providers, "threads": threads}
        if (
            not isinstance(detector, str | None)
            and not isinstance(classifier, str | os.PathLike | None)
            and engine != dict.fromkeys(engine)
        ):
            raise InputError(
                "runtime, providers and threads are for what is opened by name; expected none beside a detector and a classifier "
                "that are open.",
                arguments=["runtime", "providers", "threads"],
            )
        self.detector: Detector = open_detector(detector, rotations, **engine)
        self.classifier: Classifier = as_classifier(classifier, **engine)
        self._opened = {"detector": self.detector, "classifier": self.classifier}  # either may be exchanged later
        if features and not isinstance(self.classifier, Describes):
            raise InputError(f"{self.classifier.name} gives no features; expected a classifier that has predict_with_features.")
        self.features = features

    def __repr__(self) -> str:
        return f"Pipeline({self.detector!r}, {self.classifier!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        opened = self._opened
        exchanged = {"detector": self.detector, "classifier": self.classifier}
        return *super().__reduce__(), {name: part for name, part in exchanged.items() if part is not opened[name]} or None

    def __call__(
        self, image: ImageLike, *, color: Literal["rgb", "bgr"] = "rgb", keep_pixels: bool = True, max_side: int | None = None
    ) -> Result:
        """Read one image.

        Args:
            image: A path, bytes, a PIL image or an array; see ``ferkit.load_image``.
            color: Channel order of a bare array.
            keep_pixels: Keep the image in the result, for ``Result.draw``.
            max_side: Read the image at a scale that brings its longer side to at most so many pixels; see ``ferkit.load_image``. Boxes and
                landmarks are in pixels of the image's own scale all the same. None is that scale.

        Returns:
            The faces, the largest first; a Result without faces where there are none.

        Raises:
            ImageError, InputError: As load_image.
        """
        return self._classified([self._seen(image, color, keep_pixels, max_side)])[0]

    def predict(
        self,
        images: Iterable[ImageLike],
        batch_size: int = 32,
        *,
        color: Literal["rgb", "bgr"] = "rgb",
        keep_pixels: bool = False,
        max_side: int | None = None,
    ) -> list[Result]:
        """Read many images; the faces of up to ``batch_size`` images go through the network together.

        One image is decoded at a time, and only the crops of its faces are held until then.

        Args:
            images: Any iterable of what ``__call__`` takes; an array or tensor of several images has them along its first axis.
            batch_size: Images whose faces are classified together, at least 1.
            color, keep_pixels, max_side: As in ``__call__``; pixels are not kept by default, since many images are large.

        Returns:
            One Result per image, in order.

        Raises:
            ImageError, InputError: For the first image that cannot be read; ``stream`` and ``ferkit predict`` go on.
            InputError: One image instead of many, or a batch size below 1.
        """
        return list(self._stream(images, batch_size, partial(self._seen, color=color, keep_pixels=keep_pixels, max_side=max_side)))

    @overload
    def stream(
        self,
        images: Iterable[ImageLike],
        *,
        batch_size: int = 32,
        on_error: Literal["raise"] | Callable[[ImageLike, FerkitError], None] = "raise",
        color: Literal["rgb", "bgr"] = "rgb",
        keep_pixels: bool = False,
        max_side: int | None = None,
    ) -> Iterator[Result]: ...

    @overload
    def stream(
        self,
        images: Iterable[ImageLike],
        *,
        batch_size: int = 32,
        on_error: Literal["yield"],
        color: Literal["rgb", "bgr"] = "rgb",
        keep_pixels: bool = False,
        max_side: int | None = None,
    ) -> Iterator[Result | FerkitError]: ...

    def stream(
        self,
        images: Iterable[ImageLike],
        *,
        batch_size: int = 32,
        on_error: Literal["raise", "yield"] | Callable[[ImageLike, FerkitError], None] = "raise",
        color: Literal["rgb", "bgr"] = "rgb",
        keep_pixels: bool = False,
        max_side: int | None = None,
    ) -> Iterator[Result | FerkitError]:
        """Read any number of images, lazily and in constant memory: results come while ``images`` is still being read.

        Args:
            images, batch_size, color, keep_pixels, max_side: As in ``predict``. At most ``batch_size`` images are read ahead.
            on_error: What an image that cannot be read does: ``"raise"`` ends the stream with its error, after the results of the
                images before it; ``"yield"`` gives the error in its place; a function is called with the image and the error, and the
                image is left out.

        Yields:
            One Result per image, in order.

        Raises:
            ImageError, InputError: For the first image that cannot be read, with ``on_error="raise"``.
            InputError: One image instead of many, or an argument out of range.

        Examples:
            >>> pixels = np.zeros((48, 48, 3), np.uint8)
            >>> first, second = Pipeline("none").stream([pixels, "missing.jpg"], on_error="yield")
            >>> len(first), type(second).__name__
            (1, 'ImageNotFoundError')
        """
        if on_error not in ("raise", "yield") and not callable(on_error):
            raise InputError(f"on_error={on_error!r}; expected 'raise', 'yield' or a function of the image and its error.")
        read = partial(self._seen, color=color, keep_pixels=keep_pixels, max_side=max_side)
        return self._stream(images, batch_size, read, on_error)

    def _stream(
        self,
        images: Iterable[ImageLike],
        batch_size: int,
        read: Callable[[ImageLike], _Seen],
        on_error: _OnError = "raise",
    ) -> Iterator[Any]:
        images = many(images)
        if is_one_image(images) or not isinstance(images, Iterable):
            what = f"an array of shape {tuple(images.shape)}" if hasattr(images, "shape") else type(images).__name__
            raise InputError(f"predict takes many images, not {what}; for one type pipeline(image), or pipeline.predict([image]).")
        if batch_size < 1:
            raise InputError(f"batch_size={batch_size}; expected at least 1.")
        return self._batches(iter(images), batch_size, read, on_error)

    def _batches(
        self,
        images: Iterator[ImageLike],
        batch_size: int,
        read: Callable[[ImageLike], _Seen],
        on_error: _OnError,
    ) -> Iterator[Any]:
        waiting: list[_Seen | FerkitError] = []
        held = 0
        for image in images:
            try:
                seen = read(image)
            except FerkitError as error:
                if on_error == "raise":
                    yield from self._answers(waiting, on_error)
                    raise
                if callable(on_error):
                    on_error(image, error)
                    continue
                waiting.append(error)
            else:
                waiting.append(seen._replace(image=image) if callable(on_error) else seen)
                held += sum(crop.nbytes for crop in seen.crops) + (getattr(image, "nbytes", 0) if callable(on_error) else 0)
            if len(waiting) >= batch_size or held > _MOST_HELD:
                yield from self._answers(waiting, on_error)
                waiting, held = [], 0
        yield from self._answers(waiting, on_error)

    def _answers(self, waiting: list[_Seen | FerkitError], on_error: _OnError) -> Iterator[Result | FerkitError]:
        seen = [one for one in waiting if isinstance(one, _Seen)]
        try:
            results: Iterator[Result | FerkitError] = iter(self._classified(seen))
        except FerkitError:  # of one face, maybe: the other images have their answers
            results = map(self._classified_alone, seen)
        for one in waiting:
            answer = next(results) if isinstance(one, _Seen) else one
            if isinstance(answer, FerkitError) and on_error == "raise":
                raise answer
            if isinstance(answer, FerkitError) and isinstance(one, _Seen) and callable(on_error):
                on_error(one.image, answer)
            else:
                yield answer

    def _classified_alone(self, seen: _Seen) -> Result | FerkitError:
        try:
            return self._classified([seen])[0]
        except FerkitError as error:
            return error

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
            source, fps, every, start, end: As in ``ferkit.frames``.
            smooth: Time constant in seconds of the smoothing of each person's probabilities, which are then read about 15
                times a second and hold in between; 0 is off: every frame is read.
            detect_every: Search every so many frames, and follow the faces in between; None is by time, about every 0.3 s.
            live: Drop late frames instead of queueing them; a file is then played at its own speed. None: for cameras only.

        Yields:
            ``(frame, result)`` for every frame, those without faces too: ``frame.index``, ``frame.time_s`` (the container's
            seconds) and ``frame.pixels``; the result's faces carry ``track_id``, the same for a person through the video.

        Raises:
            InputError, ImageNotFoundError, ImageError: As ``ferkit.frames``. What was computed before an error is yielded before it is raised.
        """
        from .video.decode import frames
        from .video.follow import follow

        need_classes(self.classifier.labels, self.classifier.name, "Video")
        decoded = frames(source, fps=fps, every=every, start=start, end=end)
        return follow(self, source, decoded, smooth=smooth, detect_every=detect_every, live=live)

    def _seen(self, image: ImageLike, color: Literal["rgb", "bgr"], keep_pixels: bool, max_side: int | None) -> _Seen:
        """Find the faces of one image, and let go of its pixels."""
        pixels, width, height = load(image, color=color, max_side=max_side)
        faces = self.detector.detect_rgb(pixels)
        crops = [self.crop(pixels, face) for face in faces]
        across, down = width / pixels.shape[1], height / pixels.shape[0]
        if (across, down) != (1, 1):
            faces = [face.scaled(across, down) for face in faces]
        name = os.fspath(image) if isinstance(image, (str, os.PathLike)) else None
        kept, colors = pixels if keep_pixels else None, self.classifier.labels.colors
        return _Seen(Result(tuple(faces), width, height, name, self.classifier.name, kept, colors), crops)

    def _classified(self, seen: list[_Seen]) -> list[Result]:
        crops, turns = [crop for one in seen for crop in one.crops], rotations_of(self.detector)
        rows: Iterable[NDArray[np.float32] | None] = [None] * len(crops)
        if self.features and isinstance(self.classifier, Describes):
            expressions, rows = self.classifier.predict_with_features(crops)
        else:
            expressions = expressions_of(self.classifier, crops)
        answers = zip(expressions, rows, strict=True)
        return [replace(one.result, faces=tuple(self._judged(face, *next(answers), turns) for face in one.result.faces)) for one in seen]

    @staticmethod
    def _judged(face: Face, expression: Expression, features: NDArray[np.float32] | None, turns: Sequence[int]) -> Face:
        return replace(judged(face, expression, turns), features=features)

    def crop(self, pixels: NDArray[np.uint8], face: Face) -> NDArray[np.uint8]:
        """Return a face's crop as the classifier wants it, uint8 ``(S, S, 3)``: classifying it gives the same answer."""
        with native:
            return cut(pixels, face, self.detector, self.classifier.crop)
