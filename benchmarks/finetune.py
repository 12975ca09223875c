"""Fine-tuning on a few labelled photos per label; the rest is held out. Before and after, with the paired interval.

Every draw takes up to ``--per-label`` photos of each label at random, but no more than 60 % of them, so that rare labels
are measured too. Nothing is chosen on the held-out photos.

    python benchmarks/finetune.py --photos PHOTOS --yunet face_detection_yunet_2026may.onnx --out benchmarks/results/finetune.json

With ``--faces`` it measures work instead: ready crops from a csv's Training split, by today's code and an earlier commit's in turn, each in a
process of its own. CPU seconds, since other work on the machine hardly changes them; and when the first line was said.

    python benchmarks/finetune.py --faces 2000 --data fer2013.csv --earlier d37bcb9 --rounds 2 --out benchmarks/results/finetune_work.json
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from _earlier import ROOT, source_of
from _record import record
from PIL import Image

from ferkit import FaceDetector
from ferkit.data import read_faces

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def build(photos: Path, out: Path, per_label: int, seed: int) -> None:
    """Link the photos into ``out/train/<label>`` and ``out/test/<label>``."""
    with (photos / "labels.csv").open() as file:
        rows = [(row["file"], row["label"]) for row in csv.DictReader(file)]
    rng = np.random.default_rng(seed)
    for label in sorted({label for _, label in rows}):
        files = [name for name, own in rows if own == label]
        order = rng.permutation(len(files))
        taken = min(per_label, round(0.6 * len(files)))
        for place, number in enumerate(order):
            folder = out / ("train" if place < taken else "test") / label
            folder.mkdir(parents=True, exist_ok=True)
            (folder / files[number]).symlink_to((photos / "images" / files[number]).resolve())


_RUN = """
import json, resource, sys, time
begun = time.monotonic()
from ferkit import FaceDetector
from ferkit.train import finetune
first = []
report = finetune(sys.argv[1], sys.argv[2], detector=FaceDetector("none"), log=lambda line: first.append(time.monotonic() - begun))
used = resource.getrusage(resource.RUSAGE_SELF)
row = {"cpu_seconds": round(used.ru_utime + used.ru_stime, 1), "seconds": round(time.monotonic() - begun, 1), "first_line_seconds": round(first[0], 1)}
print(json.dumps({**row, "held_out": {key: report["held_out"][key] for key in ("accuracy", "n", "ece")}, "cross_validation": report["cross_validation"]["loss"]}))
"""


def write_crops(data: Path, count: int, out: Path) -> None:
    """Write so many Training faces of a csv, drawn at random, one folder per label."""
    faces = read_faces(data, "Training")
    for row in np.random.default_rng(0).permutation(len(faces))[:count]:
        folder = out / faces.label_set[faces.labels[row]]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(faces.images[row]).save(folder / f"{row}.png")


def work(data: Path, count: int, earlier: str, rounds: int, out: str | None) -> None:
    """Run both in turn and record what each took."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_crops(data, count, folder / "faces")
        sources = {earlier: source_of(earlier, folder / "earlier"), "today": ROOT / "src"}
        rows: dict[str, list[Any]] = {name: [] for name in sources}
        for number in range(rounds):
            for name, source in sources.items():
                command = [sys.executable, "-c", _RUN, str(folder / "faces"), str(folder / f"{name}-{number}")]
                run = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(source)}, check=True, capture_output=True, text=True)
                rows[name].append(json.loads(run.stdout.splitlines()[-1]))
    cpu = {name: float(np.median([row["cpu_seconds"] for row in own])) for name, own in rows.items()}
    record(out, {"faces": count, "share_of_cpu_seconds": cpu["today"] / cpu[earlier], "runs": rows})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--faces", type=int, help="measure work on so many crops instead")
    parser.add_argument("--data", type=Path, help="fer2013.csv, for --faces")
    parser.add_argument("--earlier", default="d37bcb9")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--yunet")
    parser.add_argument("--weights")
    parser.add_argument("--per-label", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=1, help="so many draws, from seed 0")
    parser.add_argument("--publictest", help="fer2013.csv")
    parser.add_argument("--unfreeze", action="store_true")
    parser.add_argument("--out")
    args = parser.parse_args()
    if args.faces is not None:
        work(args.data, args.faces, args.earlier, args.rounds, args.out)
        return

    from ferkit.train import finetune

    draws: list[dict[str, Any]] = []
    for seed in range(args.seeds):
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            build(args.photos, folder / "data", args.per_label, seed)
            begun, busy = time.monotonic(), time.process_time()
            detector = FaceDetector("yunet", model=args.yunet) if args.yunet else FaceDetector()
            report = finetune(
                folder / "data", folder / "tuned", args.weights, detector=detector, publictest=args.publictest, unfreeze=args.unfreeze
            )
            seconds, busy = time.monotonic() - begun, time.process_time() - busy
        keys = ("training", "held_out_faces", "start", "penalty", "cross_validation", "temperature", "unfrozen", "before", "paired")
        row = {"seed": seed, "seconds": round(seconds, 1), "cpu_seconds": round(busy, 1), **{key: report[key] for key in keys}}
        row["after"] = {key: report["held_out"][key] for key in ("accuracy", "n", "ci95", "mean_recall", "ece")}
        row |= {"publictest": report["publictest"], "skipped": [Path(source).name for source, _ in report["skipped"]]}
        draws.append(row)
    gains = [draw["paired"]["difference"] for draw in draws]
    record(args.out, {"gain_mean": float(np.mean(gains)), "gain_min": min(gains), "gain_max": max(gains), "draws": draws})


if __name__ == "__main__":
    main()
