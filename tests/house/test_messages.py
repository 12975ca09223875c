"""Messages are in the words of whoever calls: Python's arguments in the library; the command line adds its flags."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import ferkit

ROOT = Path(ferkit.__file__).parent
DOCS = Path(__file__).resolve().parents[2] / "docs"
# In docs/errors.md these stand for whatever a message says there; so do other words in capitals, and numbers.
HOLE = re.compile(r"\[?\.\.\.\]?|\bWxH\b|\b(?:[A-Z][A-Z_0-9]*[A-Z]|[A-Z])\b|-?\b\d[\d,.]*(?:x\d+)?\b|\{[^}]*\}")
# Words in capitals that stand for themselves.
FIXED = {
    "FER",
    "RGB",
    "PNG",
    "JPEG",
    "ONNX",
    "JSON",
    "SHA",
    "CUDA",
    "CPU",
    "TOML",
    "API",
    "PIL",
    "HTTP",
    "INPUT",
    "OUTPUT",
    "FOLDER",
    "WEIGHTS",
    "FERKIT_THREADS",
    "HF_HUB_OFFLINE",
    "FERKIT_OFFLINE",
}
ERRORS = {*(name for name in ferkit.__all__ if name.endswith("Error")), "MissingSplitError", "UsageError", "ClickException"} - {
    "MissingExtraError"
}
COMMANDS = re.compile(r"(ferkit|pip|npm|git|apt|openssl|curl|python|docker)\b[^.]* --[a-z]")


def errors() -> Iterator[tuple[Path, ast.Call]]:
    """Yield every call that makes one of ferkit's errors."""
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = getattr(node.func, "id", getattr(node.func, "attr", "")) if isinstance(node, ast.Call) else ""
            if name in ERRORS and isinstance(node, ast.Call) and node.args:
                yield path, node


def template(node: ast.AST) -> str:
    """Return a message with an underscore for everything that is not written in the source."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else "_"
    if isinstance(node, ast.JoinedStr):
        return "".join(template(part) for part in node.values)
    if isinstance(node, ast.BinOp):
        return template(node.left) + template(node.right)
    if isinstance(node, ast.IfExp):
        return f"{template(node.body)}_{template(node.orelse)}"
    return "_"


def pieces(message: str) -> list[str]:
    """Return what a message in docs/errors.md says word for word."""
    out, last = [], 0
    for hole in HOLE.finditer(message):
        if hole.group() not in FIXED:
            out.append(message[last : hole.start()])
            last = hole.end()
    return [piece for part in [*out, message[last:]] if (piece := " ".join(part.split()).strip(" '\"`.,;:="))]


def told(documented: list[str], text: str) -> bool:
    place = 0
    for piece in documented:
        place = text.find(piece, place)
        if place < 0:
            return False
        place += len(piece)
    return True


def test_every_error_has_a_row() -> None:
    """A new text needs a row: the words of some message in docs/errors.md stand in it, in their order."""
    rows = [line.split(" | ")[0] for line in (DOCS / "errors.md").read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    documented = [pieces(message.replace("\\|", "|")) for row in rows for message in re.findall(r"`([^`]+)`", row)]
    documented = [message for message in documented if sum(char.isalpha() for char in "".join(message)) >= 8]
    assert len(documented) > 250
    missing = []
    for path, node in errors():
        text = " ".join(template(node.args[0]).split())
        argument = re.match(r"[a-z]\w*=(?=_)", text)  # a row for whatever argument is none for this one
        own = [message for message in documented if argument is None or argument[0].rstrip("=") in " ".join(message)]
        if text.strip("_ .:;") and not any(told(message, text) for message in own):
            missing.append(f"{path.name}:{node.lineno}: {text}")
    assert not missing, "docs/errors.md has no row for these messages:\n" + "\n".join(missing)


def test_no_message_is_told_twice() -> None:
    """Two rows for one message drift apart; the same words may be those of two kinds of error."""
    for section in (DOCS / "errors.md").read_text(encoding="utf-8").split("\n## "):
        rows = [line.split(" | ")[0] for line in section.splitlines() if line.startswith("| `")]
        messages = Counter(message for row in rows for message in re.findall(r"`([^`]+)`", row))
        assert not [message for message, times in messages.items() if times > 1 and " " in message], section.partition("\n")[0]


def test_every_problem_of_the_service_has_its_code_in_the_docs() -> None:
    text = (DOCS / "serve.md").read_text(encoding="utf-8")
    codes = set()
    for path in sorted((ROOT / "serve").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Problem" and isinstance(node.args[1], ast.Constant):
                codes.add(node.args[1].value)
    assert codes
    assert not [code for code in codes if f"`{code}`" not in text]


def test_the_library_names_no_flag() -> None:
    found = []
    for path, node in errors():
        if path.relative_to(ROOT).parts[0] == "cli":
            continue
        texts = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)]
        text = " ".join(texts)
        if re.search(r"(?<![\w-])--[a-z]", text) and not COMMANDS.search(text):
            found.append(f"{path.name}:{node.lineno}: {text}")
    assert not found, "\n".join(found)


def test_nobody_parses_a_message() -> None:
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        for handler in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(handler, ast.ExceptHandler) or handler.name is None:
                continue
            for node in (n for n in ast.walk(handler) if isinstance(n, ast.Compare) and isinstance(n.ops[0], ast.In | ast.NotIn)):
                if ast.unparse(node.comparators[0]) in (f"str({handler.name})", f"repr({handler.name})", f"{handler.name}.args[0]"):
                    found.append(f"{path.name}:{node.lineno}")
    assert not found, found


AWKWARD = re.compile(r"(?<!there )(?<!There )\b(is|are) no (?!longer\b|larger\b|more\b)|\bType: ")


def test_messages_are_plain_english() -> None:
    """ "is not a video", not "is no video"; "Run: pip ...", not "Type: pip ..."."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {match.group()}"
        for path, node in errors()
        if (match := AWKWARD.search(template(node.args[0])))
    ]
    assert not found, "\n".join(found)
    assert AWKWARD.search("x.mp4 is no video")
    assert not AWKWARD.search("There is no video; x.png is not a video. Run: pip install ferkit")
