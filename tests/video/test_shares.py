"""One video, one story: events.json, the console and the plot share out a person's time alike, abstaining included."""

from __future__ import annotations

import csv
import itertools
import json
import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from ferkit import Expression, Face, Result
from ferkit.cli.main import main
from ferkit.labels import FER7
from tests.helpers import films

pytest.importorskip("av", reason='needs the video extra: pip install "ferkit[video]"')
pytest.importorskip("scipy", reason='needs the video extra: pip install "ferkit[video]"')

from ferkit.video.events import Events
from ferkit.video.frame import Frame
from ferkit.video.timeline import Timeline


def tell(answers: list[tuple[float, str, float]], floor: float = 0.0) -> tuple[Events, Timeline]:
    """Give both the same person: time, most probable class and its probability, abstaining below a floor."""
    events, timeline = Events(), Timeline(FER7)
    for n, (time_s, label, p) in enumerate(answers):
        probabilities = {name: p if name == label else (1 - p) / 6 for name in FER7}
        expression = Expression(label if p >= floor else None, p, probabilities, None if p >= floor else "below")
        frame = Frame(n, time_s, np.full((60, 80, 3), 100, np.uint8))
        result = Result((Face((10, 10, 40, 50), 0.8, None, expression, 1),), 80, 60)
        events.add(frame, result)
        timeline.add(frame, result)
    events.close()
    return events, timeline


def story(rng: np.random.Generator, count: int) -> list[tuple[float, str, float]]:
    times = np.cumsum(rng.choice([0.02, 0.04, 0.3, 2.5], count, p=[0.4, 0.4, 0.15, 0.05]))
    labels = np.repeat(rng.choice(list(FER7), count // 10 + 1), 10)[:count]
    return [(float(t), str(label), float(p)) for t, label, p in zip(times, labels, rng.uniform(0.3, 0.95, count), strict=True)]


@pytest.mark.parametrize("floor", [0.0, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("count", [1, 2, 7, 300])
def test_three_places_one_definition(floor: float, count: int) -> None:
    answers = story(np.random.default_rng(count), count)
    events, timeline = tell(answers, floor)
    share = events.to_dict("a.mp4", "w")["people"][0]["share"]
    # The definition, worked out here: a frame lasts until the next one, at most a second; the last as long as the one before.
    steps = [min(1.0, b[0] - a[0]) for a, b in itertools.pairwise(answers)]
    steps.append(steps[-1] if steps else 1.0)
    seconds: dict[str, float] = defaultdict(float)
    for (_, label, p), step in zip(answers, steps, strict=True):
        seconds[label if p >= floor else "unsure"] += step
    assert share == pytest.approx({name: s / sum(steps) for name, s in seconds.items()}, abs=1e-4)
    assert sum(share.values()) == pytest.approx(1, abs=1e-3)
    assert list(share.values()) == sorted(share.values(), reverse=True)
    spoken = [f"{name} {value:.0%}" for name, value in events.people[1].share().items() if value >= 0.01]
    assert ", ".join(spoken) + ";" in events.lines()[0]
    assert timeline.summary(1) == spoken


@pytest.mark.parametrize("floor", [0.45, 0.6, 0.8, 1.0])
def test_no_event_goes_on_while_the_classifier_abstains(floor: float) -> None:
    answers = [(n / 25, "happy", 0.5 + 0.45 * abs(np.sin(n / 25))) for n in range(500)]
    events, _ = tell(answers, floor)
    for event in events.events:
        assert all(p >= floor for t, _, p in answers if event.start_s <= t <= event.end_s)
    assert (events.events == []) == (floor == 1.0)
    free, _ = tell(answers)
    assert sum(e.end_s - e.start_s for e in free.events) >= sum(e.end_s - e.start_s for e in events.events)


def test_the_plot_shows_where_it_was_unsure() -> None:
    answers = [(n / 25, "happy", 0.9 if n < 100 else 0.5) for n in range(200)]
    pale = [np.all(np.asarray(tell(answers, floor)[1].draw("a")) == (196, 202, 210), axis=2).sum() for floor in (0.0, 0.7)]
    assert pale[0] < 100
    assert pale[1] > 20000  # half of a strip


@pytest.mark.parametrize("floor", [None, 0.5, 0.97, 1.0])
def test_the_command(astronaut: np.ndarray, tmp_path: Path, floor: float | None) -> None:
    films.write(tmp_path / "a.mp4", films.portrait(astronaut, 30))
    more = [] if floor is None else ["--min-confidence", str(floor)]
    done = CliRunner().invoke(
        main,
        [
            "video",
            str(tmp_path / "a.mp4"),
            "--events",
            str(tmp_path / "e.json"),
            "--plot",
            str(tmp_path / "p.png"),
            "--table",
            str(tmp_path / "t.csv"),
            *more,
        ],
    )
    assert done.exit_code == 0, done.output
    told = json.loads((tmp_path / "e.json").read_text())
    (person,) = told["people"]
    with (tmp_path / "t.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["track_id"] == "1"]
    counts: dict[str, int] = defaultdict(int)
    for row in rows:
        counts[row["label"] or "unsure"] += 1
    assert person["share"] == pytest.approx({name: n / len(rows) for name, n in counts.items()}, abs=1e-3)  # an even frame rate
    line = re.search(r"person 1: [\d.]+-[\d.]+ s, (.*);", done.stderr)
    assert line
    assert line[1].split(", ") == [f"{name} {value:.0%}" for name, value in person["share"].items() if value >= 0.01]
    if floor == 1.0:
        assert person["share"] == {"unsure": 1.0}
        assert told["events"] == []
