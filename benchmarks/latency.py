"""Cold start and latency.

Cold start: a fresh process each time; the CPU time is the operating system's own count of the finished process. Warm: one
process, medians after a warm-up.

    python benchmarks/latency.py --out benchmarks/results/latency.json
    python benchmarks/latency.py --against d37bcb9 --runs 25 --out benchmarks/results/latency_against.json

The second compares cold starts with those of an earlier commit, one process of each in turn, so that whatever else the machine
does meets both.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _record import record
from PIL import Image


def once(arguments: list[str], **environment: str) -> tuple[float, float]:
    """Run a command; CPU and wall seconds."""
    # With bytecode on disk, as an installed package has it.
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    begun = time.perf_counter()
    child = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, env=clean | {"FERKIT_OFFLINE": "1"} | environment)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{arguments} ended with {child.returncode}")
    return usage.ru_utime + usage.ru_stime, time.perf_counter() - begun


def process(arguments: list[str], runs: int) -> dict[str, float]:
    """Run a command repeatedly; medians of CPU and wall seconds."""
    once(arguments)  # the first run fills the disk cache
    cpu, wall = zip(*(once(arguments) for _ in range(runs)), strict=True)
    return {
        "cpu_s": round(statistics.median(cpu), 3),
        "cpu_s_max": round(max(cpu), 3),
        "wall_s": round(statistics.median(wall), 3),
    }


def milliseconds(function: Callable[[], Any], runs: int) -> dict[str, float]:
    for _ in range(3):
        function()
    times = []
    for _ in range(runs):
        begun = time.perf_counter()
        function()
        times.append((time.perf_counter() - begun) * 1e3)
    return {"median_ms": round(statistics.median(times), 3), "min_ms": round(min(times), 3)}


def against(commit: str, runs: int) -> dict[str, Any]:
    """Compare cold starts with those of a commit, in turn."""
    root = Path(__file__).resolve().parents[1]
    photo = root / "docs" / "images" / "photo.jpg"
    with tempfile.TemporaryDirectory() as folder:
        other = Path(folder) / "other"
        subprocess.run(["git", "-C", str(root), "worktree", "add", "--quiet", "--detach", str(other), commit], check=True)
        try:
            return {name: _compared(arguments, root, other, runs) for name, arguments in _starts(photo).items()}
        finally:
            subprocess.run(["git", "-C", str(root), "worktree", "remove", "--force", str(other)], check=True)


def _starts(photo: Path) -> dict[str, list[str]]:
    return {
        "python -c pass": [sys.executable, "-c", "pass"],
        "import ferkit": [sys.executable, "-c", "import ferkit"],
        "from ferkit import Pipeline": [sys.executable, "-c", "from ferkit import Pipeline"],
        "ferkit predict photo.jpg": [sys.executable, "-m", "ferkit", "predict", str(photo)],
    }


def _compared(arguments: list[str], here: Path, there: Path, runs: int) -> dict[str, float]:
    rows: dict[Path, list[float]] = {here: [], there: []}
    for number in range(runs + 1):
        for place in (here, there) if number % 2 else (there, here):
            cpu, _ = once(arguments, PYTHONPATH=str(place / "src"))
            if number:
                rows[place].append(cpu)
    ours, theirs = (statistics.median(rows[place]) for place in (here, there))
    ratios = sorted(a / b for a, b in zip(rows[here], rows[there], strict=True))
    return {
        "cpu_s": round(ours, 3),
        "cpu_s_of_the_commit": round(theirs, 3),
        "ratio": round(ours / theirs, 3),
        "pairwise_ratio": round(statistics.median(ratios), 3),
        "ratio_quartiles": [round(ratios[len(ratios) // 4], 3), round(ratios[-1 - len(ratios) // 4], 3)],
        "runs": runs,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--out")
    parser.add_argument("--against", metavar="COMMIT", help="only compare cold starts with those of this commit")
    args = parser.parse_args()
    if args.against:
        record(args.out, {"against": args.against, "cold": against(args.against, args.runs)})
        return

    from skimage import data

    from ferkit import ExpressionClassifier, FaceDetector, Pipeline

    picture = Image.fromarray(data.astronaut()).resize((480, 480))
    photo = Image.new("RGB", (640, 480), (90, 110, 130))
    photo.paste(picture, (80, 0))
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photo.jpg"
        photo.save(path, quality=92)
        figures["python -c pass"] = process([sys.executable, "-c", "pass"], args.runs)
        figures["import ferkit"] = process([sys.executable, "-c", "import ferkit"], args.runs)
        figures["from ferkit import Pipeline"] = process([sys.executable, "-c", "from ferkit import Pipeline"], args.runs)
        figures["ferkit predict photo (640x480)"] = process([sys.executable, "-m", "ferkit", "predict", str(path)], args.runs)

    crops = np.random.default_rng(0).integers(0, 255, (64, 48, 48)).astype(np.uint8)
    for runtime in ("opencv", "onnxruntime"):
        classifier = ExpressionClassifier(runtime=runtime)
        figures[f"classify 1 crop, {runtime}"] = milliseconds(lambda c=classifier: c.predict_proba(crops[:1]), 60)
        batch = milliseconds(lambda c=classifier: c.predict_proba(crops), 15)
        figures[f"classify 64 crops, {runtime}, each"] = {k: round(v / 64, 3) for k, v in batch.items()}
    pixels = np.asarray(photo)
    detector = FaceDetector("haar")
    figures["detect haar 640x480"] = milliseconds(lambda: detector.detect(pixels), 20)
    pipeline = Pipeline(detector)
    figures["pipeline 640x480, 1 face"] = milliseconds(lambda: pipeline(pixels), 20)
    record(args.out, {"figures": figures})


if __name__ == "__main__":
    main()
