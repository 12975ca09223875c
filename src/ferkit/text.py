"""Text that every stream and file can hold: what an encoding lacks is escaped as in JSON, and nothing is lost.

A name that is not UTF-8 reaches Python as lone surrogates, which no encoding holds; a code page holds only its own letters.
"""

from __future__ import annotations

import codecs
import io
import json
from typing import Any

__all__ = ["ESCAPES", "encodable", "tolerate"]

ESCAPES = "ferkit-escapes"  # an error handler as of str.encode


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    # JSON's own escapes, so that a JSON text stays one; Python's backslashreplace writes \x81 and \U0001f600, which are none.
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


codecs.register_error(ESCAPES, _escaped)


def encodable(text: str, encoding: str = "utf-8") -> str:
    r"""Return a text with what an encoding cannot hold as JSON escapes.

    >>> encodable("a\udcff.jpg")
    'a\\udcff.jpg'
    """
    return text.encode(encoding, ESCAPES).decode(encoding)


def tolerate(stream: Any) -> None:
    """Let a text stream escape what its encoding cannot hold, instead of failing."""
    if isinstance(stream, io.TextIOWrapper):
        # Click would write UTF-8 to an ASCII stream behind its back, with question marks for what that cannot hold.
        ascii_only = codecs.lookup(stream.encoding).name == "ascii"
        stream.reconfigure(encoding="utf-8" if ascii_only else None, errors=ESCAPES)
