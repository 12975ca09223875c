"""Names that other data sets use for FER2013's labels."""

from __future__ import annotations

from collections.abc import Sequence

from ..labels import FER7

__all__ = ["canonical", "columns_of", "label_order"]

_ALIASES = {
    "anger": "angry",
    "disgusted": "disgust",
    "afraid": "fear",
    "fearful": "fear",
    "happiness": "happy",
    "joy": "happy",
    "sadness": "sad",
    "surprised": "surprise",
}


def canonical(label: str) -> str:
    """Return FER2013's name for a label if there is one (``Happiness`` is ``happy``), else the label in lower case."""
    name = label.strip().lower()
    return _ALIASES.get(name, name)


def label_order(label: str) -> tuple[int, str]:
    """Sort key: FER2013's labels in their own order, whatever they are called, then the others by name."""
    name = canonical(label)
    return (FER7.classes.index(name) if name in FER7.classes else len(FER7), label)


def columns_of(wanted: Sequence[str], labels: Sequence[str]) -> list[int] | None:
    """Return the position in ``labels`` of every wanted name, aliases allowed, or None if one is not there.

    An equal name wins over an alias of it; two wanted names never share a position.
    """
    names = [canonical(label) for label in labels]
    found = [list(labels).index(w) if w in labels else names.index(canonical(w)) if canonical(w) in names else -1 for w in wanted]
    return found if -1 not in found and len(set(found)) == len(found) else None
