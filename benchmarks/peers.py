"""Accuracy, cold start, time and size beside other libraries, each in an environment of its own, by one rule.

The rule: a library reads the file as its documentation says; of several faces the largest counts; a photo without a face counts as
wrong. Photos are those on which a majority of three readings agrees, and among them those on which all three do. On crops every
library's network sees the same pictures: FER2013's PublicTest faces (ferkit answers in its label set `fer2013` there, in its
default elsewhere), and the photos' faces as ferkit found and cut them.
The photos are close portraits that fill their frame, in which face-api's detector finds few faces; `photo_crops` shows its network.
Times are processor seconds of the whole process, so they hold on a busy machine too: `cold` is a process that reads one photo,
`each` what a further photo adds. They are no wall times; more threads do not make them smaller.

deepface, EmotiEffLib, py-feat, rmn and uniface fetch their weights while they start, and cannot be measured offline.

What each environment needs:

    python -m venv fer && fer/bin/pip install fer==25.10.3 "setuptools<81" "opencv-contrib-python<5"
    mkdir face-api && cd face-api && npm install --ignore-scripts @vladmandic/face-api@1.7.15 \\
        @tensorflow/tfjs@4.22.0 @tensorflow/tfjs-backend-wasm@4.22.0 jpeg-js@0.4.4
    mkdir human && cd human && npm install --ignore-scripts @vladmandic/human@3.3.6 \\
        @tensorflow/tfjs@4.22.0 @tensorflow/tfjs-backend-wasm@4.22.0 jpeg-js@0.4.4
    python -m venv ferkit && ferkit/bin/pip install THE-WHEEL

    python benchmarks/peers.py --photos PHOTOS --data fer2013.csv --environments FOLDER --out benchmarks/results/peers.json

FOLDER holds the four. tfjs runs on WASM: tfjs-node is faster, but downloads a binary while it is installed.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
from _record import record
from PIL import Image

from ferkit import Pipeline, load_image
from ferkit.evaluation.figures import wilson

HERE = Path(__file__).resolve().parent
LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
PINS = {
    "ferkit": [],
    "fer": ["fer==25.10.3", "setuptools<81", "opencv-contrib-python<5"],
    "face-api": ["@vladmandic/face-api@1.7.15", "@tensorflow/tfjs@4.22.0", "@tensorflow/tfjs-backend-wasm@4.22.0", "jpeg-js@0.4.4"],
    "human": ["@vladmandic/human@3.3.6", "@tensorflow/tfjs@4.22.0", "@tensorflow/tfjs-backend-wasm@4.22.0", "jpeg-js@0.4.4"],
}
RULE = "largest face; no face is wrong; processor seconds of the whole process; installed MB without the interpreter"
OFFLINE = ["deepface", "EmotiEffLib", "py-feat", "rmn", "uniface"]
# A package, and the environment that holds it.
PACKAGES = {"ferkit": "ferkit", "fer, Haar": "fer", "fer, MTCNN": "fer", "face-api": "face-api", "human": "human"}


def ask(package: str, mode: str, files: Sequence[Path], environments: Path) -> tuple[list[str | None], float]:
    """Return a package's answers for files, and the processor seconds of the process that gave them."""
    folder = environments / PACKAGES[package]
    python = folder / "bin" / "python"
    command = [str(python), str(HERE / "peers_worker.py")] if python.exists() else ["node", str(HERE / "peers_worker.cjs")]
    job = json.dumps({"package": package, "mode": mode, "files": [str(file) for file in files]})
    with tempfile.TemporaryFile("w+") as told, tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as complained:
        told.write(job)
        told.seek(0)
        child = subprocess.Popen(command, cwd=folder, stdin=told, stdout=said, stderr=complained)
        _, status, usage = os.wait4(child.pid, 0)  # this child's own times, whatever else runs
        child.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        complained.seek(0)
        if child.returncode:
            raise RuntimeError(f"{package} on {mode}: exit {child.returncode}\n{complained.read()[-2000:]}")
        return json.loads(said.read().strip().splitlines()[-1])["answers"], usage.ru_utime + usage.ru_stime


def scored(answers: Sequence[str | None], truth: Sequence[str]) -> dict[str, Any]:
    """Accuracy with Wilson's 95 % interval, and the mean recall of the labels that occur."""
    right = np.array([answer == label for answer, label in zip(answers, truth, strict=True)])
    recall = [right[np.array(truth) == label].mean() for label in sorted(set(truth))]
    return {
        "n": len(right),
        "accuracy": round(float(right.mean()), 4),
        "ci95": [round(bound, 4) for bound in wilson(int(right.sum()), len(right))],
        "mean_recall": round(float(np.mean(recall)), 4),
        "no_face": sum(answer is None for answer in answers),
    }


