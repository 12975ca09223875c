"""Whether a value is what a type says: records are dictionaries, which at run time hold whatever was put in."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NotRequired, Union, get_args, get_origin, get_type_hints, is_typeddict


def mismatches(value: Any, hint: Any, where: str = "") -> Iterator[str]:
    """Yield where a value, or a part of it, is not as its type says; a whole number may stand for another, a tuple for a list."""
    origin, parts = get_origin(hint), get_args(hint)
    if hint is Any:
        return
    if is_typeddict(hint):
        yield from _record(value, hint, where)
    elif origin in (Union, types.UnionType):
        if all(any(True for _ in mismatches(value, part)) for part in parts):
            yield f"{where}: {value!r} is not of {hint}"
    elif origin is Literal:
        if value not in parts:
            yield f"{where}: {value!r} is none of {parts}"
    elif origin in (list, Sequence, dict, Mapping):
        listed = origin in (list, Sequence)
        if not isinstance(value, (list, tuple) if listed else Mapping):
            yield f"{where}: {value!r} is not of {hint}"
            return
        for key, entry in enumerate(value) if listed else value.items():
            yield from mismatches(entry, parts[-1], f"{where}.{key}")
    elif type(value) is not (type(None) if hint is None else hint) and not (hint is float and type(value) is int):
        yield f"{where}: {value!r} is not of {hint}"


def _record(value: Any, hint: Any, where: str) -> Iterator[str]:
    if not isinstance(value, Mapping):
        yield f"{where}: {value!r} is not of {hint.__name__}"
        return
    hints = get_type_hints(hint, include_extras=True)
    for key, kind in hints.items():
        optional = get_origin(kind) is NotRequired  # which a TypedDict does not see in annotations that are text
        if key in value:
            yield from mismatches(value[key], get_args(kind)[0] if optional else kind, f"{where}.{key}")
        elif key in hint.__required_keys__ and not optional:
            yield f"{where} lacks {key}"
    yield from (f"{where} has {key}, which {hint.__name__} does not know" for key in value if key not in hints)
