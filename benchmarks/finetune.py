"""Fine-tuning on a few labelled photos per label; the rest is held out. Before and after, with the paired interval.

Every draw takes up to ``--per-label`` photos of each label at random, but no more than 60 % of them, so that rare labels
are measured too. Nothing is chosen on the held-out photos.

    python benchmarks/finetune.py --photos PHOTOS --yunet face_detection_yunet_2026may.onnx --out benchmarks/results/finetune.json
"""

from __future__ import annotations

import argparse
import csv
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from _record import record

from ferkit import FaceDetector

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", required=True, type=Path)
    parser.add_argument("--yunet")
    parser.add_argument("--weights")
    parser.add_argument("--per-label", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=1, help="so many draws, from seed 0")
    parser.add_argument("--publictest", help="fer2013.csv")
    parser.add_argument("--unfreeze", action="store_true")
    parser.add_argument("--out")
    args = parser.parse_args()

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
