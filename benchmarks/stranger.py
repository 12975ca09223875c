"""A stranger's data set: what the four commands of docs/training.md take, from a manifest of 60 drawn photos to a service's first answer.

python benchmarks/stranger.py --out benchmarks/results/stranger.json
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import skimage.data
from _record import record

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # for the tests' data and service

from tests.helpers.serving import Service  # noqa: E402 - after the path that they need
from tests.helpers.strangers import write_data  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out")
    args = parser.parse_args()
    out = args.out and str(Path(args.out).resolve())
    shown = (ROOT / "docs" / "training.md").read_text(encoding="utf-8").split("<!-- four commands -->")[1].split("```")[1]
    commands = [command.split() for command in re.findall(r"^\$ ferkit (.+)$", shown, re.M)]
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as temporary:
        write_data(Path(temporary), skimage.data.astronaut()[0:330, 80:410])
        os.chdir(temporary)
        for command in commands[:3]:
            begun = time.monotonic()
            subprocess.run([sys.executable, "-m", "ferkit", *command], stdout=subprocess.DEVNULL, check=True)
            seconds[command[0]] = round(time.monotonic() - begun, 1)
        begun = time.monotonic()
        with Service(Path(temporary), *commands[3][1:]) as service:
            request = urllib.request.Request(f"{service.url}/v1/predict", data=Path("photo.jpg").read_bytes(), method="POST")
            with urllib.request.urlopen(request, timeout=60) as response:
                response.read()
            seconds["serve, to the first answer"] = round(time.monotonic() - begun, 1)
        held_out = json.loads(Path("mine", "finetune.json").read_text(encoding="utf-8"))["held_out"]
        os.chdir(ROOT)
    record(out, {"seconds": seconds, "held_out": {"n": held_out["n"], "accuracy": held_out["accuracy"]}})


if __name__ == "__main__":
    main()
