"""Batch jobs for the tests: what they left, and drivers as processes of their own."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

QUICK = "tests.bulk.models:Quick"
SLOW = "tests.bulk.models:Slow"


def digests(output: Path) -> dict[str, str]:
    """Return what a reader of the folder sees: each file's SHA-256."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in output.iterdir() if path.is_file()}


def rows_of(output: Path) -> list[dict[str, Any]]:
    import pyarrow.dataset as ds

    rows: list[dict[str, Any]] = ds.dataset(output).to_table().to_pylist()
    return rows


def receipts(output: Path) -> list[dict[str, Any]]:
    """Return who did which shard."""
    return [one for path in sorted((output / "_ferkit" / "receipts").iterdir()) for one in json.loads(path.read_text())]


class Driver:
    """``ferkit batch`` as a process of its own, in a group of its own."""

    def __init__(self, *arguments: object) -> None:
        command = [sys.executable, "-m", "ferkit", "batch", *map(str, arguments), "--format", "json"]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
        )

    def children(self) -> list[int]:
        """Return the process ids of the workers."""
        return [pid for pid in processes() if parent(pid) == self.process.pid]

    def wait_for(self, condition: Callable[[], Any], seconds: float = 180) -> Any:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if value := condition():
                return value
            if self.process.poll() is not None:
                raise AssertionError(f"it ended with {self.process.returncode}: {self.process.communicate()}")
            time.sleep(0.02)
        raise AssertionError("waited in vain")

    def end(self, seconds: float = 300) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=seconds)
        return self.process.returncode, out, err


def processes() -> list[int]:
    return [int(name.name) for name in Path("/proc").iterdir() if name.name.isdecimal()]


def parent(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
