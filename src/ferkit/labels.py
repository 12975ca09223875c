"""Label sets: the ordered names that a classifier's outputs stand for, and what kind of answers they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from .errors import InputError

__all__ = [
    "CLASSES",
    "CUSTOM",
    "FER6",
    "FER7",
    "FERPLUS8",
    "KINDS",
    "LABELS",
    "LABEL_SETS",
    "PHOTOS",
    "UNSURE_BELOW",
    "VALUES",
    "LabelSet",
    "label_set",
    "need_classes",
]

CLASSES, LABELS, VALUES = KINDS = ("classes", "labels", "values")  # one of several; each there or not (multi-label); numbers (regression)
CUSTOM = "custom"  # the name of a set of classes that somebody else's data or code names, and of the output that answers it
UNSURE_BELOW = 0.5  # in films and on the page: such an answer is, by its own account, more likely wrong than right (benchmarks/README.md)

_EMOJI = {
    "angry": "\U0001f620",
    "disgust": "\U0001f922",
    "fear": "\U0001f628",
    "happy": "\U0001f604",
    "sad": "\U0001f622",
    "surprise": "\U0001f62e",
    "neutral": "\U0001f610",
    "contempt": "\U0001f612",
}
# Colour-blind-safe hues (Okabe and Ito, with one grey and one lighter tone), as RGB.
_COLOURS = {
    "angry": (213, 94, 0),
    "disgust": (0, 158, 115),
    "fear": (204, 121, 167),
    "happy": (240, 180, 20),
    "sad": (0, 114, 178),
    "surprise": (86, 180, 233),
    "neutral": (128, 128, 128),
    "contempt": (150, 110, 60),
}


@dataclass(frozen=True)
class LabelSet:
    """An ordered, immutable set of class names.

    Args:
        name: Identifier, for example ``"fer2013"``.
        classes: Class names; position ``i`` names output column ``i``.
        emoji: One emoji per class. Derived from the class names when left empty.
        colours: One RGB triple (0-255) per class. Derived when left empty: the known names have theirs, others get colors
            that differ from these and from each other.
        kind: ``"classes"``: a face is one of them, and their probabilities sum to 1. ``"labels"``: several may be true of a face, and each
            has a probability of its own (multi-label). ``"values"``: each is a number, such as valence (regression).

    Raises:
        InputError: Fewer than two classes (one label or value is enough), a repeated or empty name, an unknown kind, or a decoration of the
            wrong length.

    Examples:
        >>> LabelSet("affect", ("valence", "arousal"), kind="values").classes
        ('valence', 'arousal')
    """

    name: str
    classes: tuple[str, ...]
    emoji: tuple[str, ...] = field(default=(), repr=False)
    colours: tuple[tuple[int, int, int], ...] = field(default=(), repr=False)
    kind: str = CLASSES

    def __post_init__(self) -> None:
        if isinstance(self.classes, str):  # whose letters would be the names
            raise InputError(f"Label set {self.name!r} with the names {self.classes!r}; expected several, such as ('happy', 'sad').")
        classes = tuple(str(c) for c in self.classes)
        if self.kind not in KINDS:
            raise InputError(f"Label set {self.name!r} is of kind {self.kind!r}; expected one of {', '.join(KINDS)}.")
        if len(classes) < (least := 2 if self.kind == CLASSES else 1):
            raise InputError(
                f"Label set {self.name!r} has {len(classes)} {self.kind}; at least {'two are' if least == 2 else 'one is'} needed."
            )
        if len(set(classes)) != len(classes) or not all(classes):
            raise InputError(f"Label set {self.name!r} needs distinct, non-empty class names; got {classes}.")
        emoji = tuple(self.emoji) or tuple(_EMOJI.get(c, "") for c in classes)
        colours = tuple((int(r), int(g), int(b)) for r, g, b in self.colours) or _colors(classes)
        if len(emoji) != len(classes) or len(colours) != len(classes):
            raise InputError(f"Label set {self.name!r} needs one emoji and one colour for each of its {len(classes)} classes.")
        object.__setattr__(self, "classes", classes)
        object.__setattr__(self, "emoji", emoji)
        object.__setattr__(self, "colours", colours)

    def __repr__(self) -> str:
        kind = "" if self.kind == CLASSES else f", kind={self.kind!r}"
        return f"LabelSet(name={self.name!r}, classes={self.classes!r}{kind})"

    def __len__(self) -> int:
        return len(self.classes)

    def __iter__(self) -> Iterator[str]:
        return iter(self.classes)

    def __getitem__(self, index: int) -> str:
        return self.classes[index]

    @property
    def colors(self) -> dict[str, tuple[int, int, int]]:
        """Class name to RGB, 0-255."""
        return dict(zip(self.classes, self.colours, strict=True))

    def index(self, label: str) -> int:
        """Return the column of ``label``. Raises InputError for a name that is not in the set."""
        try:
            return self.classes.index(label)
        except ValueError:
            raise InputError(f"{label!r} is not in label set {self.name!r}; it has {', '.join(self.classes)}.") from None

    def columns(self, wanted: LabelSet) -> list[int]:
        """Return, for each class of ``wanted``, its column in this set. Raises InputError if one is absent."""
        return [self.index(label) for label in wanted.classes]


def _colors(classes: tuple[str, ...]) -> tuple[tuple[int, int, int], ...]:
    known = {name: _COLOURS[name] for name in classes if name in _COLOURS}
    others = [name for name in classes if name not in known]
    if others:
        from .colors import distinct

        known |= dict(zip(others, distinct(len(others), tuple(known.values())), strict=True))
    return tuple(known[name] for name in classes)


FER7 = LabelSet("fer2013", ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"))
FER6 = LabelSet("fer6", ("angry", "fear", "happy", "sad", "surprise", "neutral"))
FERPLUS8 = LabelSet("ferplus", ("neutral", "happy", "surprise", "sad", "angry", "disgust", "fear", "contempt"))
# What people see in photos: the same names, answered by both heads of a network together, FER2013's and FER+'s.
PHOTOS = LabelSet("photos", FER7.classes)

LABEL_SETS = {labels.name: labels for labels in (FER7, FER6, FERPLUS8)}


def label_set(labels: str | LabelSet | Sequence[str]) -> LabelSet:
    """Return a LabelSet from itself, from a known name (``fer2013``, ``fer6``, ``ferplus``) or from class names."""
    if isinstance(labels, LabelSet):
        return labels
    if isinstance(labels, str):
        if labels not in LABEL_SETS:
            raise InputError(f"Unknown label set {labels!r}; expected one of {', '.join(LABEL_SETS)}, or a sequence of class names.")
        return LABEL_SETS[labels]
    return LabelSet(CUSTOM, tuple(labels))


def need_classes(labels: LabelSet, whose: str, what: str) -> None:
    """Refuse several labels at once, and values, where one class of several is needed.

    Args:
        labels: That some weights answer.
        whose: The weights' name.
        what: Needs classes, as the beginning of a sentence: ``"An ensemble"``.

    Raises:
        InputError: They are of another kind.
    """
    if labels.kind != CLASSES:
        several = "several labels at once" if labels.kind == LABELS else "values"
        raise InputError(
            f"{what} needs weights that choose one of several classes; {whose} answers {several} ({', '.join(labels)}). "
            "Such weights are for Pipeline, predict and evaluate, on pictures."
        )
