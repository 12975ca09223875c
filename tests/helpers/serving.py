"""Helpers of the service's tests: data beside the checkout, pictures, and a real service in a process of its own."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ferkit.train.common.group import free_port
from ferkit.weights.releases import DEFAULT_WEIGHTS
from ferkit.weights.store import bundled_folder
from tests.helpers.paths import SHARED
from tests.helpers.waiting import until

WEIGHTS = bundled_folder() / DEFAULT_WEIGHTS / "model.onnx"


def photo(name: str) -> Path:
    """Return one of the shared photos, or skip."""
    path = SHARED / "photos" / "images" / name
    if not path.is_file():
        pytest.skip(f"needs ../shared/photos/images/{name}")
    return path


def astronaut() -> Path:
    """Return the page's own example, a public-domain portrait by NASA: one happy face."""
    import ferkit

    return Path(ferkit.__file__).parent / "serve" / "static" / "astronaut.jpg"


def portrait(width: int = 640, height: int = 480, name: str = "Angelina_Jolie_0005.jpg") -> Image.Image:
    """Return a shared photo in the middle of a larger picture, as a webcam would see it."""
    side = round(height * 0.8)
    face = Image.open(photo(name)).convert("RGB").resize((side, side))
    picture = Image.new("RGB", (width, height), (126, 138, 150))
    picture.paste(face, ((width - side) // 2, (height - side) // 2))
    return picture


def encoded(picture: Image.Image, kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()


def noise(width: int = 64, height: int = 48, kind: str = "PNG", seed: int = 0) -> bytes:
    """Return an encoded picture without faces."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return encoded(Image.fromarray(pixels), kind)


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except OSError:
        return False
    return True


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.status == 200
    except (urllib.error.URLError, OSError):
        return False


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until(lambda: answers(url) or process.poll() is not None, f"an answer from {url}; its log is {log}")
    assert process.poll() is None, f"the service ended; its log says:\n{log.read_text(errors='replace')}"


@contextmanager
def running(**settings: Any) -> Iterator[Any]:
    """The service in this process, with these settings, behind a ``fastapi.testclient.TestClient``; its own errors are answers."""
    from fastapi.testclient import TestClient

    from ferkit.serve.app import create_app
    from ferkit.serve.settings import Settings

    with TestClient(create_app(Settings(**settings)), raise_server_exceptions=False) as client:
        yield client


class Coming:
    """A body on its way."""

    def __init__(self, *, slow: bool = False) -> None:
        self.slow, self.given_up = slow, False

    def give_up(self) -> None:
        self.given_up = True


class Service:
    """``ferkit serve`` with some options, until the ``with`` block ends."""

    def __init__(self, folder: Path, *options: str, **environment: str) -> None:
        self.port = free_port("127.0.0.1")
        self.url = f"http://127.0.0.1:{self.port}"
        self.log, self.said = folder / f"serve-{self.port}.log", folder / f"serve-{self.port}.out"
        self.command = [sys.executable, "-m", "ferkit", "serve", "--port", str(self.port), *options]
        self._environment = {**os.environ, **environment}

    def __enter__(self) -> Service:
        with self.log.open("wb") as log, self.said.open("wb") as said:
            self.process = subprocess.Popen(self.command, stdout=said, stderr=log, env=self._environment)
        wait_for(f"{self.url}/readyz", self.process, self.log)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(40)  # the supervisor may be waiting for a worker that was just killed
        except subprocess.TimeoutExpired:
            for pid in [*self.children(), self.process.pid]:
                os.kill(pid, signal.SIGKILL)
            self.process.wait(5)
            raise

    def children(self) -> list[int]:
        """Return the pids of the worker processes (the resource tracker of multiprocessing is none)."""
        found = []
        for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split():
            if b"resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(int(pid))
        return found
