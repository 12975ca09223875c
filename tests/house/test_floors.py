"""A module imports only from lower floors, whatever the moment: at its top, inside a function, or for its types alone."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "ferkit"

# The floor of every room, and of every module that lies in none. docs/architecture.md says what each is for.
FLOORS = {
    "errors": 0,
    "colors": 0,
    "labels": 0.5,
    "gate": 0.5,
    "ranges": 0.5,
    "lazy": 0,
    "pickling": 0,
    "text": 0,
    "geometry": 1,
    "logits": 1,
    "resizing": 1,
    "tensors": 1,
    "webp": 1,
    "heif": 1,
    "flattening": 1,
    "image_files": 1,
    "faces": 1,
    "files": 1,
    "orphans": 1,
    "ray_clusters": 1,
    "processes": 0,
    "images": 2,
    "plots": 2.5,
    "drawing": 2,
    "turning": 2,
    "display": 3,
    "results": 3.5,
    "crops": 3,
    "protocols": 3.5,
    "weights": 4,
    "engines": 4,
    "detectors": 5,
    "classifiers": 5,
    "data": 5.5,
    "evaluation": 6,
    "video": 6,
    "doctor": 6,
    "pipeline": 7,
    "bulk": 8,
    "explain": 7,
    "serve": 8,
    "train/common": 8,
    "train/release": 8.1,
    "train/classifier": 8.2,
    "train/detector": 8.2,
    "train/finetuning": 8.3,
    "train/ensembling": 8.4,
    "train/calibrate": 8,
    "cli": 9,
    "__main__": 10,
}
# Rooms that work without what only training and the plots need.
LIGHT = ("data", "evaluation", "weights", "classifiers", "detectors", "engines", "bulk", "explain")
BLOCKED = ("keras", "tensorflow", "onnx", "matplotlib", "sklearn")


def module_of(path: Path) -> str:
    """Return a file's name as it is imported, without ``ferkit.``; a package's face is the package."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


FILES = sorted(PACKAGE.rglob("*.py"))
NAMES = {module_of(path): path for path in FILES}
# A package's face names what its rooms hold and loads it when it is asked for: that is its work, so it is on no floor.
FACES = {name for name, path in NAMES.items() if path.name == "__init__.py"}
MODULES = {name: path for name, path in NAMES.items() if name not in FACES}


def room(module: str) -> str:
    parts = module.split(".")
    return "/".join(parts[:2]) if parts[0] == "train" else parts[0]


def imported(name: str, tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield ``(module, name)`` for everything of ferkit's that a module imports, wherever the import stands."""
    package = name.split(".") if name in FACES else name.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "ferkit":
                    yield alias.name.removeprefix("ferkit").removeprefix("."), ""
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                base = ".".join([*package[: len(package) - node.level + 1], *([node.module] if node.module else [])])
            elif (node.module or "").split(".")[0] == "ferkit":
                base = (node.module or "").removeprefix("ferkit").removeprefix(".")
            else:
                continue
            for alias in node.names:
                whole = f"{base}.{alias.name}".lstrip(".")
                yield (whole, "") if whole in NAMES else (base, alias.name)


TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in NAMES.items()}


def private_members(name: str) -> set[str]:
    """Return the private functions, methods and attributes that a module makes."""
    made = {node.name for node in ast.walk(TREES[name]) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))}
    made |= {node.attr for node in ast.walk(TREES[name]) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)}
    return {name for name in made if name.startswith("_") and not name.startswith("__")}


PRIVATE = set().union(*(private_members(name) for name in MODULES))
IMPORTS = {name: set(imported(name, TREES[name])) for name in MODULES}


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_down(name: str) -> None:
    own = room(name)
    assert own in FLOORS, f"{own} has no floor; give it one here and in docs/architecture.md"
    for other, _ in IMPORTS[name]:
        if other in FACES or not other or room(other) == own:
            continue  # the version, or a package's lazy face, whose rooms the commands call by it
        assert FLOORS[room(other)] < FLOORS[own], f"{name} (floor {FLOORS[own]}) imports {other} (floor {FLOORS[room(other)]})"


def test_only_commands_call_training_and_the_service() -> None:
    for name in MODULES:
        for other, _ in IMPORTS[name]:
            for guarded in ("train", "serve", "bulk"):
                # Fine-tuning reads what a job found: who knows a job's files is bulk alone.
                if other.split(".")[0] == guarded and (name, other) != ("train.finetuning.prepared", "bulk.found"):
                    assert name.split(".")[0] in (guarded, "cli"), f"{name} imports {other}"


def test_no_circles() -> None:
    """Not between modules and not between rooms."""
    for level in (lambda name: name, room):
        graph: dict[str, set[str]] = {}
        for name in MODULES:
            below = {level(other) for other, _ in IMPORTS[name] if other in MODULES}
            graph.setdefault(level(name), set()).update(below - {level(name)})
        done: set[str] = set()

        def visit(node: str, trail: tuple[str, ...], graph: dict[str, set[str]] = graph, done: set[str] = done) -> None:
            assert node not in trail, f"a circle: {' -> '.join([*trail[trail.index(node) :], node])}"
            if node not in done:
                for following in sorted(graph.get(node, ())):
                    visit(following, (*trail, node))
                done.add(node)

        for start in sorted(graph):
            visit(start, ())


@pytest.mark.parametrize("name", MODULES)
def test_no_private_name_crosses_rooms(name: str) -> None:
    for other, what in IMPORTS[name]:
        if what.startswith("_") and what != "__version__":
            assert room(other) == room(name), f"{name} imports {what} from {other}"
    foreign = PRIVATE - private_members(name)
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Attribute) and node.attr in foreign:
            mine = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            assert mine, f"{name}, line {node.lineno}: .{node.attr} belongs to another module"


def test_only_training_loads_keras_at_its_top() -> None:
    for name in NAMES:
        if name.split(".")[0] == "train":
            continue
        blocked = BLOCKED if room(name) in LIGHT else ("keras", "tensorflow")
        for node in TREES[name].body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            assert not {found.split(".")[0] for found in names} & set(blocked), name


def test_light_rooms_import_without_what_is_heavy() -> None:
    """In a fresh interpreter in which the heavy packages cannot be imported."""
    names = [f"ferkit.{name}" for name in sorted(NAMES) if room(name) in LIGHT]
    assert len(names) > 30
    code = (
        "import importlib, sys\n"
        f"sys.modules.update(dict.fromkeys({BLOCKED!r}))\n"
        f"for name in {names!r}:\n"
        "    importlib.import_module(name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_no_file_is_two_files(name: str) -> None:
    assert len(NAMES[name].read_text(encoding="utf-8").splitlines()) <= 420


def test_no_test_imports_a_test() -> None:
    """What several share lies in tests/helpers, or is a fixture of a conftest."""
    tests = PACKAGE.parents[1] / "tests"
    for path in tests.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [f"{node.module or ''}.{alias.name}" for alias in node.names] if isinstance(node, ast.ImportFrom) else []
            wrong = [name for name in names if any(part.startswith("test_") or part == "conftest" for part in name.split("."))]
            assert not wrong, f"{path.relative_to(tests)} imports {', '.join(wrong)}"
