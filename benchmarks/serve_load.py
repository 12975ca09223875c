"""Load `ferkit serve` on this machine, and put what it does into a results file, or print it, as JSON.

    python benchmarks/serve_load.py --into benchmarks/results/serve.json               # eight minutes
    python benchmarks/serve_load.py --only batching --into benchmarks/results/serve.json     # three minutes more
    python docs/service.py                                                             # the tables of docs/serve.md from that file

Everything runs against 127.0.0.1, the clients share the CPUs with the service, and each figure says for how long and with
how many requests it was measured. Variants are interleaved, round by round, so that a noisy machine disturbs all alike.
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import io
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import skimage.data
from PIL import Image

from ferkit.serve.settings import default_lanes

DETECTORS = ("ferkit", "none")
SIZES = ["640x480", "1152x864", "4000x3000", "8064x6048"]
_ENOUGH = 500  # random arrivals


@dataclass
class Tally:
    """What became of some requests; milliseconds of those answered 200."""

    ms: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def add(self, other: Tally) -> None:
        self.ms += other.ms
        self.statuses += other.statuses
        self.seconds += other.seconds

    def summary(self) -> dict[str, Any]:
        out: dict[str, Any] = {"seconds": round(self.seconds, 1), "statuses": dict(self.statuses)}
        if self.ms:
            p50, p90, p99 = np.percentile(self.ms, [50, 90, 99])
            out |= {"per_second": round(len(self.ms) / self.seconds, 2)}
            out |= {
                "p50_ms": round(float(p50), 1),
                "p90_ms": round(float(p90), 1),
                "p99_ms": round(float(p99), 1),
                "max_ms": round(max(self.ms), 1),
            }
        return out


class Client:
    """One keep-alive connection that posts one picture after another."""

    def __init__(self, port: int, body: bytes) -> None:
        head = f"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n"
        self._port, self._request = port, head.encode() + body
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def post(self, tally: Tally, timeout: float = 30) -> int:
        """Send one request; return its status, 0 for a lost connection, -1 for a timeout."""
        start = time.perf_counter()
        try:
            status = await asyncio.wait_for(self._post(), timeout)
        except TimeoutError:
            status = -1
        except (OSError, asyncio.IncompleteReadError):
            status = 0
        if status < 1:
            self.close()
        if status == 200:
            tally.ms.append((time.perf_counter() - start) * 1000)
        tally.statuses[{0: "lost", -1: "timeout"}.get(status, str(status))] += 1
        return status

    async def _post(self) -> int:
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        assert self._reader is not None
        self._writer.write(self._request)
        await self._writer.drain()
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        length = next(int(line.split(":")[1]) for line in head.split("\r\n") if line.lower().startswith("content-length"))
        await self._reader.readexactly(length)
        if "connection: close" in head.lower():
            self.close()
        return int(head.split()[1])

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None


async def closed_loop(port: int, body: bytes, clients: int, seconds: float) -> Tally:
    """Every client sends its next picture when the last is answered; a refused one waits a quarter second."""
    tally = Tally()
    start = time.perf_counter()

    async def run() -> None:
        client = Client(port, body)
        while time.perf_counter() - start < seconds:
            if await client.post(tally) != 200:
                await asyncio.sleep(0.25)
        client.close()

    await asyncio.gather(*(run() for _ in range(clients)))
    tally.seconds = time.perf_counter() - start
    return tally


def arrivals(rate: float, seconds: float, *, random: bool) -> list[float]:
    """Return when pictures arrive, in seconds: evenly, or at random (Poisson), always the same ones."""
    rng = np.random.default_rng(0)
    times, due = [], 0.0
    while due < seconds:
        times.append(due)
        due += rng.exponential(1 / rate) if random else 1 / rate
    return times


def queue_ms(times: list[float], lanes: int, service: float) -> list[float]:
    """Return the milliseconds from each arrival to its answer where ``lanes`` serve in turn and every picture takes ``service`` seconds."""
    free, waits = [0.0] * lanes, []
    for arrival in times:
        begun = max(arrival, heapq.heappop(free))
        heapq.heappush(free, begun + service)
        waits.append((begun + service - arrival) * 1000)
    return waits


async def open_loop(port: int, body: bytes, rate: float, seconds: float, *, random: bool) -> Tally:
    """Pictures arrive at a rate, evenly or at random (Poisson), whether or not earlier ones are answered."""
    tally = Tally()
    idle: list[Client] = []
    pending = set()

    async def one() -> None:
        client = idle.pop() if idle else Client(port, body)
        await client.post(tally)
        idle.append(client)

    start = time.perf_counter()
    for due in arrivals(rate, seconds, random=random):
        await asyncio.sleep(max(0.0, due - (time.perf_counter() - start)))
        task = asyncio.create_task(one())
        pending.add(task)
        task.add_done_callback(pending.discard)
    await asyncio.gather(*pending)
    tally.seconds = time.perf_counter() - start
    for client in idle:
        client.close()
    return tally


class Service:
    def __init__(self, *options: str) -> None:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = int(s.getsockname()[1])
        self.options = options

    def __enter__(self) -> Service:
        command = [sys.executable, "-m", "ferkit", "serve", "--port", str(self.port), *self.options]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(300):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5)
            except OSError:
                time.sleep(0.1)
            else:
                return self
        raise SystemExit(f"ferkit serve {' '.join(self.options)} did not become ready")

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)

    def rss(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return round(next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024, 1)


def camera_picture(photo: Path | None, size: tuple[int, int] = (640, 480)) -> bytes:
    """A JPEG of some size with the photo's face in its middle, as a camera sees it; None is scikit-image's astronaut."""
    side = round(size[1] * 0.8)
    picture = Image.new("RGB", size, (126, 138, 150))
    portrait = Image.fromarray(skimage.data.astronaut()) if photo is None else Image.open(photo).convert("RGB")
    picture.paste(portrait.resize((side, side)), ((size[0] - side) // 2, (size[1] - side) // 2))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def batching(variants: dict[str, tuple[str, ...]], body: bytes, clients: list[int], seconds: float, rounds: int) -> dict[str, Any]:
    """Measure some variants of the service at several numbers of clients, interleaved."""
    tallies = {name: {n: Tally() for n in clients} for name in variants}
    for turn in range(rounds):
        order = list(variants) if turn % 2 == 0 else list(variants)[::-1]
        for name in order:
            with Service(*variants[name]) as service:
                asyncio.run(closed_loop(service.port, body, 2, 1))
                for n in clients:
                    tallies[name][n].add(asyncio.run(closed_loop(service.port, body, n, seconds)))
    return {name: {str(n): t.summary() for n, t in by_clients.items()} for name, by_clients in tallies.items()}


def overload_and_memory(options: tuple[str, ...], body: bytes, seconds: float) -> dict[str, Any]:
    """1, 8 and 64 clients at one service, half its load, and its memory before and after."""
    out: dict[str, Any] = {}
    with Service(*options) as service:
        asyncio.run(closed_loop(service.port, body, 8, 3))
        out["rss_mb_before"] = service.rss()
        best = 0.0
        for n in (1, 8, 64):
            tally = asyncio.run(closed_loop(service.port, body, n, seconds))
            out[f"clients_{n}"] = tally.summary()
            best = max(best, len(tally.ms) / tally.seconds)
        out["rss_mb_loaded"] = service.rss()
        out["half_load_per_second"] = round(best / 2, 2)
        out["half_load_even"] = asyncio.run(open_loop(service.port, body, best / 2, 2 * seconds, random=False)).summary()
        out["half_load_random"] = asyncio.run(open_loop(service.port, body, best / 2, 2 * seconds, random=True)).summary()
        time.sleep(2)
        out["rss_mb_after"] = service.rss()
    return out


def capacities(photo: Path | None, sizes: list[str], runtimes: list[str], lanes: list[str], seconds: float) -> dict[str, Any]:
    """Each engine, and each number of lanes, with pictures of each size: what eight clients get out of it, and the wait when half as much arrives."""
    out: dict[str, Any] = {}
    variants = {runtime: ("--runtime", runtime) for runtime in runtimes}
    variants |= {f"{runtime}, {n} lanes": ("--runtime", runtime, "--lanes", n) for n in lanes for runtime in runtimes}
    for size in sizes:
        width, height = size.split("x")
        body = camera_picture(photo, (int(width), int(height)))
        for name, options in variants.items():
            served_by = int(options[-1]) if "--lanes" in options else default_lanes(1)
            row = capacity(options, body, served_by, seconds)
            out.setdefault(size, {})[name] = row
            print(size, name, json.dumps(row), file=sys.stderr, flush=True)
    return out


def capacity(options: tuple[str, ...], body: bytes, lanes: int, seconds: float) -> dict[str, Any]:
    """Measure one variant with one picture. A 99th percentile needs hundreds of random arrivals, so those take longer."""
    with Service(*options) as service:
        asyncio.run(closed_loop(service.port, body, 8, 3))
        full = asyncio.run(closed_loop(service.port, body, 8, seconds))
        rate = len(full.ms) / full.seconds / 2
        row = {"bytes": len(body), "clients_8": full.summary(), "half_load_per_second": round(rate, 2)}
        row["half_load_even"] = asyncio.run(open_loop(service.port, body, rate, seconds, random=False)).summary()
        longer = min(5 * seconds, max(2 * seconds, _ENOUGH / rate))
        row["half_load_random"] = asyncio.run(open_loop(service.port, body, rate, longer, random=True)).summary()
        # What lanes would make of the same arrivals in which every picture takes as long as at capacity.
        ideal = queue_ms(arrivals(rate, longer, random=True), lanes, lanes / (2 * rate))
        row["half_load_random"]["p99_ms_by_the_queue"] = round(float(np.percentile(ideal, 99)), 1)
        row["rss_mb"] = service.rss()
    return row


WRK = """
local file = io.open(os.getenv("FERKIT_BODY"), "rb")
wrk.method, wrk.body = "POST", file:read("*a")
wrk.headers["Content-Type"] = "image/jpeg"
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('{"answers": %d, "seconds": %.2f, "p50_ms": %.1f, "p99_ms": %.1f, "refused": %d, "timeouts": %d, "lost": %d}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    e.status, e.timeout, e.connect + e.read + e.write))
end
"""


def wrk(options: tuple[str, ...], body: bytes, clients: list[int], seconds: float) -> dict[str, Any]:
    """The same closed loops, driven by wrk, which is not ours. It does not wait after a 503, and its percentiles include them."""
    out: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, Service(*options) as service:
        script, picture = Path(folder) / "post.lua", Path(folder) / "picture.jpg"
        script.write_text(WRK, encoding="utf-8")
        picture.write_bytes(body)
        asyncio.run(closed_loop(service.port, body, 8, 2))
        for n in clients:
            command = ["wrk", "-t1", f"-c{n}", f"-d{seconds:g}s", "--timeout", "30s", "-s", str(script)]
            done = subprocess.run(
                [*command, f"http://127.0.0.1:{service.port}/v1/predict"],
                capture_output=True,
                text=True,
                check=True,
                env=os.environ | {"FERKIT_BODY": str(picture)},
            )
            figures = json.loads(done.stdout.strip().splitlines()[-1])
            figures["answered_per_second"] = round((figures["answers"] - figures["refused"]) / figures["seconds"], 2)
            out[str(n)] = figures
    return out


def machine() -> dict[str, Any]:
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), ""
    )
    packages = ("ferkit", "fastapi", "uvicorn", "opencv-python-headless", "onnxruntime", "numpy", "pillow")
    return {
        "cpu": model or platform.processor(),
        "cpus": len(os.sched_getaffinity(0)),
        "load_average_at_start": os.getloadavg(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "packages": {name: version(name) for name in packages},
    }


def load(args: argparse.Namespace) -> dict[str, Any]:
    """What a service with few options does with 1, 8 and 64 clients, seen by these clients and by wrk, where it is installed."""
    body = camera_picture(args.photo)
    report: dict[str, Any] = {"load": {}, "wrk": {}}
    for detector in DETECTORS:
        report["load"][detector] = overload_and_memory(("--detector", detector), body, args.seconds)
        if shutil.which("wrk"):  # Debian's package wrk
            report["wrk"][detector] = wrk(("--detector", detector), body, [1, 8, 64], args.seconds)
    return report


def batches(args: argparse.Namespace) -> dict[str, Any]:
    """With one lane and with each number of lanes that is asked for: batches of 1 and of 8."""
    body = camera_picture(args.photo)
    report: dict[str, Any] = {}
    for detector in DETECTORS:
        variants = {f"batch_{n}": ("--detector", detector, "--batch", str(n)) for n in (1, 8)}
        variants |= {f"lanes_{n}": ("--detector", detector, "--batch", "1", "--lanes", n) for n in args.lanes}
        report[detector] = batching(variants, body, [1, 8, 32], args.seconds, args.rounds)
    return {"batching": report}


def sizes(args: argparse.Namespace) -> dict[str, Any]:
    return {"capacities": {"sizes": capacities(args.photo, args.sizes, args.runtimes, args.lanes, args.seconds)}}


def beside(args: argparse.Namespace) -> dict[str, Any]:
    """What small pictures wait while one client sends a phone's 48 megapixels as HEIC, one after the other: four random ones a second."""
    from serve_memory import PHONES, WORST, encoded

    huge, small = encoded(*WORST[PHONES[1]]), camera_picture(args.photo)

    async def together(port: int) -> tuple[Tally, Tally]:
        more = asyncio.create_task(closed_loop(port, huge, 1, 3 * args.seconds))
        return await open_loop(port, small, 4, 3 * args.seconds, random=True), await more

    with Service() as service:
        asyncio.run(closed_loop(service.port, small, 4, 2))
        alone = asyncio.run(open_loop(service.port, small, 4, 3 * args.seconds, random=True))
        with_huge, ones = asyncio.run(together(service.port))
    return {"beside": {"alone": alone.summary(), "beside": with_huge.summary(), "48 MP": ones.summary()}}


PARTS = {"beside": beside, "load": load, "capacities": sizes, "batching": batches}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=["load", "capacities", "beside"])
    parser.add_argument("--photo", type=Path, help="a portrait; default: scikit-image's astronaut")
    parser.add_argument("--into", type=Path, help="a results file whose entries are replaced; default: standard output")
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement")
    parser.add_argument("--sizes", nargs="+", metavar="WxH", default=SIZES, help="of the pictures, for the capacities")
    parser.add_argument("--runtimes", nargs="+", default=["opencv", "onnxruntime"], help="for the capacities")
    parser.add_argument("--lanes", nargs="+", default=[], help="further numbers of lanes to compare")
    parser.add_argument("--rounds", type=int, default=2, help="of the interleaved batching measurement")
    args = parser.parse_args()
    results: dict[str, Any] = json.loads(args.into.read_text(encoding="utf-8")) if args.into else {}
    for part in args.only:
        begun, measured_on = time.monotonic(), machine()
        results |= PARTS[part](args)
        results[part] |= {"command": f"python benchmarks/serve_load.py --only {part}", "machine": measured_on}
        results[part] |= {"seconds": round(time.monotonic() - begun), "load_average_at_end": os.getloadavg()}
        write(results, args.into)  # each part as soon as it is there


def write(report: dict[str, Any], out: Path | None) -> None:
    text = json.dumps(report, indent=1)
    if out:
        out.write_text(text + "\n", encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
