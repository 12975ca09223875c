"""The scripts of examples/ run as their docstrings say."""

from __future__ import annotations

import ast
import csv
import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
PHOTO = ROOT / "docs" / "images" / "photo.jpg"
needs_photo = pytest.mark.skipif(not PHOTO.exists(), reason="docs/images/photo.jpg is missing; python docs/build.py makes it")


def run(name: str, *arguments: object, folder: Path, strict: bool = True) -> subprocess.CompletedProcess[str]:
    warnings = ["-W", "error"] if strict else []  # what Keras and its converters warn about is not ours
    command = [sys.executable, *warnings, str(EXAMPLES / name), *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("script", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_docstring_says_how_to_run_it(script: Path) -> None:
    docstring = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8")))
    assert docstring is not None
    assert f"python examples/{script.name}" in docstring


@needs_photo
def test_photo(tmp_path: Path) -> None:
    done = run("photo.py", PHOTO, "--out", "drawn.png", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 face(s)" in done.stdout
    with Image.open(tmp_path / "drawn.png") as drawn, Image.open(PHOTO) as photo:
        assert drawn.size == photo.size


def test_photo_that_is_not_there(tmp_path: Path) -> None:
    done = run("photo.py", "nowhere.jpg", folder=tmp_path)
    assert done.returncode == 1
    assert "nowhere.jpg does not exist" in done.stderr
    assert "Traceback" not in done.stderr


@needs_photo
def test_folder_to_csv(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures" / "für"
    pictures.mkdir(parents=True)
    shutil.copyfile(PHOTO, pictures / "face.jpg")
    (pictures / "broken.jpg").write_text("not a picture")
    Image.new("RGB", (64, 64)).save(pictures / "nobody.png")
    done = run("folder_to_csv.py", "pictures", "--out", "out.csv", folder=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "broken.jpg" in done.stderr
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [Path(row["image"]).name for row in rows] == ["face.jpg", "nobody.png"]
    assert [row["face"] for row in rows] == ["0", ""]
    assert all(None not in row and None not in row.values() for row in rows)  # as many cells as columns


@needs_photo
def test_similar_faces(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    with Image.open(PHOTO) as photo:
        photo.save(pictures / "a.png")
        photo.convert("L").save(pictures / "b.png")
    (pictures / "broken.jpg").write_text("not a picture")
    done = run("similar_faces.py", "pictures", "--groups", "2", "--like", PHOTO, folder=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "broken.jpg" in done.stderr
    assert "Traceback" not in done.stderr
    assert "a.png" in done.stdout.split("most like")[1].splitlines()[1]  # the photo itself, in other bytes


@pytest.mark.train
@pytest.mark.slow
def test_train_tiny(tmp_path: Path) -> None:
    if not all(importlib.util.find_spec(name) for name in ("keras", "tensorflow", "onnx")):
        pytest.skip('needs the train extra: pip install "ferkit[train]"')
    done = run("train_tiny.py", "--out", "runs/drawn", folder=tmp_path, strict=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["drawn:", "drawn:"]
    spec = json.loads((tmp_path / "runs" / "drawn" / "spec.json").read_text(encoding="utf-8"))
    assert spec["metrics"][0]["accuracy"] > 0.5  # four labels, equally often: it has learnt something
    names = {path.name for path in (tmp_path / "runs" / "drawn").iterdir()}
    assert names >= {"model.onnx", "model.keras", "spec.json", "card.md", "history.json", "checkpoint.npz"}
    again = run("train_tiny.py", "--out", "runs/drawn", folder=tmp_path, strict=False)
    assert again.returncode == 1
    assert "already holds a run" in again.stderr


NOTEBOOKS = [
    pytest.param("explain", id="explain"),
    pytest.param("video", id="video"),
    pytest.param("finetune", id="finetune", marks=(pytest.mark.train, pytest.mark.slow)),
]


@needs_photo
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebooks_run(name: str, tmp_path: Path) -> None:
    """Their cells run one after another in a fresh interpreter, beside what they name; no Jupyter is needed for that."""
    for package in {"video": ("av",), "finetune": ("keras", "tensorflow", "onnx")}.get(name, ()):
        pytest.importorskip(package, reason=f"the notebook needs {package}")
    shutil.copyfile(PHOTO, tmp_path / "photo.jpg")
    if name == "video":
        import numpy as np

        from tests.helpers import films

        with Image.open(PHOTO) as picture:
            films.write(tmp_path / "film.mp4", [np.asarray(picture.convert("RGB").resize((360, 360)))] * 30)
    notebook = json.loads((EXAMPLES / f"{name}.ipynb").read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert not any(cell.get("outputs") for cell in notebook["cells"]), "outputs do not belong into the repository"
    (tmp_path / "run.py").write_text("\n\n".join(cells) + "\n", encoding="utf-8")
    done = subprocess.run([sys.executable, "run.py"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
