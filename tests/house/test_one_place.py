"""A formula stands in one place, and everybody calls it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import ferkit

ROOT = Path(ferkit.__file__).parent
SOURCES = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in sorted(ROOT.rglob("*.py"))}
# An exponential of what was shifted by its largest value, or that is divided by its own sum, is a softmax.
SOFTMAX = re.compile(r"\bexp\([^\n]*\.max\(|(\b\w*exp\w*|\bshares?) / \1\.sum\(|\.exp\(\w+\)\.sum\(")
# Whose pixels it resizes: a batch of tensors in training; what Pillow is decoding has colors that OpenCV does not know.
RESIZING: dict[str, str | tuple[str, ...]] = {
    "resizing.py": "cv2.resize",
    "train/classifier/distilling.py": "ops.image.resize",
    "flattening.py": ("band.", "across."),
}


def resizing(text: str) -> list[str]:
    """Return the calls of functions named ``resize``, as they are written."""
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    return [ast.unparse(call) for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "resize"]


def test_a_softmax_stands_in_one_place() -> None:
    found = [f"{path}: {match.group()}" for path, text in SOURCES.items() if path != "logits.py" for match in SOFTMAX.finditer(text)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("line", ["exp = np.exp(s - s.max(axis=1, keepdims=True))", "p = exp / exp.sum()", "np.log(np.exp(s).sum(axis=1))"])
def test_a_softmax_is_recognised(line: str) -> None:
    assert SOFTMAX.search(line)


def test_pixels_are_resized_in_one_place() -> None:
    calls = [(path, call) for path, text in SOURCES.items() for call in resizing(text)]
    assert {path for path, _ in calls} == set(RESIZING), "\n".join(f"{path}: {call}" for path, call in calls)
    assert all(call.startswith(RESIZING[path]) for path, call in calls)


def test_the_learning_rate_falls_in_one_place() -> None:
    found = [path for path, text in SOURCES.items() if re.search(r"LearningRateSchedule\)|\bcos\(math\.pi", text)]
    assert found == ["train/common/schedule.py"]
