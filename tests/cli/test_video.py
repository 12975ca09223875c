"""``ferkit video`` and ``ferkit webcam``: whatever happens, what was computed is on disk, and the exit code tells."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from ferkit.cli.main import main
from tests.helpers import films

av = pytest.importorskip("av", reason='needs the video extra: pip install "ferkit[video]"')
pytest.importorskip("scipy", reason='needs the video extra: pip install "ferkit[video]"')
pq = pytest.importorskip("pyarrow.parquet", reason='needs the video extra: pip install "ferkit[video]"')


def ferkit(*arguments: object) -> Result:
    done = CliRunner().invoke(main, [str(a) for a in arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


@pytest.fixture(scope="module")
def film(astronaut: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "portrait.mp4"
    films.write(
        path, [*films.portrait(astronaut, 40), *films.plain(10, 480, 360)], options={"bf": "0"}, container={"movflags": "faststart"}
    )
    return path


def length(path: Path) -> int:
    with av.open(str(path)) as file:
        return sum(1 for _ in file.decode(video=0))


def width(path: Path) -> int:
    with Image.open(path) as picture:
        return picture.width


def test_features_are_columns(film: Path, tmp_path: Path) -> None:
    done = ferkit("video", film, "--end", "0.8", "--features", "--weights", "fer2013-n-v6", "--table", tmp_path / "rows.csv")
    assert done.exit_code == 0, done.output
    with (tmp_path / "rows.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [name for name in rows[0] if name.startswith("feature_")] == [f"feature_{i}" for i in range(80)]
    assert all(row["feature_79"] for row in rows if row["track_id"])
    assert len({tuple(row[f"feature_{i}"] for i in range(80)) for row in rows if row["track_id"]}) > 1
    printed = ferkit("video", film, "--end", "0.3", "--features", "--weights", "fer2013-n-v6").stdout.splitlines()
    assert len(json.loads(printed[0])["features"]) == 80
    assert "features" not in json.loads(ferkit("video", film, "--end", "0.1").stdout.splitlines()[0])


def test_all_outputs(film: Path, tmp_path: Path) -> None:
    names = {"-o": "out.mp4", "--table": "rows.csv", "--events": "new/events.json", "--plot": "plot.png"}
    done = ferkit("video", film, *[part for option, name in names.items() for part in (option, tmp_path / name)])
    assert done.exit_code == 0, done.output
    assert done.stdout == ""
    assert "50/50" in done.stderr
    assert "frame/s" in done.stderr
    assert "person 1: 0.0-" in done.stderr
    with (tmp_path / "rows.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["frame"]) for row in rows] == list(range(50))
    assert {row["track_id"] for row in rows[:40]} == {"1"}
    assert rows[-1]["label"] == ""
    table = json.loads((tmp_path / "new" / "events.json").read_text())
    assert [person["track_id"] for person in table["people"]] == [1]
    assert length(tmp_path / "out.mp4") == 50
    with av.open(str(tmp_path / "out.mp4")) as file:
        times = [frame.time for frame in file.decode(video=0)]
    assert np.abs(np.array(times) - np.arange(50) / 25).max() < 1e-3
    assert width(tmp_path / "plot.png") == 1400


def test_rows_on_stdout(film: Path) -> None:
    done = ferkit("video", film, "--fps", 5, "--end", 1.9, "--smooth", 0, "--detector", "none", "--labels", "fer2013")
    assert done.exit_code == 0
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["time_s"] for row in rows] == pytest.approx([n / 5 for n in range(10)])
    assert list(rows[0]) == ["frame", "time_s", "track_id", "box", "score", "label", "confidence", "probabilities"]


def test_truncated_keeps_what_was_readable(tmp_path: Path) -> None:
    cut = tmp_path / "cut.mp4"
    long = tmp_path / "long.mp4"
    films.write(long, films.plain(200), options={"bf": "0"}, container={"movflags": "faststart"})
    data = long.read_bytes()
    cut.write_bytes(data[: len(data) * 6 // 10])
    outs = ["--table", tmp_path / "t.parquet", "-o", tmp_path / "o.mp4", "--events", tmp_path / "e.json", "--plot", tmp_path / "p.png"]
    done = ferkit("video", cut, *outs)
    assert done.exit_code == 1
    assert "truncated" in done.stderr or "broke off" in done.stderr
    assert "Traceback" not in done.stderr
    count = pq.read_table(tmp_path / "t.parquet").num_rows
    assert 20 < count < 200
    assert length(tmp_path / "o.mp4") == count
    assert json.loads((tmp_path / "e.json").read_text())["events"] == []
    assert width(tmp_path / "p.png") == 1400


def test_a_change_of_size_is_told(tmp_path: Path) -> None:
    path = tmp_path / "sizes.mjpeg"
    path.write_bytes(b"".join(cv2.imencode(".jpg", p)[1].tobytes() for p in films.plain(5) + films.plain(5, 320, 200)))
    done = ferkit("video", path, "-o", tmp_path / "o.mp4", "--table", tmp_path / "t.csv")
    assert done.exit_code == 0, done.stderr
    assert "the picture changes from 160x120 to 320x200 at 0.200 s" in done.stderr
    assert length(tmp_path / "o.mp4") == 10


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's device that is always full")
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_full_disk_is_told_and_the_rows_are_kept(film: Path, tmp_path: Path, suffix: str) -> None:
    """In a process of its own: FFmpeg crashed it where the header could not be written."""
    (tmp_path / f"o{suffix}").symlink_to("/dev/full")
    command = [sys.executable, "-m", "ferkit", "video", str(film), "-o", f"o{suffix}", "--table", "t.csv", "--events", "e.json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("cannot be written (No space left on device); is the disk full?") == 1
    assert (tmp_path / "t.csv").read_text().count("\n") > 10
    assert json.loads((tmp_path / "e.json").read_text())["people"]


def test_nothing_is_made_of_what_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a video\n" * 99)
    table = tmp_path / "t.csv"
    table.write_text("of yesterday")
    for source, text in ((tmp_path / "text.mp4", "not a video"), (tmp_path / "none.mp4", "does not exist"), (tmp_path, "is a folder")):
        done = ferkit("video", source, "--table", table)
        assert done.exit_code == 1
        assert text in done.stderr
    assert table.read_text() == "of yesterday"


def test_usage(film: Path, tmp_path: Path) -> None:
    (tmp_path / "same.mp4").hardlink_to(film)
    for arguments, text in (
        (["--table", tmp_path / "t.xlsx"], "expected a name ending in .csv"),
        (["-o", tmp_path / "o.gif"], "expected a name ending in .mp4"),
        (["--events", tmp_path / "e.txt"], "expected a name ending in .json"),
        (["--plot", tmp_path / "p.pdf"], "expected a name ending in .png"),
        (["-o", film], "would overwrite"),
        (["-o", tmp_path / "same.mp4"], "would overwrite"),
        (["--fps", 0], "--fps"),
        (["--fps", 5, "--every", 2], "twice"),
        (["--start", 2, "--end", 1], "is not after"),
    ):
        done = ferkit("video", film, *arguments)
        assert done.exit_code == 2, (arguments, done.output)
        assert text in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signal to send to a child")
@pytest.mark.slow
def test_ctrl_c(astronaut: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "long.mp4"
    films.write(path, films.portrait(astronaut, 700), options={"preset": "ultrafast"})
    outs = ["--table", "t.parquet", "-o", "o.mp4", "--events", "e.json", "--plot", "p.png"]
    command = [sys.executable, "-m", "ferkit", "video", str(path), *outs]
    child = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, bufsize=0)
    assert child.stderr is not None
    said = b""
    while not re.search(rb"[1-9]\d+/700", said):
        piece = child.stderr.read(1)
        assert piece, said.decode()
        said += piece
    child.send_signal(signal.SIGINT)
    rest = child.communicate(timeout=60)[1].decode()
    assert child.returncode == 1, rest
    assert "stopped by Ctrl-C after" in rest
    assert "Traceback" not in rest
    rows = pq.read_table(tmp_path / "t.parquet").to_pylist()
    assert 10 <= len(rows) < 700
    assert length(tmp_path / "o.mp4") == len(rows)
    assert json.loads((tmp_path / "e.json").read_text())["people"]
    assert width(tmp_path / "p.png") == 1400


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signal to send to a child")
def test_webcam_page(astronaut: np.ndarray, tmp_path: Path) -> None:
    """A file stands for the camera; the page, one picture of the stream and the rows are read while it runs."""
    film = tmp_path / "film.mp4"
    films.write(film, films.portrait(astronaut, 1000), options={"preset": "ultrafast"})
    command = [sys.executable, "-m", "ferkit", "webcam", str(film), "--port", "0", "--table", "t.csv"]
    child = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    assert child.stderr is not None
    first = child.stderr.readline()
    drain = threading.Thread(target=child.stderr.read)
    drain.start()
    address = re.search(r"http://127\.0\.0\.1:\d+/", first)
    assert address, first
    with urllib.request.urlopen(address[0] + "stream", timeout=20) as stream:
        assert stream.headers["Content-Type"].startswith("multipart/x-mixed-replace")
        data = b""
        while b"\xff\xd9" not in data:
            piece = stream.read1(4096)
            assert piece, "the stream ended"
            data += piece
        jpeg = data[data.find(b"\xff\xd8") : data.find(b"\xff\xd9") + 2]
        picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None
        assert picture.shape == (360, 480, 3)
    with urllib.request.urlopen(address[0], timeout=20) as page:
        assert b"/stream" in page.read()
    with urllib.request.urlopen(address[0] + "latest.json", timeout=20) as page:
        assert "frame" in json.load(page)[0]
    foreign = urllib.request.Request(address[0], headers={"Host": "evil.example"})
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(foreign, timeout=20)
    child.send_signal(signal.SIGINT)
    assert child.wait(60) == 0
    drain.join()
    child.stderr.close()
    assert "frame,time_s,track_id" in (tmp_path / "t.csv").read_text()


def test_webcam_that_goes_away(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from tests.helpers.cameras import Camera

    class Slow(Camera):
        def read(self) -> tuple[bool, np.ndarray | None]:
            time.sleep(0.2)  # time to take each frame on a machine that others use
            return super().read()

    monkeypatch.setattr(cv2, "VideoCapture", Slow)
    done = ferkit("webcam", 0, "--port", 0, "--table", tmp_path / "t.jsonl", "--detector", "none")
    assert done.exit_code == 1
    assert "camera 0 stopped answering after 7 frames" in done.stderr
    rows = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    frames = [row["frame"] for row in rows]
    assert frames[0] == 0
    assert frames == sorted(set(frames))
    assert set(frames) <= set(range(7))
