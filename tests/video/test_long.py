"""A short version of benchmarks/video_memory.py: memory, times, ids on a made video whose truth is known."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("av", reason='needs the video extra: pip install "ferkit[video]"')
pytest.importorskip("scipy", reason='needs the video extra: pip install "ferkit[video]"')

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the benchmark reads its memory from /proc, which only Linux has")
def test_made_video(shared: Path, tmp_path: Path) -> None:
    command = [sys.executable, "benchmarks/video_memory.py", "--photos", str(shared / "photos"), "--minutes", "0.5", "--curve", "10"]
    run = subprocess.run(
        [*command, "--out", str(tmp_path / "out.json")], cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    figures = json.loads((tmp_path / "out.json").read_text())["figures"]
    assert figures["frames"] == figures["frames_expected"] == figures["frames_with_rows"] == 750
    assert figures["worst_time_error_ms"] <= 1
    assert figures["switches_apart"] == []
    assert figures["crossings"] == 1
    assert len(figures["switches_at_crossings"]) <= 1
    assert figures["idf1"] > 0.9
