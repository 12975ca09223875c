"""One pipeline used from several threads and from asyncio: photos a second, and CPU milliseconds a photo, beside one thread.

    python benchmarks/concurrent_pipeline.py [--images 64] [--out benchmarks/results/concurrent_pipeline.json]

Every network works with one OpenCV thread (FERKIT_THREADS=1), so that what is gained is the callers' doing. "One lock" is the same pipeline
behind a lock of the benchmark's own, as networks were shared before.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

os.environ["FERKIT_THREADS"] = "1"  # before anything reads it

import numpy as np
from _record import record
from skimage import data

from ferkit import Pipeline


def measured(action: Callable[[], Any], images: int) -> dict[str, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    action()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"photos_per_s": round(images / wall, 2), "cpu_ms_per_photo": round(1e3 * cpu / images, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--runtime", default="opencv")
    parser.add_argument("--out")
    arguments = parser.parse_args()
    pipeline, lock = Pipeline(runtime=arguments.runtime), threading.Lock()
    images = [np.roll(data.astronaut(), number, axis=1) for number in range(arguments.images)]
    for _ in range(3):
        pipeline(images[0])

    def locked(image: np.ndarray) -> Any:
        with lock:
            return pipeline(image)

    def threads(count: int, call: Callable[[np.ndarray], Any]) -> None:
        with ThreadPoolExecutor(count) as pool:
            list(pool.map(call, images))

    async def tasks() -> None:
        await asyncio.gather(*(asyncio.to_thread(pipeline, image) for image in images))

    figures: dict[str, Any] = {"images": arguments.images, "runtime": arguments.runtime}
    figures["a loop"] = measured(lambda: [pipeline(image) for image in images], arguments.images)
    for count in (2, 4, 8):
        figures[f"{count} threads"] = measured(lambda count=count: threads(count, pipeline), arguments.images)
    figures["8 threads, one lock"] = measured(lambda: threads(8, locked), arguments.images)
    figures["asyncio.to_thread"] = measured(lambda: asyncio.run(tasks()), arguments.images)
    record(arguments.out, figures)


if __name__ == "__main__":
    main()
