"""A warm photo of 640x480: an earlier commit's default pipeline beside today's with onnxruntime, alternately in one run.

    python benchmarks/warm_photo.py [--runs 60] [--out benchmarks/results/warm_photo.json]

Each is a process of its own that stays open; they take turns, one photo each, so that whatever else the machine does meets both. Faces
and labels are compared too. The commit is read from git.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from _earlier import ROOT, source_of
from _record import record
from PIL import Image

BEFORE = "d37bcb9"
WORKER = """
import json, sys, time
from ferkit import Pipeline
pipeline = Pipeline(**json.loads(sys.argv[2]))
for line in sys.stdin:
    began, used = time.perf_counter(), time.process_time()
    result = pipeline(sys.argv[1])
    wall, cpu = time.perf_counter() - began, time.process_time() - used
    faces = [{"box": list(face.box), "label": face.expression.label} for face in result.faces]
    print(json.dumps({"wall_ms": 1e3 * wall, "cpu_ms": 1e3 * cpu, "faces": faces}), flush=True)
"""


class Worker:
    """A pipeline in a process of its own."""

    def __init__(self, source: Path, photo: Path, options: dict[str, Any]) -> None:
        environment = os.environ | {"PYTHONPATH": str(source), "FERKIT_OFFLINE": "1"}
        command = [sys.executable, "-c", WORKER, str(photo), json.dumps(options)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)

    def __call__(self) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(file=self._process.stdin, flush=True)
        told: dict[str, Any] = json.loads(self._process.stdout.readline())
        return told

    def end(self) -> None:
        self._process.communicate()


def photo_of(folder: Path) -> Path:
    """Write scikit-image's astronaut on a grey ground of 640x480."""
    from skimage import data

    photo = Image.new("RGB", (640, 480), (90, 110, 130))
    photo.paste(Image.fromarray(data.astronaut()).resize((480, 480)), (80, 0))
    photo.save(folder / "photo.jpg", quality=92)
    return folder / "photo.jpg"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--out")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photo, before = photo_of(folder), source_of(BEFORE, folder)
        workers = {
            f"{BEFORE}, default": Worker(before, photo, {}),
            "today, default": Worker(ROOT / "src", photo, {}),
            "today, onnxruntime": Worker(ROOT / "src", photo, {"runtime": "onnxruntime"}),
        }
        told: dict[str, list[dict[str, Any]]] = {what: [] for what in workers}
        for run in range(arguments.runs + 5):
            for what, worker in workers.items():
                answer = worker()
                if run >= 5:
                    told[what].append(answer)
        for worker in workers.values():
            worker.end()
    figures: dict[str, Any] = {}
    for what, answers in told.items():
        figures[what] = {key: round(statistics.median(one[key] for one in answers), 2) for key in ("wall_ms", "cpu_ms")}
        figures[what]["faces"] = answers[-1]["faces"]
    first, *_, last = figures.values()
    figures["ratio"] = {key: round(last[key] / first[key], 3) for key in ("wall_ms", "cpu_ms")}
    same = [[face["label"] for face in one["faces"]] for one in (first, last)]
    figures["same faces and labels"] = same[0] == same[1] and all(
        max(abs(a - b) for a, b in zip(x["box"], y["box"], strict=True)) < 1 for x, y in zip(first["faces"], last["faces"], strict=True)
    )
    record(arguments.out, figures)


if __name__ == "__main__":
    main()
