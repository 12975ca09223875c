"""What ``ferkit batch`` costs: against one process, on nothing (overhead), in memory, and at planning. CPU seconds, since machines are busy.

python benchmarks/batch.py FOLDER [--images 1000] [--plan 2000000] [--ray]
python benchmarks/batch.py FOLDER --sizes [--images 40]

FOLDER is searched for photos, which are copied, smaller and at 12 megapixels, into a temporary folder. --ray measures the overhead of a
cluster too: a head and two nodes on 127.0.0.x, which are up before; what their processes use meanwhile counts. --sizes measures nothing
but what a picture of each size costs one worker, without its start: what docs/batch.md reckons with.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from PIL import Image

import ferkit
from ferkit.image_files import image_files


class Nothing:
    """A pipeline that answers at once, that there is no face."""

    classifier = SimpleNamespace(labels=("happy", "sad"), name="nothing")

    def __call__(self, data: bytes, keep_pixels: bool = False, max_side: int | None = None) -> ferkit.Result:  # noqa: ARG002
        return ferkit.Result((), 1, 1)


def measured(action: Callable[[], Any]) -> tuple[float, float, float]:
    """Return an action's wall seconds, its CPU seconds with those of its processes, and the largest worker's peak in MB."""
    peak, over = [0.0], threading.Event()

    def watch() -> None:
        while not over.wait(0.1):
            peak[0] = max([peak[0], *workers_mb()])

    watcher = threading.Thread(target=watch)
    watcher.start()
    wall, before = time.perf_counter(), cpu()
    action()
    out = time.perf_counter() - wall, cpu() - before
    over.set()
    watcher.join()
    return *out, peak[0]


def cpu() -> float:
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def workers_mb() -> Iterator[float]:
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdecimal() and int((folder / "stat").read_text().rpartition(")")[2].split()[1]) == os.getpid():
                lines = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
                yield int(lines["VmHWM"].split()[0]) / 1000
        except (OSError, KeyError, ValueError):
            continue


def copies(photos: list[Path], folder: Path, count: int, side: int) -> Path:
    """Write so many photos whose longer side is ``side``."""
    folder.mkdir()
    for number, path in enumerate(islice(cycle(photos), count)):
        with Image.open(path) as picture:
            factor = side / max(picture.size)
            size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
            picture.convert("RGB").resize(size).save(folder / f"{number:06d}.jpg", quality=88)
    return folder


def one_process(folder: Path) -> None:
    """One process with one thread, as a program without ferkit batch would do it."""
    code = (
        "import sys, cv2, ferkit; from ferkit.image_files import image_files; from pathlib import Path; p = ferkit.Pipeline(); cv2.setNumThreads(1);"
        "print(sum(len(r) for r in p.stream(image_files(Path(sys.argv[1])))))"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(folder)], check=True, stdout=subprocess.DEVNULL, env=os.environ | {"FERKIT_THREADS": "1"}
    )


def line(what: str, n: int, cost: tuple[float, float, float]) -> None:
    print(f"| {what} | {n} | {cost[0]:.1f} | {cost[1]:.1f} | {1000 * cost[1] / n:.1f} | {cost[2]:.0f} |", flush=True)


def sizes(photos: list[Path], root: Path, n: int) -> None:
    """Measure one worker on pictures of each size, less what it takes to start and to look at one."""
    print("| longer side | n | CPU ms each |\n|---|---|---|")
    for side, scale in ((480, None), (1280, None), (1920, None), (4032, None), (4032, 1280)):
        folder = root / str(side)
        if not folder.exists():
            copies(photos, folder, n + 1, side)
        some = sorted(folder.iterdir())
        spent = []
        for these in (some[:1], some):
            job = partial(ferkit.batch, these, root / f"{side}-{scale}-{len(these)}", workers=1, max_side=scale)
            spent.append(measured(job)[1])
        alone, whole = spent
        print(f"| {side}{f', max_side {scale}' if scale else ''} | {n} | {1000 * (whole - alone) / n:.0f} |", flush=True)


def planning(keys: int, folder: Path) -> None:
    """Plan names that need not be there, in a process of its own, whose peak is the plan's."""
    code = (
        "import sys, time, resource; from ferkit.bulk.plan import plan, write; from ferkit.bulk.storage import Place; from ferkit.bulk.listing import Listed; from ferkit.bulk.options import Options\n"
        "import pyarrow.parquet\n"
        "n = int(sys.argv[1]); base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; t = time.process_time()\n"
        "made = plan((Listed('images', f's3://bucket/{i % 997:03d}/{i:09d}.jpg', 20000 + i % 999, 1) for i in range(n)), Options())\n"
        "write(Place(sys.argv[2]), made)\n"
        "t = time.process_time() - t\n"
        "print(f'| plan of {n:,} names, {made.shards} shards | | | {t:.1f} | | {(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) / 1000:.0f} |')"
    )
    subprocess.run([sys.executable, "-c", code, str(keys), str(folder / "plan")], check=True)


