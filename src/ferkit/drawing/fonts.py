"""A font that has the letters: Pillow's own, else one that is found on the system. No label is drawn as empty boxes."""

from __future__ import annotations

import importlib.util
import os
import sys
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from PIL import ImageFont

from ..errors import InputError
from ..image_files import expanded

__all__ = ["VARIABLE", "Font", "font", "font_file", "has_letters", "readable"]

Font = ImageFont.FreeTypeFont
VARIABLE = "FERKIT_FONT"
_SUFFIXES = (".ttf", ".otf", ".ttc")
# What to try first among hundreds: families that cover many scripts, plain faces before bold and italic ones.
_FAMILIES = (
    "notosans",
    "dejavusans",
    "arialunicode",
    "pingfang",
    "msyh",
    "malgun",
    "yugoth",
    "meiryo",
    "segoeui",
    "arial",
    "wqy",
    "unifont",
)
_PLACEHOLDERS = ("lastresort", "adobeblank", "notdef")  # draw the same box, or nothing, for whole scripts; matplotlib brings one
_NONE = "\U0010ffff"  # a noncharacter: what a font draws for it is what it draws for every letter that it lacks


def _folders() -> Iterator[Path]:
    """Return where fonts lie: those of matplotlib, if it is installed, then the system's."""
    spec = importlib.util.find_spec("matplotlib")
    if spec is not None and spec.origin:
        yield Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf"
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 - pathlib's raises where there is no home
    if sys.platform == "win32":
        yield Path(os.environ.get("WINDIR", r"C:\Windows")) / "Fonts"
        yield Path(os.environ.get("LOCALAPPDATA", str(home))) / "Microsoft" / "Windows" / "Fonts"
    elif sys.platform == "darwin":
        yield from (Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library" / "Fonts")
    else:
        yield from (Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), home / ".local" / "share" / "fonts", home / ".fonts")


@lru_cache(maxsize=1)
def _files() -> tuple[str, ...]:
    there = [folder for folder in _folders() if os.path.isdir(folder)]  # noqa: PTH112 - pathlib's raises below a closed home of somebody else's
    found = {path for folder in there for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES}

    def plain(path: Path) -> str:
        return path.stem.lower().replace("-", "").replace("_", "").replace(" ", "")

    def order(path: Path) -> tuple[int, int, int, str]:
        name = plain(path)
        rank = next((i for i, family in enumerate(_FAMILIES) if name.startswith(family)), len(_FAMILIES))
        styled = any(word in name for word in ("bold", "italic", "oblique", "light", "black", "thin", "mono", "serif", "condensed"))
        return rank, styled, len(name), str(path)

    return tuple(str(path) for path in sorted(found, key=order) if not any(word in plain(path) for word in _PLACEHOLDERS))


@lru_cache(maxsize=256)
def _opened(path: str, size: float) -> Font:
    if path:
        return ImageFont.truetype(path, size)
    basic = ImageFont.load_default(size=size)
    assert isinstance(basic, ImageFont.FreeTypeFont)  # Pillow's wheels all have FreeType, which a size needs
    return basic


@lru_cache(maxsize=4096)
def _has(path: str, letter: str) -> bool:
    """Return True if a font draws a letter of its own, and not the box that stands for what it lacks."""
    face = _opened(path, 32)
    if letter.isspace():
        return True
    mask, nothing = (bytes(face.getmask(text)) for text in (letter, _NONE))
    return mask != nothing and len(mask) > 0


def has_letters(path: str, letters: frozenset[str]) -> bool:
    """Return True if the font in a file (``""`` is Pillow's own) has all letters; False too if it cannot be read."""
    try:
        return all(_has(path, letter) for letter in sorted(letters))
    except (OSError, ValueError):
        return False


@lru_cache(maxsize=64)
def _chosen(letters: frozenset[str], own: str) -> str | None:
    own = own and str(expanded(own))
    if own and not Path(own).is_file():
        raise InputError(f"{VARIABLE}={own}: there is no such file; expected a font, .ttf, .otf or .ttc.")
    return next((path for path in (*([own] if own else []), "", *_files()) if has_letters(path, letters)), None)


def _path(text: str) -> str | None:
    return _chosen(frozenset(text), os.environ.get(VARIABLE, ""))


def font_file(text: str) -> str:
    """Return the file of the font that ``font`` chooses for a text; ``""`` is Pillow's own."""
    return _path(text) or ""


def font(text: str, size: float) -> Font:
    """Return a font that has the letters of a text: ``FERKIT_FONT``, Pillow's own, or the first on the system that has them.

    Args:
        text: What will be written, as ``readable`` returned it.
        size: Pixels.

    Raises:
        InputError: ``FERKIT_FONT`` names no file.
    """
    return _opened(_path(text) or "", round(size, 1))


def readable(text: str, instead: str) -> str:
    """Return a text in one line if some font here has its letters, else what to write instead: a number says more than empty boxes."""
    line = " ".join("".join(" " if unicodedata.category(letter) == "Cc" else letter for letter in text).split())
    return line if line and _path(line) is not None else instead