def agreed(photos: Path) -> list[tuple[Path, str, bool]]:
    """Return ``(file, label, all three agree)`` of every photo with a majority."""
    with (photos / "agreed.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["majority"] in LABELS]
    return [(photos / "images" / row["file"], row["majority"], row["all_three"] == "1") for row in rows]


def as_jpeg(photo: Path, folder: Path) -> Path:
    """Return the photo, or a JPEG of it where it is one by its name alone, which JavaScript's decoder refuses."""
    if photo.read_bytes()[:2] == b"\xff\xd8":
        return photo
    Image.fromarray(load_image(photo)).save(folder / photo.name, quality=100, subsampling=0)
    return folder / photo.name


def cut_faces(data: Path, limit: int, photos: Sequence[Path], folder: Path) -> tuple[list[Path], list[str], list[Path]]:
    """Write PublicTest's first faces and the photos' faces as files; return the files and the labels of the former."""
    faces, truth, cuts = [], [], []
    with data.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["Usage"] == "PublicTest" and len(faces) < limit:
                faces.append(folder / f"{len(faces)}.jpg")
                truth.append(LABELS[int(row["emotion"])])
                pixels = np.array(row["pixels"].split(), np.uint8).reshape(48, 48)
                Image.fromarray(pixels).convert("RGB").save(faces[-1], quality=100, subsampling=0)
    pipeline = Pipeline()
    for number, photo in enumerate(photos):
        image = load_image(photo)
        found = pipeline.detector.detect_rgb(image)
        crop = pipeline.crop(image, found[0]) if found else image
        cuts.append(folder / f"cut{number}.jpg")
        Image.fromarray(crop).save(cuts[-1], quality=100, subsampling=0)
    return faces, truth, cuts


def megabytes(folder: Path) -> float:
    """What the environment's packages occupy, without the interpreter."""
    packages = next(iter(folder.glob("lib/python*/site-packages")), folder)
    return round(sum(file.stat().st_size for file in packages.rglob("*") if file.is_file() and not file.is_symlink()) / 1e6, 1)


def measured(package: str, job: dict[str, Any], environments: Path) -> dict[str, Any]:
    photos, truth, clear, faces = job["photos"], job["truth"], np.array(job["clear"]), job["faces"]

    def on(answers: list[str | None]) -> dict[str, Any]:
        some = [answer for answer, keep in zip(answers, clear, strict=True) if keep]
        return {
            "majority": scored(answers, truth),
            "all_three": scored(some, [label for label, keep in zip(truth, clear, strict=True) if keep]),
        }

    _, cold = ask(package, "photos", photos[:1], environments)
    answers, all_of_them = ask(package, "photos", photos, environments)
    row = {
        "environment": PINS[PACKAGES[package]],
        "installed_mb": megabytes(environments / PACKAGES[package]),
        "processor_seconds": {"cold": round(cold, 2), "each": round((all_of_them - cold) / (len(photos) - 1), 4)},
        "photos": on(answers),
    }
    if package != "fer, MTCNN":  # the same network as with Haar
        row["publictest_crops"] = scored(ask(package, "fer2013", faces, environments)[0], job["face_truth"])
        row["photo_crops"] = on(ask(package, "crops", job["cuts"], environments)[0])
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", required=True, type=Path)
    parser.add_argument("--data", required=True, type=Path, help="fer2013.csv")
    parser.add_argument("--environments", required=True, type=Path)
    parser.add_argument("--limit", type=int, default=2000, help="faces of PublicTest")
    parser.add_argument("--jobs", type=int, default=1, help="packages measured at once")
    parser.add_argument("--packages", nargs="+", choices=list(PACKAGES), default=list(PACKAGES), help="the others' rows in --out stay")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()

    environments, chosen = args.environments.resolve(), agreed(args.photos.resolve())
    with tempfile.TemporaryDirectory() as name:
        photos, truth, clear = (list(column) for column in zip(*chosen, strict=True))
        photos = [as_jpeg(photo, Path(name)) for photo in photos]
        faces, face_truth, cuts = cut_faces(args.data, args.limit, photos, Path(name))
        job = {"photos": photos, "truth": truth, "clear": clear, "faces": faces, "face_truth": face_truth, "cuts": cuts}
        rows = json.loads(args.out.read_text(encoding="utf-8"))["peers"] if args.out and args.out.exists() else {}
        with ThreadPoolExecutor(args.jobs) as pool:
            found = {pool.submit(measured, package, job, environments): package for package in args.packages}
            failures = []
            for done in as_completed(found):
                if failure := done.exception():
                    failures.append(str(failure))
                    continue
                rows[found[done]] = done.result()
                rows = {package: rows[package] for package in PACKAGES if package in rows}
                record(str(args.out) if args.out else None, {"rule": RULE, "not_measurable_offline": OFFLINE, "peers": rows})
    if failures:
        raise SystemExit("\n".join(failures))


if __name__ == "__main__":
    main()
