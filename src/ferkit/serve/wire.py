"""From ferkit's values to the wire's."""

from __future__ import annotations

from collections.abc import Sequence

from ..results import Result
from .catalogue import Choice
from .evidence import Evidence
from .problems import Problem
from .schemas import ErrorBody, ErrorResponse, ExplainedFace, ExplainResponse, FaceOut, ImageOut

__all__ = ["error_json", "explained_out", "image_out"]


def image_out(name: str | None, answer: Result | Problem) -> ImageOut:
    """Return one picture of a response."""
    if isinstance(answer, Problem):
        return ImageOut(image=name, error=ErrorBody(code=answer.code, message=answer.message))
    return ImageOut(image=name, width=answer.width, height=answer.height, faces=[FaceOut(**face.to_dict()) for face in answer.faces])


def explained_out(choice: Choice, result: Result, evidence: Sequence[Evidence]) -> ExplainResponse:
    """Return the response that explains one picture."""
    faces = [ExplainedFace(**face.to_dict(), evidence=reasons.out()) for face, reasons in zip(result.faces, evidence, strict=True)]
    return ExplainResponse(weights=choice[0], labels=choice[1], width=result.width, height=result.height, faces=faces)


def error_json(problem: Problem, request_id: str | None) -> bytes:
    """Return the body of a request that failed as a whole."""
    body = ErrorResponse(error=ErrorBody(code=problem.code, message=problem.message), request_id=request_id)
    return body.model_dump_json(by_alias=True).encode()
