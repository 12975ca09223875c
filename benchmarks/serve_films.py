"""How much memory the service takes over twenty films, one after the other, and how much the process that reads one.

Starts `ferkit serve` on loopback, sends films of three people, composed of the page's example, and reads memory from /proc (Linux). One more
film is as large as the service takes. The result goes under "films" of results/serve.json:

    python benchmarks/serve_films.py --into benchmarks/results/serve.json
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

from _record import processor, versions

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.helpers.film_of_three import film_of_three
from tests.helpers.serving import Service

LARGE = (3840, 2160)  # of at most 9 megapixels


def asked(url: str, body: bytes | None = None) -> Any:
    with urllib.request.urlopen(url, body, timeout=120) as answer:
        return json.load(answer)


def memory_mb(pid: int, field: str) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return round(int(status.partition(f"{field}:")[2].split()[0]) / 1024, 1)


def read(url: str, film: bytes, pid: int) -> tuple[dict[str, Any], float]:
    """Have one film read; return its job and the peak of the process that read it, in MB."""
    peak, ended = 0.0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not ended.wait(0.05):
            for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split():
                try:
                    peak = max(peak, memory_mb(int(child), "VmHWM"))
                except (OSError, IndexError):
                    continue  # it has just ended

    watcher = threading.Thread(target=watch)
    watcher.start()
    job = asked(f"{url}/v1/video", film)
    while job["state"] not in ("done", "failed"):
        time.sleep(0.2)
        job = asked(f"{url}/v1/jobs/{job['id']}")
    ended.set()
    watcher.join()
    if job["state"] == "failed":
        raise SystemExit(f"a film failed: {job['error']}")
    return job, peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=3, help="of each film")
    parser.add_argument("--into", type=Path, help="A results file whose entry 'films' is replaced")
    args = parser.parse_args()
    os.environ["FERKIT_OFFLINE"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        small = film_of_three(Path(folder) / "small.mp4", args.seconds).read_bytes()
        large = film_of_three(Path(folder) / "large.mp4", args.seconds, size=LARGE).read_bytes()
    with tempfile.TemporaryDirectory() as folder, Service(Path(folder)) as service:
        url, pid = service.url, service.process.pid
        before = memory_mb(pid, "VmRSS")
        seen, peaks = [], []
        for _ in range(args.films):
            job, peak = read(url, small, pid)
            seen.append(memory_mb(pid, "VmRSS"))
            peaks.append(peak)
        assert len(job["people"]) == 3
        _, most = read(url, large, pid)
    films = {
        "command": "python benchmarks/serve_films.py --into benchmarks/results/serve.json",
        "machine": {"processor": processor(), "versions": versions()},
        "films": args.films,
        "seconds": args.seconds,
        "service_mb_before": before,
        "service_mb_after_each": seen,
        "peak_mb_of_their_processes": max(peaks),
        "large": {"size": "x".join(map(str, LARGE)), "peak_mb_of_its_process": most},
    }
    print(json.dumps(films, indent=1))
    if args.into:
        results = json.loads(args.into.read_text(encoding="utf-8"))
        args.into.write_text(json.dumps({**results, "films": films}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
