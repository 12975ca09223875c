"""Names and numbers that other data sets use for FER2013's labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..errors import DataError, InputError
from ..labels import CUSTOM, FER7, LabelSet

__all__ = [
    "NUMBERINGS",
    "are_numbers",
    "as_mapping",
    "as_fer2013",
    "canonical",
    "columns_of",
    "label_order",
    "label_set_of",
    "mapping_line",
    "parse_mapping",
    "renaming",
]

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
# What public data sets mean by numbers. No two of them agree, so none is ever assumed.
NUMBERINGS: dict[str, dict[str, str]] = {
    "FER2013": dict(zip("0123456", FER7, strict=True)),
    "CK+ (csv)": dict(zip("01234567", (*FER7, "contempt"), strict=True)),
    "AffectNet": dict(zip("01234567", ("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry", "contempt"), strict=True)),
    "RAF-DB": dict(zip("1234567", ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral"), strict=True)),
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


def label_set_of(names: Iterable[str]) -> LabelSet:
    """Return FER2013's label set if all names are its own, else the names themselves, sorted. Raises InputError for fewer than two of these."""
    found = sorted(set(names))
    return FER7 if set(found) <= set(FER7) else LabelSet(CUSTOM, tuple(found))


def as_fer2013(names: Iterable[str]) -> dict[str, str] | None:
    """Return FER2013's name for each of some labels if it has one for all of them, in whatever capitals and by whatever alias; else None."""
    found = {name: canonical(name) for name in names}
    return found if found and set(found.values()) <= set(FER7) else None


def are_numbers(names: Iterable[str]) -> bool:
    """Return True if every name is a whole number: such labels mean nothing by themselves."""
    found = list(names)
    return bool(found) and all(name.strip().removesuffix(".0").isdecimal() for name in found)


def mapping_line(relabel: Mapping[str, str]) -> str:
    """Return new names as ``--labels`` takes it, ``1=surprise,2=fear``."""
    return ",".join(f"{old}={new}" for old, new in relabel.items())


def as_mapping(relabel: Mapping[str, str] | str | None) -> dict[str, str] | None:
    """Return new names as a mapping, however they are given. Raises InputError as ``parse_mapping``."""
    if relabel is None:
        return None
    return parse_mapping(relabel) if isinstance(relabel, str) else {str(old): str(new) for old, new in relabel.items()}


def parse_mapping(text: str) -> dict[str, str]:
    """Return what ``1=surprise,2=fear,3=`` says: new names by the data's own. An empty new name leaves the label out.

    Raises:
        InputError: A part without ``=``, an empty old name, or one that comes twice.

    >>> parse_mapping("1=surprise, 8=")
    {'1': 'surprise', '8': ''}
    """
    relabel: dict[str, str] = {}
    for part in text.split(","):
        old, equals, new = (piece.strip() for piece in part.partition("="))
        if not equals or not old or old in relabel:
            raise InputError(
                f"New names {text!r}: {part.strip()!r}; expected each label of the data once, such as 1=surprise,2=fear,8= .",
                arguments=["relabel"],
            )
        relabel[old] = new
    return relabel


def renaming(found: Iterable[str], relabel: Mapping[str, str] | None, where: str) -> dict[str, str]:
    """Return what each label of some data is called in the end; ``""`` for one that is left out.

    Args:
        found: The labels as the data spells them.
        relabel: What to call some of them; an empty new name leaves a label out.
        where: The data, for messages.

    Raises:
        DataError: The labels are numbers, and nobody says what they mean; the message has the lines to type.
        InputError: ``relabel`` names a label that is not there.
    """
    names = sorted(set(found), key=lambda name: (len(name), name) if name.isdecimal() else (1 << 30, name))
    relabel = {} if relabel is None else dict(relabel)
    absent = [old for old in relabel if old not in names]
    if absent and len(absent) == len(relabel):
        raise InputError(
            f"New names for {', '.join(absent)}, which {where} does not have; it has {', '.join(names)}.", arguments=["relabel"]
        )
    unnamed = [name for name in names if name not in relabel]
    if are_numbers(unnamed):
        wanted = {name.removesuffix(".0") for name in names}
        lines = [f"relabel='{mapping_line(known)}' ({title})" for title, known in NUMBERINGS.items() if wanted <= set(known)]
        own = f"relabel='{','.join(f'{name}=NAME' for name in names)}'"
        raise DataError(
            f"{where} has numbers for labels ({', '.join(names)}), and data sets number differently. Say what they mean, for example "
            f"{'; or '.join([*lines, own])}. To keep a number as a name, write {names[0]}={names[0]}.",
            arguments=["relabel"],
        )
    return {name: relabel.get(name, name) for name in names}
