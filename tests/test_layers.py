"""A module imports only from lower floors (docs/architecture.md)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "ferkit"

FLOORS = {
    "errors": 0,
    "labels": 0.5,
    "gate": 0,
    "image_files": 0,
    "webp": 0,
    "tensors": 0.5,
    "pickling": 0,
    "text": 0,
    "_colors": 0,
    "_layout": 0,
    "_fonts": 0.5,
    "_anonymous": 0.5,
    "results": 1.5,
    "_image": 1,
    "_geometry": 1,
    "_specs": 1.5,
    "weights": 2,
    "_threads": 0.5,
    "_committee": 2,
    "_runtime": 2,
    "_turning": 2,
    "_draw": 2,
    "_display": 2,
    "_detectors": 2.5,
    "detect": 3,
    "classify": 3,
    "ensemble": 4,
    "pipeline": 4.5,
    "video": 5,
    "serve": 5.5,
    "batch": 5,
    "doctor": 3,
    "_commands": 6,
    "cli": 6.5,
    "__main__": 7,
    "train": 5,
}
# Result.draw() and a notebook's display are what users call; they themselves need results. The import happens inside the method.
# Pipeline.video() likewise: a method of the class that users hold, done one floor up.
ALLOWED = {("results", "_draw"), ("results", "_display"), ("pipeline", "video")}
# Nothing outside train/ imports train/, a command of the cli excepted; the same holds for the rooms with extras.
GUARDED = {"train": {"cli", "_commands"}, "serve": {"cli", "_commands"}, "batch": {"cli"}}


def room(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return relative.parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Rooms of ferkit that a file imports, at any depth of nesting."""
    found = set()
    depth = len(path.relative_to(PACKAGE).parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level == depth:
                found |= {module.split(".")[0]} if module else {alias.name for alias in node.names}
            elif module.split(".")[0] == "ferkit":
                found.add([*module.split("."), ""][1])
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("ferkit.")}
    return {name for name in found if (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file()} - {""}


FILES = sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_down(path: Path) -> None:
    own = room(path)
    assert own in FLOORS, f"{own} has no floor; give it one in tests/test_layers.py and docs/architecture.md"
    for other in imports(path) - {own}:
        assert FLOORS[other] < FLOORS[own] or (own, other) in ALLOWED, (
            f"{own} (floor {FLOORS[own]}) imports {other} (floor {FLOORS[other]})"
        )
        assert own in GUARDED.get(other, {own}), f"{own} imports {other}, which only {GUARDED.get(other)} may"


def test_keras_is_imported_by_training_only() -> None:
    for path in FILES:
        if room(path) == "train":
            continue
        text = path.read_text(encoding="utf-8")
        assert "import keras" not in text, path
        assert "import tensorflow" not in text, path


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_file_is_two_files(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 420
