"""The service under people: mixed uploads, and clients that stall, trickle, send nonsense and die.

    python benchmarks/serve_soak.py --minutes 30 --into benchmarks/results/serve.json     # the soak, run once and logged
    python benchmarks/serve_soak.py --uploads 1000 --into benchmarks/results/serve.json   # 1,000 mixed uploads, no ill will

Starts `ferkit serve` on loopback with its default limits. The pictures are scikit-image's astronaut at several sizes. Bounded in clients and
time; nothing leaves this machine.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import io
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import skimage.data
from _record import processor, versions
from PIL import Image

SIZES = {"0.1 MP": (360, 270), "0.3 MP": (640, 480), "1 MP": (1152, 864), "12 MP": (4000, 3000), "48 MP": (8064, 6048)}
SHARES = {"0.1 MP": 30, "0.3 MP": 40, "1 MP": 24, "12 MP": 5, "48 MP": 1}


def pictures() -> dict[str, bytes]:
    face = Image.fromarray(skimage.data.astronaut())
    made = {}
    for name, size in SIZES.items():
        picture = Image.new("RGB", size, (126, 138, 150))
        side = round(size[1] * 0.9)
        picture.paste(face.resize((side, side)), ((size[0] - side) // 2, (size[1] - side) // 2))
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=85)
        made[name] = buffer.getvalue()
    return made


class Service:
    """One worker of `ferkit serve`, and what it takes."""

    def __init__(self, folder: Path, options: list[str]) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.log = folder / "serve.log"
        command = [sys.executable, "-m", "ferkit", "serve", "--port", str(self.port), *options]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)
        for _ in range(240):
            with contextlib.suppress(OSError):
                if self.request("GET", "/readyz")[0] == 200:
                    return
            time.sleep(0.25)
        raise SystemExit(self.log.read_text())

    def request(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def mb(self) -> float:
        text = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(text.partition("VmRSS:")[2].split()[0]) / 1024

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


class Tally:
    """What became of the requests. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.outcomes: dict[str, Counter[str]] = defaultdict(Counter)
        self.seconds: dict[str, list[float]] = defaultdict(list)

    def add(self, kind: str, outcome: str, seconds: float | None = None) -> None:
        with self._lock:
            self.outcomes[kind][outcome] += 1
            if seconds is not None:
                self.seconds[kind].append(seconds)

    def to_dict(self) -> dict[str, Any]:
        rows = {}
        for kind, outcomes in sorted(self.outcomes.items()):
            rows[kind] = dict(outcomes)
            if self.seconds[kind]:
                p50, p99 = np.percentile(self.seconds[kind], [50, 99]) * 1000
                rows[kind] |= {"p50_ms": round(float(p50), 1), "p99_ms": round(float(p99), 1)}
        return rows


def upload(service: Service, name: str, data: bytes, tally: Tally) -> None:
    begun = time.perf_counter()
    try:
        status, body = service.request("POST", "/v1/predict", data)
        faces = len(json.loads(body)["images"][0]["faces"]) if status == 200 else None
        tally.add(name, f"{status}" if faces != 0 else "200 without the face", time.perf_counter() - begun if status == 200 else None)
    except OSError as error:
        tally.add(name, f"lost: {type(error).__name__}")


def stall(service: Service, _: bytes, chance: random.Random) -> str:
    """Connect, perhaps begin a head, and say no more."""
    with socket.create_connection(("127.0.0.1", service.port), 60) as line:
        line.sendall(b"POST /v1/pre"[: chance.randrange(12)])
        line.settimeout(60)
        with contextlib.suppress(ConnectionResetError):
            answer = line.recv(100)
            return answer.split(b" ")[1].decode() if answer else "closed"
    return "reset"


def trickle(service: Service, data: bytes, _: random.Random) -> str:
    """Send a picture slowly, but not too slowly: it has to be answered."""
    with socket.create_connection(("127.0.0.1", service.port), 120) as line:
        line.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(data))
        for start in range(0, len(data), 4000):
            line.sendall(data[start : start + 4000])
            time.sleep(0.4)
        line.settimeout(120)
        return line.recv(100).split(b" ")[1].decode()


