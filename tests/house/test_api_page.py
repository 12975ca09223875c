"""docs/api.md has every public signature as it is: a new argument, another default or another order shows here."""

from __future__ import annotations

import ast
import inspect
import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
ROOMS = ["ferkit", "ferkit.bulk", "ferkit.data", "ferkit.evaluation", "ferkit.explain", "ferkit.train", "ferkit.video"]
# Values whose attributes are told in a table; nobody needs to make one by hand.
TOLD = {
    "BatchReport",
    "Callback",
    "Curves",
    "Explanation",
    "Expression",
    "Face",
    "Faces",
    "Frame",
    "LearningRates",
    "Listing",
    "Measurement",
    "Photos",
    "Portraits",
    "Recipe",
    "Result",
    "Run",
    "Sample",
    "Step",
}


def public() -> list[Any]:
    """Every public function, class and method."""
    found = {}
    for room in ROOMS:
        module = import_module(room)
        for name in module.__all__:
            found[name] = (room, name)
    return [pytest.param(room, name, id=name) for room, name in found.values() if not name.endswith("Error")]


def documented(name: str) -> list[ast.arguments]:
    """Return the arguments of every ``name(...)`` on the page."""
    found = []
    for match in re.finditer(rf"(?<![\w]){re.escape(name)}\(", TEXT):
        depth, end = 1, match.end()
        while depth and end < len(TEXT):
            depth += {"(": 1, ")": -1}.get(TEXT[end], 0)
            end += 1
        try:
            [function] = ast.parse(f"def f({TEXT[match.end() : end - 1]}): ...").body
        except SyntaxError:  # an example of a call
            continue
        assert isinstance(function, ast.FunctionDef)
        found.append(function.args)
    return found


def shape(arguments: ast.arguments) -> list[tuple[str, bool, str]]:
    """Return name, whether by keyword alone, and the default as it is written, of each argument."""
    plain = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(plain) - len(arguments.defaults)) + list(arguments.defaults)
    rows = [(argument.arg, False, default) for argument, default in zip(plain, defaults, strict=True)]
    rows += [(argument.arg, True, default) for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    rows += [(argument.arg, True, None) for argument in (arguments.vararg, arguments.kwarg) if argument is not None]
    return [(name, keyword, "" if default is None else value(ast.unparse(default))) for name, keyword, default in rows]


def value(text: str) -> str:
    try:
        return repr(ast.literal_eval(text))
    except ValueError:
        return text


def real(function: Any) -> list[tuple[str, bool, str]]:
    rows = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name != "self":
            keyword = parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
            rows.append((parameter.name, keyword, "" if parameter.default is parameter.empty else repr(parameter.default)))
    return rows


def check(name: str, function: Any) -> None:
    wanted = real(function)
    pages = [shape(arguments) for arguments in documented(name)]
    assert wanted in pages, f"docs/api.md: {name}\nis   {wanted}\npage {pages}"


@pytest.mark.parametrize(("room", "name"), public())
def test_the_signature_is_on_the_page(room: str, name: str) -> None:
    if room == "ferkit.train" and not all(find_spec(package) for package in ("keras", "tensorflow", "scipy")):
        pytest.skip('needs the train extra: pip install "ferkit[train]"')
    item = getattr(import_module(room), name)
    if name not in TOLD:
        check(name, item)
    if inspect.isclass(item):
        for attribute, method in vars(item).items():
            call = method.__func__ if isinstance(method, classmethod | staticmethod) else method
            if inspect.isfunction(call) and (not attribute.startswith("_") or attribute == "__call__"):
                if any(attribute in vars(base) for base in item.__mro__[1:-1]):
                    continue  # told where it is defined first
                if name in TOLD and len(inspect.signature(call).parameters) < 2:
                    continue  # told in the table too
                bound = getattr(item, attribute) if isinstance(method, classmethod) else call
                check(f"{name}.{attribute}", bound)


def test_an_argument_that_is_not_on_the_page_is_seen() -> None:
    from ferkit import load_image

    def changed(image: Any, *, color: str = "rgb", max_pixels: int = 100_000_000, max_side: Any = None, gamma: float = 1.0) -> None: ...

    check("load_image", load_image)
    with pytest.raises(AssertionError, match="gamma"):
        check("load_image", changed)


def test_every_detector_and_engine_that_a_name_opens_is_told() -> None:
    """A new row of the tables needs its word on the page of names, and a detector in the quickstart too."""
    from ferkit.detectors.face_detector import BACKENDS
    from ferkit.engines.table import ENGINES

    api, quickstart = ((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("api.md", "quickstart.md"))
    section = api.partition("## FaceDetector")[2].partition("\n## ")[0]
    assert not [name for name in BACKENDS if f'`"{name}"`' not in section]
    assert not [name for name in BACKENDS if f"`{name}`" not in quickstart]
    assert not [name for name in ENGINES if f'"{name}"' not in api and f"`{name}`" not in api]
