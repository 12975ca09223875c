"""Results: immutable values that check themselves. Nothing found is an empty value, not an error."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from ._image import load_image
from .errors import InputError, MissingExtraError
from .text import encodable

if TYPE_CHECKING:
    import pandas
    from PIL import Image

__all__ = ["SCHEMA", "Expression", "Face", "Result", "csv_header", "csv_rows"]

SCHEMA = 1


class _Probabilities(Mapping[str, float]):
    """A read-only mapping that hashes, pickles and copies; a deep copy, as of ``dataclasses.asdict``, is a plain dict."""

    __slots__ = ("_table",)

    def __init__(self, table: Mapping[str, float]) -> None:
        self._table = dict(table)

    def __getitem__(self, name: str) -> float:
        return self._table[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)

    def __hash__(self) -> int:
        return hash(frozenset(self._table.items()))

    def __repr__(self) -> str:
        return repr(self._table)

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[str, float]:
        return dict(self._table)


@dataclass(frozen=True)
class Expression:
    """A classified expression.

    Attributes:
        label: The most probable class, or None if the classifier abstained.
        confidence: Calibrated probability of the most probable class, 0-1.
        probabilities: Class name -> probability; they sum to 1.
        reason: Why the classifier abstained; None if it did not.
        disagreement: Of an ensemble's members, nats, 0 where all say the same; None from a single classifier.
    """

    label: str | None
    confidence: float
    probabilities: Mapping[str, float]
    reason: str | None = None
    disagreement: float | None = None

    def __post_init__(self) -> None:
        total = sum(self.probabilities.values())
        if not abs(total - 1) < 1e-3:
            raise InputError(f"Probabilities sum to {total}; expected 1.")
        if self.label is not None and self.label not in self.probabilities:
            raise InputError(f"Label {self.label!r} is none of {', '.join(self.probabilities)}.")
        object.__setattr__(self, "probabilities", _Probabilities(self.probabilities))

    def __reduce__(self) -> tuple[Any, ...]:  # copies are checked and read-only too
        return Expression, (self.label, self.confidence, dict(self.probabilities), self.reason, self.disagreement)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, to six decimals; ``reason`` only where the classifier abstained, ``disagreement`` from ensembles."""
        probabilities = {name: round(p, 6) for name, p in self.probabilities.items()}
        out: dict[str, Any] = {"label": self.label, "confidence": round(self.confidence, 6), "probabilities": probabilities}
        out |= {} if self.reason is None else {"reason": self.reason}
        return out if self.disagreement is None else out | {"disagreement": round(self.disagreement, 6)}


