"""Faces and expressions: immutable values that check themselves."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import InputError
from .labels import LABELS, VALUES, LabelSet
from .ranges import check_share

__all__ = ["Expression", "Face", "as_expression", "checked_confidence"]


def checked_confidence(least: float | None) -> float | None:
    """Return the probability below which a classifier abstains; None never does. Raises InputError outside 0-1."""
    check_share("min_confidence", least, "a probability")
    return least


def as_expression(row: NDArray[np.float32], labels: LabelSet, min_confidence: float | None) -> Expression:
    """Return one row of answers ``(k,)`` as an Expression.

    Of classes without a label but with a reason below ``min_confidence``; None never abstains. Of several labels those from one half on.
    """
    table = {name: float(p) for name, p in zip(labels, row, strict=True)}
    if labels.kind == LABELS:
        return Expression(None, 0.0, table, labels=tuple(name for name, p in table.items() if p >= _TRUE))
    if labels.kind == VALUES:
        return Expression(None, 0.0, {}, values=table)
    best = int(row.argmax())
    confidence = float(row[best])
    label: str | None = labels[best]
    reason = None
    if min_confidence is not None and confidence < min_confidence:
        label, reason = None, f"confidence {confidence:.3f} is below {min_confidence:g}; most likely {labels[best]}"
    return Expression(label, confidence, table, reason)


_TRUE = 0.5  # the probability from which one of several labels is said to be true


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
    """A classified expression: one of several classes; or, from weights of another kind, several labels at once, or values.

    Attributes:
        label: The most probable class, or None if the classifier abstained, and from weights of another kind.
        confidence: Calibrated probability of the most probable class, 0-1; 0 from weights of another kind.
        probabilities: Class name -> probability; they sum to 1. Of several labels each has its own; of values there are none.
        reason: Why the classifier abstained; None if it did not.
        disagreement: Of an ensemble's members, nats, 0 where all say the same; None from a single classifier.
        labels: Of several labels at once those that are true, of a probability of one half or more; else None.
        values: Name -> value, such as valence; None from weights of another kind.
    """

    label: str | None
    confidence: float
    probabilities: Mapping[str, float]
    reason: str | None = None
    disagreement: float | None = None
    labels: tuple[str, ...] | None = None
    values: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        if self.values is not None:
            object.__setattr__(self, "values", _Probabilities(self.values))
        total = sum(self.probabilities.values())
        if not math.isfinite(total + sum((self.values or {}).values()) + self.confidence + (self.disagreement or 0.0)):
            raise InputError(
                f"Answers {dict(self.numbers)}, confidence {self.confidence}, disagreement {self.disagreement}; expected finite numbers."
            )
        if not abs(total - 1) < 1e-3 and self.labels is None and self.values is None:
            raise InputError(f"Probabilities sum to {total}; expected 1.")
        if self.label is not None and self.label not in self.probabilities:
            raise InputError(f"Label {self.label!r} is none of {', '.join(self.probabilities)}.")
        object.__setattr__(self, "probabilities", _Probabilities(self.probabilities))

    def __reduce__(self) -> tuple[Any, ...]:  # copies are checked and read-only too
        values = None if self.values is None else dict(self.values)
        return Expression, (self.label, self.confidence, dict(self.probabilities), self.reason, self.disagreement, self.labels, values)

    @property
    def numbers(self) -> Mapping[str, float]:
        """The values, or else the probabilities, by name."""
        return self.probabilities if self.values is None else self.values

    def unsure(self, reason: str) -> Expression:
        """Return the same without a label, for a reason."""
        return replace(self, label=None, labels=None if self.labels is None else (), reason=reason)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, to six decimals; ``reason`` only where the classifier abstained, ``disagreement`` from ensembles.

        Of several labels at once ``labels`` and ``probabilities``; of values ``values`` alone.
        """
        numbers = {name: round(p, 6) for name, p in self.numbers.items()}
        out: dict[str, Any] = {"label": self.label, "confidence": round(self.confidence, 6), "probabilities": numbers}
        if self.labels is not None:
            out = {"labels": list(self.labels), "probabilities": numbers}
        if self.values is not None:
            out = {"values": numbers}
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
        turn: Degrees by which the face is turned clockwise: 0, 90, 180 or 270 where ``rotations`` were asked for; also where a
            turned face was found without; else None.
        features: float32 ``(d,)``, as ``ferkit.ExpressionClassifier.features`` gives them, from a pipeline that was asked for
            them; else None.
    """

    box: tuple[float, float, float, float]
    score: float = 1.0
    landmarks: tuple[tuple[float, float], ...] | None = None
    expression: Expression | None = None
    track_id: int | None = None
    turn: int | None = None
    features: NDArray[np.float32] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        box = tuple(float(v) for v in self.box)
        if len(box) != 4 or not all(map(math.isfinite, box)) or box[2] < box[0] or box[3] < box[1]:
            raise InputError(f"Box {box}; expected four finite numbers x1, y1, x2, y2 with x1 <= x2 and y1 <= y2.")
        object.__setattr__(self, "box", box)
        object.__setattr__(self, "score", float(self.score))
        if not math.isfinite(self.score):
            raise InputError(f"Score {self.score}; expected a finite number.")
        if self.landmarks is not None:
            points = tuple((float(x), float(y)) for x, y in self.landmarks)
            if len(points) != 5:
                raise InputError(f"{len(points)} landmarks; expected five (x, y) points, or None.")
            if not all(map(math.isfinite, chain.from_iterable(points))):
                raise InputError(f"Landmarks {points}; expected finite numbers, or None.")
            object.__setattr__(self, "landmarks", points)
        if self.features is not None and not np.isfinite(self.features).all():
            raise InputError("Features that are not all finite; expected finite numbers, or None.")

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

        ``turn`` is there only where it is known, and ``features``, to six decimals, only where they were asked for.
        """
        landmarks = None if self.landmarks is None else [[round(x, 2), round(y, 2)] for x, y in self.landmarks]
        out: dict[str, Any] = {"box": [round(v, 2) for v in self.box], "score": round(self.score, 6), "landmarks": landmarks}
        out |= {} if self.turn is None else {"turn": self.turn}
        out |= {} if self.expression is None else self.expression.to_dict()
        out |= {} if self.track_id is None else {"track_id": self.track_id}
        return out if self.features is None else out | {"features": [round(float(value), 6) for value in self.features]}