def die(service: Service, data: bytes, chance: random.Random) -> str:
    """Send half a picture, or all of it, and go without waiting for the answer."""
    with socket.create_connection(("127.0.0.1", service.port), 60) as line:
        head = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(data)
        line.sendall(head + data[: chance.choice((len(data) // 2, len(data)))])
    return "gone"


def nonsense(service: Service, _: bytes, chance: random.Random) -> str:
    """Send bytes that are no picture."""
    return str(service.request("POST", "/v1/predict", chance.randbytes(5000))[0])


ILL = {"stalls": stall, "trickles": trickle, "dies": die, "sends nonsense": nonsense}


def well(
    service: Service, made: dict[str, bytes], tally: Tally, stop: threading.Event, seed: int, pause: float, left: list[int] | None
) -> None:
    chance = random.Random(seed)
    while not stop.is_set():
        if left is not None:
            try:
                left.pop()
            except IndexError:
                return
        name = chance.choices(list(SHARES), list(SHARES.values()))[0]
        upload(service, name, made[name], tally)
        stop.wait(pause * chance.expovariate(1.0))


def ill(service: Service, made: dict[str, bytes], tally: Tally, stop: threading.Event, seed: int) -> None:
    chance = random.Random(seed)
    while not stop.is_set():
        name = chance.choice(list(ILL))
        try:
            tally.add(name, ILL[name](service, made["0.3 MP"], chance))
        except (OSError, IndexError) as error:
            tally.add(name, type(error).__name__)
        stop.wait(1)


def run(args: argparse.Namespace) -> dict[str, Any]:
    made, tally, stop = pictures(), Tally(), threading.Event()
    left = list(range(args.uploads)) if args.uploads else None
    with tempfile.TemporaryDirectory() as folder:
        service = Service(Path(folder), args.option)
        upload(service, "warm-up", made["48 MP"], tally)
        begun, memory = time.monotonic(), [round(service.mb())]
        threads = [
            threading.Thread(target=well, args=(service, made, tally, stop, n, args.pause, left), daemon=True) for n in range(args.clients)
        ]
        if left is None:
            threads += [threading.Thread(target=ill, args=(service, made, tally, stop, 100 + n), daemon=True) for n in range(4)]
        for thread in threads:
            thread.start()
        while any(t.is_alive() for t in threads[: args.clients]) and (left is not None or time.monotonic() - begun < args.minutes * 60):
            time.sleep(5)
            memory.append(round(service.mb()))
        stop.set()
        for thread in threads:
            thread.join(130)
        seconds = time.monotonic() - begun
        after = round(service.mb())
        service.stop()
        lines = service.log.read_text(encoding="utf-8").splitlines()
        broken = sum(not line.startswith("{") for line in lines)
        errors = Counter(json.loads(line)["message"] for line in lines if '"level": "error"' in line or '"critical"' in line)
    half = len(memory) // 2
    return {
        "command": " ".join(["python", "benchmarks/serve_soak.py", *sys.argv[1:]]),
        "machine": {"processor": processor(), "cpus": os.cpu_count(), "load_average": os.getloadavg(), "versions": versions()},
        "seconds": round(seconds),
        "clients": args.clients,
        "requests": tally.to_dict(),
        "memory_mb": {"first_half_most": max(memory[:half] or memory), "second_half_most": max(memory[half:]), "after": after},
        "log": {"lines": len(lines), "not_json": broken, "errors": dict(errors)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--uploads", type=int, help="So many uploads as fast as they are answered, instead of a time")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--pause", type=float, default=0.0, help="Mean seconds between a client's uploads")
    parser.add_argument("--option", action="append", default=[], help="An option of ferkit serve, as --option=--lanes --option=2")
    parser.add_argument("--into", type=Path, help="A results file whose entry 'soak' or 'uploads' is replaced")
    args = parser.parse_args()
    os.environ["FERKIT_OFFLINE"] = "1"
    outcome = run(args)
    print(json.dumps(outcome, indent=1))
    if args.into:
        results = json.loads(args.into.read_text(encoding="utf-8"))
        args.into.write_text(json.dumps({**results, "uploads" if args.uploads else "soak": outcome}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
