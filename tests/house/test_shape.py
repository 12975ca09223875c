"""No function is long or takes many arguments, and nothing stands twice."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import ferkit

ROOT = Path(ferkit.__file__).parent
LINES, PARAMETERS, WINDOW = 60, 8, 10
# Fixed signatures, which people hold: `docs/api.md` documents each of their arguments.
FIXED = {
    "adopt": "classifiers/adopting.py",
    "batch": "bulk/running.py",
    "evaluate": "evaluation/measuring.py",
    "export": "train/release/single_files.py",
    "fit": "train/classifier/loop.py",
    "finetune": "train/finetuning/assembly.py",
    "from_pretrained": "classifiers/ensemble.py",
    "measure": "evaluation/measuring.py",
    "prepare": "data/preparing.py",
    "train": "train/classifier/training.py",
}


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield path.relative_to(ROOT).as_posix(), node


def parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
    return names[1:] if names[:1] in (["self"], ["cls"]) else names


def test_no_function_is_long() -> None:
    """Of a fixed signature, whose arguments the docstring describes, the code alone counts."""
    found = []
    for path, node in functions():
        assert node.end_lineno is not None
        documented = node.body[0].end_lineno if FIXED.get(node.name) == path else node.lineno - 1
        count = node.end_lineno - (documented or 0)
        if count > LINES:
            found.append(f"{path}: {node.name} has {count} lines")
    assert not found, "\n".join(found)


def test_no_function_takes_many_arguments() -> None:
    found = [
        f"{path}: {node.name} takes {len(parameters(node))}"
        for path, node in functions()
        if len(parameters(node)) > PARAMETERS and FIXED.get(node.name) != path
    ]
    assert not found, "\n".join(found)


def test_fixed_signatures_exist() -> None:
    assert FIXED.items() <= {(node.name, path) for path, node in functions()}


def twice(files: dict[str, str], window: int = WINDOW) -> list[str]:
    """Return where lines that stand somewhere else too begin; empty lines and indentation do not count."""
    places = defaultdict(list)
    for name, text in files.items():
        lines = [(number, " ".join(line.split())) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
        for first in range(len(lines) - window + 1):
            places[tuple(line for _, line in lines[first : first + window])].append(f"{name}:{lines[first][0]}")
    return [" and ".join(found) for found in places.values() if len(found) > 1]


def test_nothing_stands_twice() -> None:
    files = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in sorted(ROOT.rglob("*.py"))}
    assert not twice(files)


def test_what_stands_twice_is_found() -> None:
    lines = [f"line {number}" for number in range(12)]
    text = "\n".join(lines)
    assert twice({"a.py": text, "b.py": "\n\n".join(f"    {line}" for line in lines[1:11])}) == ["a.py:2 and b.py:1"]
    assert not twice({"a.py": text, "b.py": "\n".join(lines[1:10])})
