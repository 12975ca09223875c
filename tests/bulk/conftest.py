"""Pictures and drivers for the tests of ferkit.bulk."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ..helpers.jobs import Driver

pytest.importorskip("pyarrow", reason='needs the extra "batch"')


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """240 small JPEGs in four folders."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for number in range(240):
        (folder / f"d{number % 4}").mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (24, 32, 3), np.uint8)).save(folder / f"d{number % 4}" / f"{number:04d}.jpg")
    return folder


@pytest.fixture
def drivers() -> Iterator[Callable[..., Driver]]:
    """Start drivers; at the end none of them, nor a worker of theirs, is left."""
    started: list[Driver] = []

    def start(*arguments: object) -> Driver:
        started.append(Driver(*arguments))
        return started[-1]

    yield start
    for driver in started:
        if driver.process.poll() is None:
            os.killpg(driver.process.pid, signal.SIGKILL)
        driver.process.communicate(timeout=30)  # an orphan that holds its pipes is a failure, not a wait
