"""What happened, in words of time: "person 2, happy, 3.2 to 5.0 s". And a summary per person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypedDict

from ..results import Result
from .frame import Frame
from .shares import Shares, in_words

__all__ = ["Event", "EventRecord", "Events", "EventsRecord", "Person", "PersonRecord"]

_ON, _OFF = 0.5, 0.4  # a label begins at the first probability and lasts until below the second
_BRIEF_S = 0.3  # shorter ones are noise
_ABSENT_S = 1.0  # somebody out of sight for longer ends the event


class EventRecord(TypedDict):
    """An event in ``events.json``: seconds to milliseconds, and the highest probability on the way."""

    track_id: int
    label: str
    start_s: float
    end_s: float
    peak: float


class PersonRecord(TypedDict):
    """A person in ``events.json``. ``share``: of the person's time, by label and "unsure", 0-1."""

    track_id: int
    start_s: float
    end_s: float
    frames: int
    share: dict[str, float]
    changes: int


class EventsRecord(TypedDict):
    """``events.json``, which ``ferkit video --events`` writes."""

    schema: int
    video: str
    weights: str
    people: list[PersonRecord]
    events: list[EventRecord]


@dataclass(frozen=True)
class Event:
    """A person showed one expression from ``start_s`` to ``end_s`` (times of the first and the last frame)."""

    track_id: int
    label: str
    start_s: float
    end_s: float
    peak: float

    def to_dict(self) -> EventRecord:
        start, end = round(self.start_s, 3), round(self.end_s, 3)
        return {"track_id": self.track_id, "label": self.label, "start_s": start, "end_s": end, "peak": round(self.peak, 4)}


@dataclass
class Person:
    """The sums of one track: times in seconds."""

    track_id: int
    start_s: float
    end_s: float
    frames: int = 0
    changes: int = 0
    shown: str | None = None  # of the last event
    shares: Shares = field(default_factory=Shares)
    pending: tuple[str, float, float, float] | None = None  # label, start, end, peak of the event that is going on

    def share(self) -> dict[str, float]:
        """Return the share of the person's time per label and "unsure", 0-1; see ``Shares``."""
        return self.shares.share()

    def to_dict(self) -> PersonRecord:
        return {
            "track_id": self.track_id,
            "start_s": round(self.start_s, 3),
            "end_s": round(self.end_s, 3),
            "frames": self.frames,
            "share": {name: round(value, 4) for name, value in self.share().items()},
            "changes": self.changes,
        }


class Events:
    """Collects events and sums as results come; it holds an entry per person and per event, none per frame."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.people: dict[int, Person] = {}

    def add(self, frame: Frame, result: Result) -> None:
        """Take the next frame of a video."""
        for face in result.faces:
            if face.track_id is None or face.expression is None:
                continue
            person = self.people.get(face.track_id)
            if person is None:
                person = self.people[face.track_id] = Person(face.track_id, frame.time_s, frame.time_s)
            person.frames += 1
            person.shares.add(frame.time_s, face.expression.label)
            self._step(person, frame.time_s, face.expression.label, face.expression.probabilities)

    def _step(self, person: Person, time_s: float, label: str | None, probabilities: Mapping[str, float]) -> None:
        sure = label is not None and probabilities[label] >= _ON
        going = person.pending
        if going is not None:
            gone = time_s - person.end_s > _ABSENT_S or label is None or probabilities.get(going[0], 0.0) < _OFF
            if gone or (sure and label != going[0]):
                self._finish(person)
            else:
                person.pending = (going[0], going[1], time_s, max(going[3], probabilities[going[0]]))
        if person.pending is None and label is not None and sure:
            person.pending = (label, time_s, time_s, probabilities[label])
        person.end_s = time_s

    def _finish(self, person: Person) -> None:
        if person.pending is None:
            return
        label, start, end, peak = person.pending
        person.pending = None
        if end - start < _BRIEF_S:
            return
        person.changes += person.shown not in (None, label)
        person.shown = label
        self.events.append(Event(person.track_id, label, start, end, peak))

    def close(self) -> None:
        """End what is still going on; call it once, after the last frame."""
        for person in self.people.values():
            self._finish(person)
        self.events.sort(key=lambda event: (event.start_s, event.track_id))

    def to_dict(self, video: str, weights: str) -> EventsRecord:
        """Return plain JSON values: the events by time, and the summary of every person."""
        people = [person.to_dict() for person in self.people.values()]
        return {"schema": 1, "video": video, "weights": weights, "people": people, "events": [event.to_dict() for event in self.events]}

    def lines(self, most: int = 8) -> list[str]:
        """Return the summary as lines of text, those in sight for longest first."""
        longest = sorted(self.people.values(), key=lambda person: -person.frames)
        out = []
        for person in longest[:most]:
            share = ", ".join(in_words(person.share()))
            out.append(f"person {person.track_id}: {person.start_s:.1f}-{person.end_s:.1f} s, {share}; {person.changes} changes")
        if len(longest) > most:
            out.append(f"and {len(longest) - most} more")
        return out
