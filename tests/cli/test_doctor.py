"""``ferkit doctor``: what is there, what does not fit, and what to do about it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ferkit import list_weights
from ferkit.doctor import _gui


def doctor(*arguments: str, path: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    folders = [str(path)] if path else []
    folders += [entry for entry in sys.path if entry]
    return subprocess.run(
        [sys.executable, "-m", "ferkit", "doctor", *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(folders), "FERKIT_OFFLINE": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def package(folder: Path, name: str, version: str) -> None:
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def test_what_is_there() -> None:
    found = json.loads(doctor("--format", "json").stdout)
    assert list(found) == ["schema", "ferkit", "python", "opencv", "engines", "extras", "weights", "threads", "problems"]
    assert found["opencv"]["version"] == found["engines"]["opencv"]["version"]
    assert {"core", "train", "video", "serve", "onnxruntime"} <= set(found["extras"])
    states = found["weights"]["releases"]
    assert set(states) == {release.name for release in list_weights()}
    assert all(state["state"] == "verified" for name, state in states.items() if name.startswith("fer"))
    assert found["threads"]["used"] >= 1
    text = doctor().stdout
    for word in ("OpenCV", "onnxruntime", "threads", "weights", "fer2013-s-v6: verified"):
        assert word in text


@pytest.mark.parametrize("other", ["opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless"])
def test_two_opencvs_are_a_conflict_with_a_cure(other: str, tmp_path: Path) -> None:
    package(tmp_path, other, "5.0.0")
    package(tmp_path, "opencv-python-headless", "5.0.0")
    done = doctor("--format", "json", path=tmp_path)
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert set(found["opencv"]["packages"]) == {other, "opencv-python-headless"}
    problem = next(p for p in found["problems"] if "cv2" in p["problem"])
    assert other in problem["problem"]
    assert "pip uninstall -y" in problem["cure"]
    assert other in problem["cure"]
    text = doctor(path=tmp_path)
    assert (text.returncode, problem["cure"] in text.stdout) == (1, True)


@pytest.mark.parametrize("content", [None, "raise ImportError('libGL.so.1: cannot open shared object file')"])
def test_an_opencv_that_does_not_work(content: str | None, tmp_path: Path) -> None:
    """An emptied folder, or a library that is missing: the doctor itself still runs."""
    (tmp_path / "cv2").mkdir()
    (tmp_path / "cv2" / "__init__.py").write_text(content or "")
    done = doctor("--format", "json", path=tmp_path)
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert found["opencv"]["version"] is None
    assert found["engines"]["opencv"] is None
    assert any("pip install" in p["cure"] for p in found["problems"])
    assert "does not work" in doctor(path=tmp_path).stdout


def test_a_package_that_is_too_old(tmp_path: Path) -> None:
    package(tmp_path, "click", "7.0")
    found = json.loads(doctor("--format", "json", path=tmp_path).stdout)
    assert any("click 7.0" in p["problem"] and "pip install -U ferkit" in p["cure"] for p in found["problems"])


def test_a_bad_variable_is_a_problem_and_not_a_crash() -> None:
    done = doctor("--format", "json", FERKIT_THREADS="many")
    assert done.returncode == 1
    assert any("FERKIT_THREADS='many'" in p["problem"] for p in json.loads(done.stdout)["problems"])


@pytest.mark.parametrize(("line", "gui"), [("  GUI:                           QT5", "QT5"), ("    GUI:   NONE\n", "NONE"), ("", "NONE")])
def test_windows_of_a_build(line: str, gui: str) -> None:
    assert _gui(f"General configuration\n{line}\n") == gui
