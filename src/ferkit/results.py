"""What a pipeline says about one image. Nothing found is an empty value, not an error."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from .errors import InputError, MissingExtraError
from .faces import Face
from .images import load_image
from .text import encodable

if TYPE_CHECKING:
    import pandas
    from PIL import Image

__all__ = ["SCHEMA", "Result", "csv_header", "csv_rows", "feature_columns"]

SCHEMA = 1


@dataclass(frozen=True)
class Result(Sequence[Face]):
    """What a pipeline says about one image: a sequence of its faces, and false where there are none.

    ``result[0]`` is a Face and ``result[:3]`` a Result of fewer faces. In a notebook it shows its picture and a table.

    Examples:
        >>> happy = Expression("happy", 0.9, {"happy": 0.9, "sad": 0.1})
        >>> face = Face((10, 10, 50, 60), expression=happy)
        >>> result = Result((face,), 100, 80)
        >>> [face.expression.label for face in result], result.boxes.tolist()
        (['happy'], [[10.0, 10.0, 50.0, 60.0]])

    Attributes:
        faces: Largest first.
        width: Of the image as loaded, pixels.
        height: The same.
        image: The path it was loaded from, or None.
        weights: Name of the classifier's weights.
        pixels: The image, or None.
        colors: Of the labels, RGB 0-255, as ``draw`` uses them; None: derived from their names.
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
        """The faces' labels, str or None (unsure, not classified, or answered by several labels or values), object ``(n,)``."""
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
        """Return ``to_dict`` as a JSON text."""
        return encodable(json.dumps(self.to_dict(), ensure_ascii=False, indent=indent))

    def to_csv(self) -> str:
        """Return a header and one row per face as CSV text; an image without faces keeps a row of its own."""
        labels = self._class_names()
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(csv_header(labels, self._feature_count()))
        writer.writerows(csv_rows(self, labels, self._feature_count()))
        return buffer.getvalue()

    def to_dataframe(self) -> pandas.DataFrame:
        """Return a pandas DataFrame with the columns of ``to_csv`` and one row per face, none where there is no face.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise MissingExtraError("pandas", None, "Result.to_dataframe()") from error
        labels = self._class_names()
        count = self._feature_count()
        rows = [[None if cell == "" else cell for cell in row] for row in csv_rows(self, labels, count)] if self.faces else []
        return pandas.DataFrame(rows, columns=csv_header(labels, count))

    def _class_names(self) -> list[str]:
        return next((list(face.expression.numbers) for face in self.faces if face.expression), [])

    def _feature_count(self) -> int:
        return next((len(face.features) for face in self.faces if face.features is not None), 0)

    def _repr_html_(self) -> str:
        from .display import html

        return html(self)

    def _repr_png_(self) -> bytes | None:
        from .display import png

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
        from .drawing.annotating import draw_faces

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


def csv_header(labels: Sequence[str], features: int = 0) -> list[str]:
    """Return the CSV columns for a label set's class names and so many features."""
    fixed = ["image", "width", "height", "weights", "face", "x1", "y1", "x2", "y2", "score", "label", "confidence"]
    return [*fixed, *labels, *feature_columns(features)]


def feature_columns(count: int) -> list[str]:
    """Return the names of so many features' columns in any table."""
    return [f"feature_{number}" for number in range(count)]


def csv_rows(result: Result, labels: Sequence[str], features: int = 0) -> list[list[Any]]:
    """Return one CSV row per face, or a single row with empty cells where there is none; with so many columns of features."""
    head = [result.image and encodable(result.image), result.width, result.height, result.weights]
    if not result.faces:
        return [[*head, *[""] * (8 + len(labels) + features)]]
    rows = []
    for number, face in enumerate(face.to_dict() for face in result.faces):
        cells = [""] * (2 + len(labels))
        numbers = face.get("values", face.get("probabilities"))
        if numbers is not None:
            said = face.get("label") or ";".join(face.get("labels", ()))
            cells = [said, face.get("confidence", ""), *(numbers[label] for label in labels)]
        rows.append([*head, number, *face["box"], face["score"], *cells, *face.get("features", [""] * features)])
    return rows
