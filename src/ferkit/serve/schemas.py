"""What goes over the wire. ``schema`` counts up when a field changes its meaning or goes; new fields may come at any time."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from ..results import SCHEMA

__all__ = [
    "Box",
    "ClassOut",
    "ErrorBody",
    "ErrorResponse",
    "EvidenceOut",
    "ExplainResponse",
    "ExplainedFace",
    "FaceOut",
    "HealthResponse",
    "ImageOut",
    "JobResponse",
    "LabelsOut",
    "PersonOut",
    "PredictResponse",
    "StreamFace",
    "StreamResponse",
    "WeightsOut",
    "WeightsResponse",
]

Box = Annotated[list[float], Field(min_length=4, max_length=4, description="x1, y1, x2, y2 in pixels of the upright picture")]
Point = Annotated[list[float], Field(min_length=2, max_length=2)]
Probability = Annotated[float, Field(ge=0, le=1.0001)]


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, populate_by_name=True, serialize_by_alias=True)


class _Versioned(_Wire):
    version: int = Field(default=SCHEMA, alias="schema", description="Version of this format")


class ErrorBody(_Wire):
    code: str = Field(description="A word for programs; it does not change between versions")
    message: str = Field(description="A sentence for people")


class ErrorResponse(_Versioned):
    error: ErrorBody
    request_id: str | None = Field(default=None, description="As in the header X-Request-Id and in the service's log")


class FaceOut(_Wire):
    box: Box
    score: float = Field(description="The detector's confidence, 0-1")
    landmarks: list[Point] | None = Field(
        description="Right eye, left eye, nose tip, right and left mouth corner; null if the detector has none"
    )
    turn: int | None = Field(
        default=None,
        exclude_if=lambda value: value is None,
        description="Degrees by which the face is turned clockwise, where that is known: 180 is upside down; else left out",
    )
    label: str | None = Field(description="The most probable expression")
    confidence: Probability
    probabilities: dict[str, Probability] = Field(description="Class name to calibrated probability; they sum to 1")
    reason: str | None = Field(
        default=None, exclude_if=lambda value: value is None, description="Why there is no label, where there is none; else left out"
    )
    disagreement: float | None = Field(
        default=None,
        exclude_if=lambda value: value is None,  # as ferkit predict prints it
        description="Of an ensemble's members, nats, 0 where all say the same; else left out",
    )


class StreamFace(FaceOut):
    track_id: int | None = Field(default=None, description="The person's number in this stream, from the second sight on")


class EvidenceOut(_Wire):
    """What the answer for one face rests on."""

    crop: str = Field(description="The face as the network sees it: PNG, base64")
    corners: list[Point] = Field(
        min_length=4,
        max_length=4,
        description="Where its upper left, upper right, lower right and lower left corners lie, in pixels of the upright picture",
    )
    maps: dict[str, list[list[float]]] = Field(
        description="Per label rows of the face from above: how much less probable the label is with that place blurred, nats; below 0 it speaks against"
    )


class ExplainedFace(FaceOut):
    evidence: EvidenceOut


class ExplainResponse(_Versioned):
    """The largest faces of one picture, with reasons."""

    weights: str
    labels: str
    width: int
    height: int
    faces: list[ExplainedFace] = Field(description="Largest first, at most as many as the service explains; empty where there is no face")


class ImageOut(_Wire):
    """One picture: either width, height and faces, or an error."""

    image: str | None = Field(description="The file name that came with the upload, without folders; null for a raw body")
    width: int | None = None
    height: int | None = None
    faces: list[FaceOut] = Field(default_factory=list, description="Largest first; empty where there is no face")
    error: ErrorBody | None = None


class PredictResponse(_Versioned):
    weights: str
    labels: str
    images: list[ImageOut] = Field(description="In the order of the upload")


class StreamResponse(_Versioned):
    """The answer to one webcam frame."""

    frame: int = Field(description="Number of the frame that this answers, counted from 0 as they came")
    width: int | None = None
    height: int | None = None
    faces: list[StreamFace] = Field(default_factory=list)
    error: ErrorBody | None = None
    request_id: str | None = Field(
        default=None, exclude_if=lambda value: value is None, description="With an error: the stream's number in the service's log"
    )


class ClassOut(_Wire):
    name: str
    emoji: str
    colour: str = Field(description="#rrggbb, distinguishable for colour-blind readers")


class LabelsOut(_Wire):
    name: str
    default: bool
    classes: list[ClassOut]


class WeightsOut(_Wire):
    name: str
    default: bool
    licence: str
    labels: list[LabelsOut]


class WeightsResponse(_Versioned):
    ferkit: str = Field(description="ferkit's version")
    detector: str
    limits: dict[str, int] = Field(
        description="max_bytes and max_images of a request, max_pixels of a picture, max_side that is looked at, max_explained faces that /v1/explain explains, max_frame_bytes of a webcam frame, max_video_bytes and max_video_seconds of a film"
    )
    weights: list[WeightsOut]
    answers_in_browser: bool = Field(default=False, description="The page can answer without sending pictures")
    reads_films: bool = Field(default=False, description="POST /v1/video answers")
    tracks_people: bool = Field(default=False, description="The webcam stream tells people apart: faces carry track_id")


class PersonOut(_Wire):
    """The sums of one person in a film."""

    track_id: int
    start_s: float
    end_s: float
    frames: int
    share: dict[str, float] = Field(description="Share of the person's time per label, and per unsure")
    changes: int


class JobResponse(_Versioned):
    """A film: waiting, running, done or failed."""

    id: str
    state: str = Field(description="waiting, running, done or failed")
    weights: str
    labels: str
    progress: float | None = Field(default=None, description="0-1; null where the film does not say how long it is")
    frames: int = Field(default=0, description="Frames that have been read")
    time_s: float = Field(default=0.0, description="The time of the last of them, seconds")
    people: list[PersonOut] = Field(default_factory=list)
    results: list[str] = Field(default_factory=list, description="What /v1/jobs/ID/RESULT has: rows, events, copy")
    cut: bool = Field(default=False, description="The film is longer than what was read")
    warning: str | None = Field(
        default=None, description="The film broke off, and what came before is complete; or why its copy was left out"
    )
    error: ErrorBody | None = None


class HealthResponse(_Versioned):
    status: str
