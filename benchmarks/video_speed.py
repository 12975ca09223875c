"""Frames per second on 640x480 with two faces, beside fer's own video path on the same file in the same run.

fer lives in an environment of its own (python -m venv; fer==25.10.3 setuptools==65.5 opencv-contrib-python==4.14.*), whose
Python is given by --fer. It runs as its users run it, in its Haar mode, with every output turned off.

    python benchmarks/video_speed.py --photos PHOTOS --fer PYTHON --out benchmarks/results/video_speed.json
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _record import record
from _synthetic import HEIGHT, RATE, WIDTH, people, write_video

FER = """
import json, sys, time
from fer.classes import Video
from fer.fer import FER
detector, video = FER(mtcnn=False), Video(sys.argv[1], outdir=sys.argv[2])
begun, used = time.perf_counter(), time.process_time()
rows = video.analyze(detector, display=False, save_frames=False, save_video=False, annotate_frames=False, zip_images=False)
used = time.process_time() - used
print(json.dumps({"rows": len(rows), "seconds": time.perf_counter() - begun, "cpu_seconds": round(used, 2), "faces": sum(sum(k.startswith("box") for k in r) for r in rows)}))
"""

OURS = """
import json, sys, time
from ferkit import ExpressionClassifier, Pipeline
pipeline = Pipeline(classifier=ExpressionClassifier(runtime=sys.argv[2]))
begun, used = time.perf_counter(), time.process_time()
faces = rows = 0
for frame, result in pipeline.video(sys.argv[1]):
    rows, faces = rows + 1, faces + len(result)
used = time.process_time() - used
print(json.dumps({"rows": rows, "seconds": time.perf_counter() - begun, "cpu_seconds": round(used, 2), "faces": faces}))
"""


def run(python: str, code: str, folder: str, *arguments: str) -> dict[str, float]:
    """Run a script in a fresh process; the figures are those of its last line, with the opening of models left out.

    It runs in ``folder``, since fer leaves a ``data.csv`` in the folder where it is run.
    """
    done = subprocess.run(
        [str(Path(python).absolute()), "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=os.environ | {"FERKIT_OFFLINE": "1"},
    )
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    figures: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    figures["frames_per_second"] = round(figures["rows"] / figures["seconds"], 1)
    figures["seconds"] = round(figures["seconds"], 2)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", required=True, type=Path)
    parser.add_argument("--seconds", type=float, default=40)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--fer", help="the Python of an environment that has fer; without it only ferkit is measured")
    parser.add_argument("--runtimes", nargs="+", default=["opencv", "onnxruntime"], help="of ferkit's classifier")
    parser.add_argument("--out")
    args = parser.parse_args()

    figures: dict[str, object] = {
        "video": f"{WIDTH}x{HEIGHT}, {RATE} fps, {args.seconds:g} s, two faces",
        "load_before": os.getloadavg()[0],
    }
    with tempfile.TemporaryDirectory() as folder:
        video = str(Path(folder) / "two.mp4")
        write_video(Path(video), args.seconds, people(args.photos, 2))
        time.sleep(1)
        # Alternating, so that whatever else the machine does meets both alike; the median counts.
        rounds: dict[str, list[dict[str, float]]] = {}
        for _ in range(args.runs):
            for runtime in args.runtimes:
                rounds.setdefault(f"ferkit, {runtime}", []).append(run(sys.executable, OURS, folder, video, runtime))
            if args.fer:
                rounds.setdefault("fer", []).append(run(args.fer, FER, folder, video, folder))
    medians = {name: sorted(runs, key=lambda r: r["frames_per_second"])[len(runs) // 2] for name, runs in rounds.items()}
    figures |= medians
    if args.fer:
        theirs = medians["fer"]["frames_per_second"]
        figures["times_faster"] = {name: round(m["frames_per_second"] / theirs, 1) for name, m in medians.items() if name != "fer"}
    record(args.out, {"figures": figures, "load_after": os.getloadavg()[0]})


if __name__ == "__main__":
    main()
