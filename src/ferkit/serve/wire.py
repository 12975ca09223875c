"""From ferkit's values to the wire's."""

from __future__ import annotations

from ..results import Result
from .problems import Problem
from .schemas import ErrorBody, FaceOut, ImageOut

__all__ = ["image_out"]


def image_out(name: str | None, answer: Result | Problem) -> ImageOut:
    """Return one picture of a response."""
    if isinstance(answer, Problem):
        return ImageOut(image=name, error=ErrorBody(code=answer.code, message=answer.message))
    return ImageOut(image=name, width=answer.width, height=answer.height, faces=[FaceOut(**face.to_dict()) for face in answer.faces])
