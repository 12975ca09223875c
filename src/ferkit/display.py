"""How a result shows itself in a notebook: its annotated picture, and a table of its faces."""

from __future__ import annotations

import base64
import io
from html import escape
from typing import TYPE_CHECKING, Protocol

from .errors import FerkitError
from .faces import Expression, Face

__all__ = ["html", "png"]

if TYPE_CHECKING:
    from PIL import Image

_SIDE = 800  # pixels: a notebook keeps its pictures, and a photo of 12 megapixels would be 20 MB of text


class Shown(Protocol):
    """What is shown of a result."""

    @property
    def faces(self) -> tuple[Face, ...]: ...

    @property
    def width(self) -> int: ...

    @property
    def height(self) -> int: ...

    @property
    def image(self) -> str | None: ...

    def draw(self) -> Image.Image: ...


def png(result: Shown) -> bytes | None:
    """Return the annotated picture as PNG, its longer side at most 800 pixels; None if there is nothing to draw on."""
    try:
        picture = result.draw()
    except FerkitError:  # showing a value must not fail: the table still tells what was found
        return None
    picture.thumbnail((_SIDE, _SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def html(result: Shown) -> str:
    """Return the annotated picture and one table row per face as HTML that needs no other file."""
    image = png(result)
    title = f"{result.image or 'image'}, {result.width}x{result.height}, {len(result.faces)} face{'' if len(result.faces) == 1 else 's'}"
    parts = ["<div>"]
    if image is not None:
        data = base64.b64encode(image).decode("ascii")
        parts.append(f'<img alt="{escape(title)}" src="data:image/png;base64,{data}" style="max-width: 100%">')
    parts.append(f"<p>{escape(title)}</p>")
    if result.faces:
        cells = "".join(f"<th>{name}</th>" for name in ("face", "label", "confidence", "box", "score"))
        parts.append(f"<table><thead><tr>{cells}</tr></thead><tbody>{''.join(_rows(result))}</tbody></table>")
    return "".join([*parts, "</div>"])


def _said(expression: Expression) -> tuple[str, str]:
    """Return what an expression says, and how sure it is of that, where it is one thing."""
    if expression.values is not None:
        return ", ".join(f"{name} {value:.2f}" for name, value in expression.values.items()), ""
    if expression.labels is not None:
        return ", ".join(expression.labels) or ("none" if expression.reason is None else "unsure"), ""
    return expression.label or "unsure", f"{expression.confidence:.0%}"


def _rows(result: Shown) -> list[str]:
    rows = []
    for number, face in enumerate(result.faces):
        label, confidence = "", ""
        if face.expression is not None:
            label, confidence = _said(face.expression)
        box = ", ".join(f"{v:.0f}" for v in face.box)
        rows.append(
            "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in (number, label, confidence, box, f"{face.score:.2f}")) + "</tr>"
        )
    return rows
