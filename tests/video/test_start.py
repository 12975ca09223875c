"""A reading from --start T equals the full reading's rows from T on, whatever the container."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import ferkit
from ferkit.cli.main import main
from tests.helpers import films
from tests.helpers.containers import B_FRAMES, CONTAINERS, COUNT, make, moving

av = pytest.importorskip("av", reason='needs the video extra: pip install "ferkit[video]"')


@pytest.mark.parametrize(("name", "codec", "options"), CONTAINERS, ids=[name for name, *_ in CONTAINERS])
def test_start(tmp_path: Path, name: str, codec: str, options: dict[str, str]) -> None:
    path = make(tmp_path / name, codec, options)
    full = list(ferkit.frames(path))
    assert [frame.index for frame in full] == list(range(COUNT))
    times = [frame.time_s for frame in full]
    assert np.diff(times) == pytest.approx(1 / 25, abs=2e-3)
    for start in (0, times[0], times[30] - 0.013, times[50], times[50] + 1e-4, times[-1], times[-1] + 60):
        want = [frame for frame in full if frame.time_s >= start - 5e-4]
        got = list(ferkit.frames(path, start=start))
        assert got == want, f"from {start} s"
        assert all((a.pixels == b.pixels).all() for a, b in zip(got, want, strict=True)), f"from {start} s"
    part = list(ferkit.frames(path, start=times[20], end=times[60]))
    assert part == full[20:60]


def test_start_where_an_edit_list_cuts(tmp_path: Path) -> None:
    """An MP4 that was cut without encoding it anew: its first frames are decoded and not shown."""
    path = make(tmp_path / "whole.mp4", "libx264", {"g": "25", "bf": "0"})
    with av.open(str(path)) as source, av.open(str(tmp_path / "cut.mp4"), "w") as target:
        read = source.streams.video[0]
        written = target.add_stream_from_template(read)
        for packet in source.demux(read):
            if packet.dts is None:
                continue
            shift = int(0.4 / packet.time_base)
            packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, written
            target.mux(packet)
    full = list(ferkit.frames(tmp_path / "cut.mp4"))
    assert len(full) in (COUNT - 10, COUNT)
    for start in (full[0].time_s, 0.6, 1.3, 2.0):
        got = list(ferkit.frames(tmp_path / "cut.mp4", start=start))
        assert got == [frame for frame in full if frame.time_s >= start - 5e-4]


def test_start_with_variable_rate_and_a_late_first_frame(tmp_path: Path) -> None:
    times = np.cumsum(np.random.default_rng(5).uniform(0.01, 0.3, COUNT)) + 0.7
    for name in ("a.mp4", "a.mkv"):
        path = tmp_path / name
        films.write(path, moving(), times, options=B_FRAMES)
        full = list(ferkit.frames(path))
        assert np.abs(np.array([frame.time_s for frame in full]) - times).max() < 1e-3
        for start in (0.1, 1.0, times[40], times[77]):
            assert list(ferkit.frames(path, start=start)) == [frame for frame in full if frame.time_s >= start - 5e-4]


@pytest.mark.parametrize("name", ["a.ts", "mpeg2.ts", "a.m2ts", "a.vob"])
def test_joined_recordings_go_on(tmp_path: Path, name: str) -> None:
    """The clock begins anew in the middle; the times go on, and so does a sampling by time."""
    codec, options = next((codec, options) for other, codec, options in CONTAINERS if other == name)
    path = make(tmp_path / name, codec, options)
    one = [frame.time_s for frame in ferkit.frames(path)]
    path.write_bytes(path.read_bytes() * 3)
    full = list(ferkit.frames(path))
    times = [frame.time_s for frame in full]
    assert len(full) == 3 * COUNT
    assert times[:COUNT] == one
    assert np.diff(times) == pytest.approx(1 / 25, abs=2e-3)
    assert len(list(ferkit.frames(path, fps=5))) == 3 * COUNT / 5
    assert list(ferkit.frames(path, start=times[130])) == full[130:]


@pytest.mark.parametrize("name", ["a.ts", "a.h264", "a.vob", "h264.avi", "a.mkv"])
def test_rows_of_the_command(tmp_path: Path, name: str) -> None:
    codec, options = next((codec, options) for other, codec, options in CONTAINERS if other == name)
    path = make(tmp_path / name, codec, options)

    def rows(*more: str) -> list[dict[str, object]]:
        done = CliRunner().invoke(main, ["video", str(path), "--detector", "none", "--smooth", "0", *more])
        assert done.exit_code == 0, done.output
        return [json.loads(line) for line in done.stdout.splitlines()]

    full = rows()
    start = str(full[33]["time_s"])
    assert [(row["frame"], row["time_s"], row["label"]) for row in rows("--start", start)] == [
        (row["frame"], row["time_s"], row["label"]) for row in full[33:]
    ]


def test_raw_streams_have_the_rate_that_they_were_made_with(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.h264"), "w", format="h264") as file:
        stream = file.add_stream("libx264", rate=50)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for pixels in moving(60):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        file.mux(stream.encode(None))
    assert [frame.time_s for frame in ferkit.frames(tmp_path / "a.h264", start=1)] == pytest.approx([n / 50 for n in range(50, 60)])


def test_the_clock_of_a_raw_stream_never_goes_back(tmp_path: Path) -> None:
    """FFmpeg guesses the times of raw MPEG-1 with B frames, and errs at the beginning."""
    path = make(tmp_path / "a.m1v", "mpeg1video", {"g": "15", "bf": "2"})
    full = list(ferkit.frames(path))
    assert (len(full), min(np.diff([frame.time_s for frame in full])) > 0.03) == (COUNT, True)
    assert list(ferkit.frames(path, start=1)) == [frame for frame in full if frame.time_s >= 1 - 5e-4]
