"""Single entries of a recipe, set from outside: ``lr=0.01``, ``optimizer.weight_decay=0``, ``stages.0.epochs=3``."""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import InputError

__all__ = ["with_settings"]

_SHORT = {"lr": "optimizer.learning_rate", "epochs": "stages.epochs", "size": "data.size"}


def with_settings(table: Mapping[str, Any], settings: Sequence[str], entries: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return a recipe's table with some entries changed.

    Args:
        table: Of the recipe, as TOML has it.
        settings: Each ``KEY=VALUE``. A key is a path, ``table.entry`` or ``stages.0.epochs``, or an entry's own name where only one table
            has it; ``lr`` is the learning rate, ``epochs`` those of the only stage. A value is one of TOML; other words are texts.
        entries: The entries that each table may have.

    Raises:
        InputError: No ``KEY=VALUE``, an unknown or ambiguous key, or a stage that is not there.
    """
    changed: dict[str, Any] = copy.deepcopy(dict(table))
    for setting in settings:
        key, equals, text = str(setting).partition("=")
        if not equals or not key.strip():
            raise InputError(f"{setting!r}; expected KEY=VALUE, such as lr=0.01.", arguments=["settings"])
        path = _path(key.strip(), entries)
        place: Any = changed
        for part in path[:-1]:
            place = _inside(place, part, key, changed)
        if not isinstance(place, dict):
            raise InputError(f"Setting {key!r}: {'.'.join(path[:-1])} is not a table.", arguments=["settings"])
        place[path[-1]] = _value(text.strip())
    return changed


def _path(key: str, entries: Mapping[str, Sequence[str]]) -> list[str]:
    path = _SHORT.get(key, key).split(".")
    if len(path) > 1 or path[0] in ("name", "seed"):
        return path
    tables = [name for name, known in entries.items() if path[0] in known]
    if len(tables) != 1:
        found = f"several tables have it: {', '.join(f'{table}.{path[0]}' for table in tables)}" if tables else "no table has it"
        raise InputError(f"Setting {key!r}: {found}; expected a path such as optimizer.weight_decay.", arguments=["settings"])
    return [tables[0], path[0]]


def _inside(place: Any, part: str, key: str, table: dict[str, Any]) -> Any:
    if isinstance(place, list):
        if not part.isdecimal() or int(part) >= len(place):
            raise InputError(f"Setting {key!r}: there are {len(place)} of these, counted from 0.", arguments=["settings"])
        return place[int(part)]
    found = place.setdefault(part, {}) if place is table else place.get(part)
    if isinstance(found, list) and len(found) == 1 and not _numbered(key):
        return found[0]
    if isinstance(found, list) and not _numbered(key):
        raise InputError(
            f"Setting {key!r}: there are {len(found)} {part}; expected a number, such as {part}.0.epochs.", arguments=["settings"]
        )
    if not isinstance(found, (dict, list)):
        raise InputError(f"Setting {key!r}: {part} is not a table.", arguments=["settings"])
    return found


def _numbered(key: str) -> bool:
    return any(part.isdecimal() for part in key.split("."))


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
