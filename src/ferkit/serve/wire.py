"""From ferkit's values to the wire's."""

from __future__ import annotations

from ..results import Result
from .problems import Problem
from .schemas import ErrorBody, ErrorResponse, FaceOut, ImageOut

__all__ = ["error_json", "image_out"]


def image_out(name: str | None, answer: Result | Problem) -> ImageOut:
    """Return one picture of a response."""
    if isinstance(answer, Problem):
        return ImageOut(image=name, error=ErrorBody(code=answer.code, message=answer.message))
    return ImageOut(image=name, width=answer.width, height=answer.height, faces=[FaceOut(**face.to_dict()) for face in answer.faces])


def error_json(problem: Problem, request_id: str | None) -> bytes:
    """Return the body of a request that failed as a whole."""
    body = ErrorResponse(error=ErrorBody(code=problem.code, message=problem.message), request_id=request_id)
    return body.model_dump_json(by_alias=True).encode()
