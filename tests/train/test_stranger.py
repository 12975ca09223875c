"""A stranger's data set goes from a manifest to a service in the four commands that the docs show."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.serving import Service
from tests.helpers.strangers import LABELS, PEOPLE, write_data
from tests.helpers.training import needs_keras

pytestmark = [pytest.mark.train, pytest.mark.slow, needs_keras]
ROOT = Path(__file__).resolve().parents[2]


def test_four_commands(tmp_path: Path, astronaut: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = (ROOT / "docs" / "training.md").read_text(encoding="utf-8").split("<!-- four commands -->")[1].split("```")[1]
    commands = re.findall(r"^\$ ferkit (.+)$", shown, re.M)
    assert [command.split()[0] for command in commands] == ["finetune", "evaluate", "predict", "serve"]
    write_data(tmp_path, astronaut[0:330, 80:410])
    monkeypatch.chdir(tmp_path)
    answers = {}
    for command in commands[:3]:
        done = subprocess.run([sys.executable, "-m", "ferkit", *command.split()], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        answers[command.split()[0]] = done.stdout
    assert "mine-v1: awake, grumpy, sleepy" in answers["finetune"]
    report = json.loads((tmp_path / "mine" / "finetune.json").read_text(encoding="utf-8"))
    assert report["persons"] == PEOPLE
    held = {row["person"] for row in report["held_out_files"]}
    assert len(held) >= 1
    assert len(report["held_out_files"]) == report["held_out"]["n"]
    assert (tmp_path / "mine-report" / "report.html").is_file()
    assert re.search(r"accuracy   \d of 6 \(95 % interval", answers["evaluate"])
    assert json.loads(answers["predict"])[0]["faces"][0]["label"] in LABELS
    with Service(tmp_path, *commands[3].split()[1:]) as service:
        body = (tmp_path / "photo.jpg").read_bytes()
        request = urllib.request.Request(f"{service.url}/v1/predict", data=body, method="POST")
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.loads(response.read())
    assert answer["weights"] == "mine-v1"
    assert set(answer["images"][0]["faces"][0]["probabilities"]) == set(LABELS)
