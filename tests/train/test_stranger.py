"""A stranger's data set goes from a manifest to a service in the four commands that the docs show."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.serving import Service
from tests.helpers.training import needs_keras

pytestmark = [pytest.mark.train, pytest.mark.slow, needs_keras]
ROOT = Path(__file__).resolve().parents[2]
LABELS, PEOPLE = ("awake", "sleepy", "grumpy"), 10


def photo_of(label: int, person: int, number: int, portrait: np.ndarray) -> Image.Image:
    """Return a color photo of 900x600 with one face: a person is a tint and a size, a label a dark bar; each photo has its own light, so that
    no two faces are near copies of each other, though one portrait is behind them all."""
    rng = np.random.default_rng((label, person, number))
    side = 300 + 12 * person
    face = np.asarray(Image.fromarray(portrait).resize((side, side))).astype(float)
    top = side // 8 + label * side // 9
    face[top : top + side // 12, side // 4 : side * 5 // 8] *= 0.25
    light = Image.fromarray(rng.uniform(0.35, 1.25, (9, 9)).astype(np.float32)).resize((side, side), Image.Resampling.BICUBIC)
    face *= np.asarray(light)[..., None] * (1 + 0.04 * np.random.default_rng(person).normal(size=3))
    y, x = np.mgrid[0:600, 0:900]
    picture = np.stack([90 + 60 * np.sin(x / (90 + 40 * k) + person) + 0.1 * y for k in range(3)], axis=2)
    picture += rng.normal(0, 3, picture.shape)
    left, above = rng.integers(40, 860 - side), rng.integers(20, 580 - side)
    picture[above : above + side, left : left + side] = face
    return Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))


def write_data(folder: Path, portrait: np.ndarray) -> None:
    """Write 60 photos of ten persons with a manifest, and six photos of an eleventh in a folder per label."""
    rows = ["path,label,person"]
    (folder / "img").mkdir(parents=True)
    for number in range(60):
        label, person = number % 3, number // 6
        photo_of(label, person, number, portrait).save(folder / "img" / f"{number}.jpg", quality=90)
        rows.append(f"img/{number}.jpg,{LABELS[label]},person {person}")
    (folder / "faces.csv").write_text("\n".join(rows) + "\n")
    for number in range(6):
        path = folder / "new_photos" / LABELS[number % 3] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        photo_of(number % 3, PEOPLE, number, portrait).save(path, quality=90)
    photo_of(0, PEOPLE, 99, portrait).save(folder / "photo.jpg", quality=90)


def test_four_commands(tmp_path: Path, astronaut: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = (ROOT / "docs" / "training.md").read_text(encoding="utf-8").split("<!-- four commands -->")[1].split("```")[1]
    commands = re.findall(r"^\$ ferkit (.+)$", shown, re.M)
    assert [command.split()[0] for command in commands] == ["finetune", "evaluate", "predict", "serve"]
    write_data(tmp_path, astronaut[0:330, 80:410])
    monkeypatch.chdir(tmp_path)
    took, answers = {}, {}
    for command in commands[:3]:
        begun = time.monotonic()
        done = subprocess.run([sys.executable, "-m", "ferkit", *command.split()], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        name = command.split()[0]
        took[name], answers[name] = round(time.monotonic() - begun, 1), done.stdout
    assert "mine-v1: awake, grumpy, sleepy" in answers["finetune"]
    report = json.loads((tmp_path / "mine" / "finetune.json").read_text())
    assert report["persons"] == PEOPLE
    held = {row["person"] for row in report["held_out_files"]}
    assert len(held) >= 1
    assert len(report["held_out_files"]) == report["held_out"]["n"]
    assert (tmp_path / "mine-report" / "report.html").is_file()
    assert re.search(r"accuracy   \d of 6 \(95 % interval", answers["evaluate"])
    assert json.loads(answers["predict"])[0]["faces"][0]["label"] in LABELS
    begun = time.monotonic()
    with Service(tmp_path, *commands[3].split()[1:]) as service:
        body = (tmp_path / "photo.jpg").read_bytes()
        request = urllib.request.Request(f"{service.url}/v1/predict", data=body, method="POST")
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.loads(response.read())
        took["serve, to the first answer"] = round(time.monotonic() - begun, 1)
    assert answer["weights"] == "mine-v1"
    assert set(answer["images"][0]["faces"][0]["probabilities"]) == set(LABELS)
    print("seconds:", took, "held out:", report["held_out"]["accuracy"], report["held_out"]["n"])
