"""What every benchmark writes beside its figures: the machine, the versions, the command."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

PACKAGES = ("ferkit", "numpy", "opencv-python-headless", "onnxruntime", "pillow", "keras", "tensorflow")


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def record(out: str | None, figures: dict[str, Any]) -> None:
    """Print the figures as JSON and, with ``out``, write them there."""
    command = " ".join(["python", "benchmarks/" + Path(sys.argv[0]).name, *(Path(a).name if os.sep in a else a for a in sys.argv[1:])])
    machine = {"processor": processor(), "cores": os.cpu_count(), "python": platform.python_version(), "system": platform.system()}
    text = json.dumps({"command": command, "machine": machine, "versions": versions(), **figures}, indent=1, ensure_ascii=False)
    print(text)
    if out:
        Path(out).write_text(text + "\n", encoding="utf-8")
