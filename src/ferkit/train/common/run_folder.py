"""What a run's folder says of itself beside its weights: the recipe as it was resolved, the machine, the figures and their curves."""

from __future__ import annotations

import csv
import io
import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import keras

from ... import __version__
from ...errors import MissingExtraError
from ...files import write_bytes, write_json
from ...plots import history_curves

__all__ = ["toml", "write_begun", "write_curves", "write_results"]

_PACKAGES = ("keras", "tensorflow", "jax", "torch", "numpy", "opencv-python-headless", "onnx", "onnxruntime", "pillow")


def write_begun(out: Path, recipe: Mapping[str, Any]) -> None:
    """Write ``recipe.toml``, which trains the same again, and ``environment.json``: versions, machine, command, time."""
    write_bytes(out / "recipe.toml", ("# The recipe as it was resolved, with what was set on the command line.\n" + toml(recipe)).encode())
    write_json(
        out / "environment.json",
        {
            "ferkit": __version__,
            "python": platform.python_version(),
            "system": platform.platform(),
            "processor": platform.machine(),
            "cpus": os.cpu_count(),
            "backend": keras.backend.backend(),
            "packages": {name: found for name in _PACKAGES if (found := _version(name)) is not None},
            "command": sys.argv,
            "begun": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    )


def write_results(out: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Write ``results.csv``: a row for each epoch, a column for each figure that any has."""
    columns = list(dict.fromkeys(name for row in history for name in row))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    write_bytes(out / "results.csv", buffer.getvalue().encode(), sync=False)


def write_curves(out: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Write ``curves.png``. Without matplotlib there is none: figures are in ``results.csv``."""
    try:
        write_bytes(out / "curves.png", history_curves(history), sync=False)
    except MissingExtraError:
        return


def toml(table: Mapping[str, Any]) -> str:
    """Return a recipe's table as TOML; what is None or empty is left out."""
    plain = {key: value for key, value in table.items() if not isinstance(value, Mapping) and not _are_tables(value)}
    lines = [f"{key} = {_value(value)}" for key, value in plain.items() if value is not None]
    for key, value in table.items():
        entries = value if _are_tables(value) else [value] if isinstance(value, Mapping) else []
        for entry in entries:
            kept = {name: inner for name, inner in entry.items() if inner is not None and inner != ()}
            if kept:
                lines += ["", f"[[{key}]]" if _are_tables(value) else f"[{key}]", *(f"{_key(n)} = {_value(v)}" for n, v in kept.items())]
    return "\n".join(lines) + "\n"


def _are_tables(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and bool(value) and all(isinstance(entry, Mapping) for entry in value)


def _key(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else json.dumps(name)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(name)} = {_value(inner)}" for name, inner in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False)  # texts, numbers and truth are spelt alike in both


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