def ray_overhead(folder: Path, output: Path, n: int) -> None:
    """Measure the no-op job on a cluster: this process, and everything that the cluster's processes used meanwhile."""
    root = Path(__file__).resolve().parents[1]
    sys.path.append(str(root))
    from tests.helpers.clusters import ENVIRONMENT, Cluster

    from ferkit.ray_clusters import connected

    os.environ |= ENVIRONMENT
    with Cluster(2) as cluster:
        before = used_by(cluster.processes())

        def job() -> None:
            # The job then leaves it open: once it is closed Ray's workers are gone, and what they used with them.
            connected(cluster.address)
            ferkit.batch(folder, output, pipeline="batch:Nothing", address=cluster.address)

        wall, cpu_s, peak = measured(job)
        line("nothing at all, Ray, two nodes", n, (wall, cpu_s + used_by(cluster.processes()) - before, peak))
        connected(cluster.address)[0].shutdown()


def used_by(processes: list[int]) -> float:
    """Return the CPU seconds of processes, of those that they started, and of those of them that ended."""
    ticks, parents = {}, {}
    for folder in Path("/proc").iterdir():
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            ticks[int(folder.name)], parents[int(folder.name)] = sum(map(int, fields[11:15])), int(fields[1])
        except (OSError, ValueError):
            continue
    mine = set(processes)
    while more := {pid for pid, parent in parents.items() if parent in mine} - mine:
        mine |= more
    return sum(ticks.get(pid, 0) for pid in mine) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--plan", type=int, default=2_000_000)
    parser.add_argument("--ray", action="store_true")
    parser.add_argument("--sizes", action="store_true")
    arguments = parser.parse_args()
    photos = image_files(arguments.folder)
    here = Path(__file__).resolve().parent
    sys.path.insert(0, str(here))  # where the workers find Nothing
    if arguments.sizes:
        with tempfile.TemporaryDirectory() as name:
            sizes(photos, Path(name), arguments.images)
        return
    print("| what | n | wall s | CPU s | CPU ms each | largest worker, MB |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        root, n = Path(name), arguments.images
        web, large = copies(photos, root / "web", n, 400), copies(photos, root / "large", 40, 4032)
        one = measured(lambda: one_process(web))
        line("one process, one thread", n, one)
        line("batch, one worker", n, measured(lambda: ferkit.batch(web, root / "one", workers=1, shard_images=100)))
        two = measured(lambda: ferkit.batch(web, root / "two", workers=2, shard_images=100))
        line("batch, two workers", n, two)
        line("12 megapixels, one worker", 40, measured(lambda: ferkit.batch(large, root / "l1", workers=1)))
        line("12 megapixels, --max-side 1280", 40, measured(lambda: ferkit.batch(large, root / "l2", workers=1, max_side=1280)))
        many = root / "many"
        many.mkdir()
        for number in range(3000):
            (many / f"{number}.jpg").write_bytes(b"nothing")
        line("nothing at all, two workers", 3000, measured(lambda: ferkit.batch(many, root / "n", workers=2, pipeline="batch:Nothing")))
        if arguments.ray:
            ray_overhead(many, root / "r", 3000)
        planning(arguments.plan, root)
    print(f"two workers' wall time over one process's: {two[0] / one[0]:.2f}")


if __name__ == "__main__":
    main()