@dataclass(frozen=True)
class Face:
    """A detected face.

    Attributes:
        box: xyxy, float pixels of the image as loaded; may reach past its edges.
        score: The detector's confidence, 0-1.
        landmarks: Five (x, y) points in pixels, or None: the subject's right eye, left eye, nose tip, right and left
            mouth corner.
        expression: None until a classifier has looked.
        track_id: In video, the number of the person; else None.
        turn: Degrees by which the face is turned clockwise: 0, 90, 180 or 270 where ``rotations`` were asked for; 180 also where
            an upside-down face was found without; else None.
    """

    box: tuple[float, float, float, float]
    score: float = 1.0
    landmarks: tuple[tuple[float, float], ...] | None = None
    expression: Expression | None = None
    track_id: int | None = None
    turn: int | None = None

    def __post_init__(self) -> None:
        box = tuple(float(v) for v in self.box)
        if len(box) != 4 or not all(np.isfinite(box)) or box[2] < box[0] or box[3] < box[1]:
            raise InputError(f"Box {box}; expected four finite numbers x1, y1, x2, y2 with x1 <= x2 and y1 <= y2.")
        object.__setattr__(self, "box", box)
        object.__setattr__(self, "score", float(self.score))
        if self.landmarks is not None:
            points = tuple((float(x), float(y)) for x, y in self.landmarks)
            if len(points) != 5:
                raise InputError(f"{len(points)} landmarks; expected five (x, y) points, or None.")
            object.__setattr__(self, "landmarks", points)

    @property
    def width(self) -> float:
        """Pixels."""
        return self.box[2] - self.box[0]

    @property
    def height(self) -> float:
        """Pixels."""
        return self.box[3] - self.box[1]

    @property
    def roll(self) -> float | None:
        """Degrees by which the line of the eyes is turned clockwise, -180 to 180; 0 is upright. None without landmarks."""
        if self.landmarks is None:
            return None
        (x1, y1), (x2, y2) = self.landmarks[:2]
        return math.degrees(math.atan2(y2 - y1, x2 - x1))

    def scaled(self, across: float, down: float) -> Face:
        """Return the same face in a picture that is ``across`` times as wide and ``down`` times as high."""
        x1, y1, x2, y2 = self.box
        points = None if self.landmarks is None else tuple((x * across, y * down) for x, y in self.landmarks)
        return replace(self, box=(x1 * across, y1 * down, x2 * across, y2 * down), landmarks=points)

    def with_expression(self, expression: Expression) -> Face:
        """Return a copy that carries an expression."""
        return replace(self, expression=expression)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, pixels to two decimals: box, score, landmarks, and label, confidence, probabilities once classified, track_id in video.

        ``turn`` is there only where it is known.
        """
        landmarks = None if self.landmarks is None else [[round(x, 2), round(y, 2)] for x, y in self.landmarks]
        out: dict[str, Any] = {"box": [round(v, 2) for v in self.box], "score": round(self.score, 6), "landmarks": landmarks}
        out |= {} if self.turn is None else {"turn": self.turn}
        out |= {} if self.expression is None else self.expression.to_dict()
        return out if self.track_id is None else out | {"track_id": self.track_id}


@dataclass(frozen=True)
class Result:
    """What a pipeline says about one image: a sequence of its faces, and false where there are none.

    ``result[0]`` is a Face and ``result[:3]`` a Result of fewer faces. In a notebook it shows its picture and a table.

    Example:
        >>> face = Face((10, 10, 50, 60), expression=Expression("happy", 0.9, {"happy": 0.9, "sad": 0.1}))
        >>> result = Result((face,), 100, 80)
        >>> [face.expression.label for face in result], result.boxes.tolist()
        (['happy'], [[10.0, 10.0, 50.0, 60.0]])

    Attributes:
        faces: Largest first.
        width, height: Of the image as loaded, pixels.
        image: The path it was loaded from, or None.
        weights: Name of the classifier's weights.
        pixels: The image, or None.
        colors: Of the labels, RGB 0-255, as :meth:`draw` uses them; None: derived from their names.
    """

    faces: tuple[Face, ...]
    width: int
    height: int
    image: str | None = None
    weights: str | None = None
    pixels: NDArray[np.uint8] | None = field(default=None, repr=False, compare=False)
    colors: Mapping[str, tuple[int, int, int]] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "faces", tuple(self.faces))

    def __len__(self) -> int:
        return len(self.faces)

    def __iter__(self) -> Iterator[Face]:
        return iter(self.faces)

    @overload
    def __getitem__(self, index: int) -> Face: ...

    @overload
    def __getitem__(self, index: slice) -> Result: ...

    def __getitem__(self, index: int | slice) -> Face | Result:
        return replace(self, faces=self.faces[index]) if isinstance(index, slice) else self.faces[index]

    @property
    def boxes(self) -> NDArray[np.float64]:
        """The faces' boxes, xyxy pixels, float64 ``(n, 4)``."""
        return np.array([face.box for face in self.faces], np.float64).reshape(-1, 4)

    @property
    def scores(self) -> NDArray[np.float64]:
        """The detector's confidences, 0-1, float64 ``(n,)``."""
        return np.array([face.score for face in self.faces], np.float64)

    @property
    def labels(self) -> NDArray[np.object_]:
        """The faces' labels, str or None (unsure, or not classified), object ``(n,)``."""
        labels = np.empty(len(self.faces), object)
        labels[:] = [face.expression.label if face.expression else None for face in self.faces]
        return labels

    @property
    def largest(self) -> Face | None:
        """The face with the largest box; None where there is none."""
        return max(self.faces, key=lambda face: face.width * face.height, default=None)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values in the schema of ``ferkit predict``."""
        return {
            "schema": SCHEMA,
            "image": self.image,
            "width": self.width,
            "height": self.height,
            "weights": self.weights,
            "faces": [face.to_dict() for face in self.faces],
        }

    def to_json(self, indent: int | None = None) -> str:
        """Return :meth:`to_dict` as a JSON text."""
        return encodable(json.dumps(self.to_dict(), ensure_ascii=False, indent=indent))

    def to_csv(self) -> str:
        """Return a header and one row per face as CSV text; an image without faces keeps a row of its own."""
        labels = self._class_names()
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(csv_header(labels))
        writer.writerows(csv_rows(self, labels))
        return buffer.getvalue()

    def to_dataframe(self) -> pandas.DataFrame:
        """Return a pandas DataFrame with the columns of :meth:`to_csv` and one row per face, none where there is no face.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise MissingExtraError("pandas", None, "Result.to_dataframe()") from error
        labels = self._class_names()
        rows = [[None if cell == "" else cell for cell in row] for row in csv_rows(self, labels)] if self.faces else []
        return pandas.DataFrame(rows, columns=csv_header(labels))

    def _class_names(self) -> list[str]:
        return next((list(face.expression.probabilities) for face in self.faces if face.expression), [])

    def _repr_html_(self) -> str:
        from ._display import html

        return html(self)

    def _repr_png_(self) -> bytes | None:
        from ._display import png

        return png(self)

    def draw(self, *, blur: bool = False, landmarks: bool = False, bars: bool = True) -> Image.Image:
        """Return a copy of the image with boxes, labels and, where they cover nothing, probability bars.

        A result without pixels reads its file again. The copy has no metadata: no EXIF, no place, no thumbnail.

        Args:
            blur: Cover every head with a mosaic of its surroundings' colors, from which no face can be brought back. Faces that
                the detector missed stay: look at the copies before you publish them.
            landmarks: Draw the five points too, as thin circles; never together with ``blur``.
            bars: Draw the probabilities beside faces.

        Raises:
            InputError: There are neither pixels nor a file, or the file has another size by now.
            ImageError: The file cannot be read any more.
        """
        from ._draw import draw_faces

        pixels = self.pixels
        if pixels is None:
            if self.image is None:
                raise InputError("This result has no pixels and no file to draw on; make it with keep_pixels=True.")
            pixels = load_image(self.image)
            if pixels.shape[:2] != (self.height, self.width):
                raise InputError(f"{self.image} is now {pixels.shape[1]}x{pixels.shape[0]}, the result is of {self.width}x{self.height}.")
        across, down = pixels.shape[1] / self.width, pixels.shape[0] / self.height  # not 1 where it was read at a smaller scale
        faces = [face.scaled(across, down) for face in self.faces]
        return draw_faces(pixels, faces, blur=blur, landmarks=landmarks, bars=bars, colors=self.colors)


def csv_header(labels: Sequence[str]) -> list[str]:
    """Return the CSV columns for a label set's class names."""
    return ["image", "width", "height", "weights", "face", "x1", "y1", "x2", "y2", "score", "label", "confidence", *labels]


def csv_rows(result: Result, labels: Sequence[str]) -> list[list[Any]]:
    """Return one CSV row per face, or a single row with empty cells where there is none."""
    head = [result.image and encodable(result.image), result.width, result.height, result.weights]
    if not result.faces:
        return [[*head, *[""] * (8 + len(labels))]]
    rows = []
    for number, face in enumerate(face.to_dict() for face in result.faces):
        cells = [""] * (2 + len(labels))
        if "probabilities" in face:
            cells = [face["label"] or "", face["confidence"], *(face["probabilities"][label] for label in labels)]
        rows.append([*head, number, *face["box"], face["score"], *cells])
    return rows
