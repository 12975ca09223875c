"""Events and the summary of a person, by hand: when one begins, ends, and what is said of it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ferkit import Expression, Face, Result
from ferkit.labels import FER7
from ferkit.video.events import Event, Events, EventsRecord, Person
from ferkit.video.frame import Frame
from ferkit.video.shares import Shares, in_words
from tests.helpers.records import mismatches


def seen(events: Events, time_s: float, label: str | None, p: float, track: int | None = 1, *, classified: bool = True) -> None:
    """Show one face: its most probable class, and whether it is named."""
    shown = label or "happy"
    probabilities = {name: p if name == shown else (1 - p) / 6 for name in FER7}
    expression = Expression(label, p, probabilities, None if label else "unsure") if classified else None
    face = Face((10, 10, 40, 50), 0.8, None, expression, track)
    events.add(Frame(round(time_s * 10), time_s, np.zeros((60, 80, 3), np.uint8)), Result((face,), 80, 60))


def told(*moments: tuple[float, str | None, float]) -> list[tuple[str, float, float, float]]:
    events = Events()
    for moment in moments:
        seen(events, *moment)
    events.close()
    return [(e.label, e.start_s, e.end_s, e.peak) for e in events.events]


def test_an_event_begins_at_a_half_and_lasts_to_two_fifths() -> None:
    assert told((0, "happy", 0.49), (1, "happy", 0.5), (2, "happy", 0.4), (3, "happy", 0.39)) == [("happy", 1, 2, 0.5)]
    assert told((0, "happy", 0.49), (1, "happy", 0.45)) == []
    assert told((0, "happy", 0.6), (0.5, "happy", 0.9), (1, "happy", 0.7)) == [("happy", 0, 1, 0.9)]


def test_another_label_ends_an_event_once_it_is_sure() -> None:
    assert told((0, "happy", 0.6), (0.5, "happy", 0.6), (1, "sad", 0.55), (1.5, "sad", 0.55)) == [
        ("happy", 0, 0.5, 0.6),
        ("sad", 1, 1.5, 0.55),
    ]
    # Unsure of the other one, and the first no longer likely: over, and nothing new begins.
    assert told((0, "happy", 0.6), (0.5, "happy", 0.6), (1, "sad", 0.45), (1.5, "sad", 0.45)) == [("happy", 0, 0.5, 0.6)]


def test_an_abstention_ends_an_event() -> None:
    assert told((0, "happy", 0.6), (0.5, "happy", 0.6), (1, None, 0.6), (1.2, "happy", 0.6), (1.6, "happy", 0.6)) == [
        ("happy", 0, 0.5, 0.6),
        ("happy", 1.2, 1.6, 0.6),
    ]


def test_a_second_away_is_not_too_long() -> None:
    assert told((0, "happy", 0.6), (1, "happy", 0.6), (2, "happy", 0.6)) == [("happy", 0, 2, 0.6)]
    assert told((0, "happy", 0.6), (1, "happy", 0.6), (2.01, "happy", 0.6), (3, "happy", 0.6)) == [
        ("happy", 0, 1, 0.6),
        ("happy", 2.01, 3, 0.6),
    ]


def test_three_tenths_of_a_second_are_not_too_brief() -> None:
    assert told((1, "happy", 0.6), (1.3125, "happy", 0.6)) == [("happy", 1, 1.3125, 0.6)]
    assert told((1, "happy", 0.6), (1.25, "happy", 0.6)) == []


def test_changes_count_what_was_shown() -> None:
    events = Events()
    for n, label in enumerate(["happy", "happy", "sad", "sad", "sad", "sad", "happy", "happy", "angry"]):
        seen(events, n / 2, label, 0.8)
    events.close()
    assert [e.label for e in events.events] == ["happy", "sad", "happy"]  # the last one is too brief
    person = events.to_dict("a.mp4", "w-v1")["people"][0]
    assert person == {
        "track_id": 1,
        "start_s": 0,
        "end_s": 4,
        "frames": 9,
        "share": {"happy": 0.4444, "sad": 0.4444, "angry": 0.1111},
        "changes": 2,
    }


def test_events_of_several_people_by_time() -> None:
    events = Events()
    for n in range(6):
        seen(events, n / 2, "happy", 0.8, 7)
        seen(events, n / 2, "sad", 0.71239, 3)
    seen(events, 3.0, "sad", 0.8, None)  # nobody's
    seen(events, 3.0, "sad", 0.8, 9, classified=False)
    events.close()
    table = events.to_dict("a.mp4", "w-v1")
    assert list(table) == ["schema", "video", "weights", "people", "events"]
    assert not list(mismatches(table, EventsRecord))
    assert (table["schema"], table["video"], table["weights"]) == (1, "a.mp4", "w-v1")
    assert [person["track_id"] for person in table["people"]] == [7, 3]
    assert table["events"] == [
        {"track_id": 3, "label": "sad", "start_s": 0, "end_s": 2.5, "peak": 0.7124},
        {"track_id": 7, "label": "happy", "start_s": 0, "end_s": 2.5, "peak": 0.8},
    ]


def test_the_summary_begins_with_who_was_there_longest() -> None:
    events = Events()
    for track in range(1, 11):
        for n in range(track):
            seen(events, 1 + n / 4, "happy", 0.8, track)
    events.close()
    lines = events.lines()
    assert lines[0] == "person 10: 1.0-3.2 s, happy 100%; 0 changes"
    assert [line.partition(":")[0] for line in lines[1:8]] == [f"person {n}" for n in range(9, 2, -1)]
    assert lines[8:] == ["and 2 more"]
    assert events.lines(most=10)[-1].startswith("person 1:")
    assert events.lines(most=3)[3] == "and 7 more"


def test_an_event_does_not_change() -> None:
    event = Event(1, "happy", 0.12345, 1.98765, 0.98765)
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.label = "sad"  # type: ignore[misc]
    assert event.to_dict() == {"track_id": 1, "label": "happy", "start_s": 0.123, "end_s": 1.988, "peak": 0.9877}


def test_a_person_is_told_in_milliseconds() -> None:
    person = Person(2, 0.12345, 1.98765)
    person.shares.add(0.12345, "happy")
    told = {"track_id": 2, "start_s": 0.123, "end_s": 1.988, "frames": 0, "share": {"happy": 1.0}, "changes": 0}
    assert person.to_dict() == told


def test_shares_by_hand() -> None:
    shares = Shares()
    assert shares.share() == {}
    shares.add(0.0, "happy")
    assert shares.share() == {"happy": 1.0}
    shares.add(0.5, "sad")
    assert shares.share() == {"happy": 0.5, "sad": 0.5}
    shares.add(0.75, None)
    assert shares.share() == {"happy": 0.5, "sad": 0.25, "unsure": 0.25}
    shares.add(10.0, "happy")  # away: a frame stands for a second at most, and the last one as long as the one before
    assert shares.share() == pytest.approx({"happy": 1.5 / 2.75, "unsure": 1 / 2.75, "sad": 0.25 / 2.75})
    assert list(shares.share()) == ["happy", "unsure", "sad"]
    assert in_words({"happy": 0.985, "sad": 0.01, "angry": 0.005}) == ["happy 98%", "sad 1%"]
