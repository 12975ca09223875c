"""A cache that cannot be used is one line, never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

REPO, COMMIT, FILE = "models--opencv--face_detection_yunet", "abc123def4567890abc123def4567890abc123de", "face_detection_yunet_2026may.onnx"
NOBODY = 65534
# Whatever is imported late would be read as nobody, who may not enter every Python's own folder.
SCRIPT = """
import os, sys
import cv2, click, numpy, PIL.Image, huggingface_hub, tqdm, encodings.idna
import huggingface_hub.file_download, huggingface_hub.errors, huggingface_hub.utils
import ferkit.cli.main, ferkit.cli.weights, ferkit.cli.predict, ferkit.detectors.face_detector, ferkit.pipeline, ferkit.classifiers.ensemble, ferkit.detectors.yunet, ferkit.detectors.ferkit_face
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
if {user}:
    os.setgroups([]), os.setgid({user}), os.setuid({user})
ferkit.cli.main.main({arguments!r})
"""


def run(home: Path, *arguments: str, offline: bool, user: int = 0) -> subprocess.CompletedProcess[str]:
    env = {
        **os.environ,
        "HF_HOME": str(home),
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "HF_HUB_DOWNLOAD_TIMEOUT": "1",
        "HF_HUB_ETAG_TIMEOUT": "1",
    }
    env = {name: value for name, value in env.items() if name not in ("FERKIT_OFFLINE", "HF_HUB_OFFLINE", "HF_HUB_CACHE")}
    env |= {"FERKIT_OFFLINE": "1"} if offline else {}
    script = SCRIPT.format(user=user, arguments=list(arguments))
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=env, timeout=250, check=False)


def cached(home: Path) -> Path:
    folder = home / "hub" / REPO
    (folder / "snapshots" / COMMIT).mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(COMMIT)
    (folder / "snapshots" / COMMIT / FILE).write_bytes(b"x")
    return folder


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A temporary folder that every user may enter, as pytest's own is not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1, done.stderr
    return lines[0]


@pytest.mark.parametrize(("command", "offline"), [("predict", True), ("predict", False), ("force", False)])
def test_a_home_that_is_no_folder(tmp_path: Path, photo: Path, command: str, offline: bool) -> None:
    home = tmp_path / "file"
    home.write_text("no folder")
    arguments = {
        "predict": ["predict", str(photo), "--detector", "yunet"],
        "force": ["weights", "fetch", "yunet-2026may", "--force"],
    }[command]
    line = one_line(run(home, *arguments, offline=offline))
    assert "HF_HOME" in line or "FERKIT_OFFLINE" in line


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="must be root, to become another user who may not write")
@pytest.mark.parametrize("force", [[], ["--force"]])
def test_a_cache_that_may_not_be_written(open_folder: Path, force: list[str]) -> None:
    home = open_folder / "home"
    cached(home)
    line = one_line(run(home, "weights", "fetch", "yunet-2026may", *force, offline=False, user=NOBODY))
    assert ("cannot be used" in line and "HF_HOME" in line) if force else "is damaged" in line
    assert (home / "hub" / REPO / "snapshots" / COMMIT / FILE).read_bytes() == b"x"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="must be root, to become another user who may not read")
def test_a_cached_file_that_may_not_be_read(open_folder: Path) -> None:
    home = open_folder / "home"
    file = cached(home) / "snapshots" / COMMIT / FILE
    file.chmod(0o600)
    line = one_line(run(home, "weights", "fetch", "yunet-2026may", offline=True, user=NOBODY))
    assert "cannot be read" in line
